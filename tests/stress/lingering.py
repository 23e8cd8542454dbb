"""What clients do besides: IDLE, pipelining, nonsense, and going away in the middle."""

from tests.stress.changing import refused
from tests.stress.client import Client
from tests.stress.history import Difference
from tests.stress.wire import Lost, set_of


async def idle(client: Client) -> None:
    """Begin IDLE (RFC 2177): what happened before must be told without being asked for."""
    op = client.world.begin()
    tag = client.send("IDLE", op)
    client.idling = (op, tag)
    try:
        while True:
            response = await client.next_response()
            if response.tag == "+":
                break
            if response.tag == tag:
                raise Difference(f"IDLE was answered {response.name}")
            client.hear(response, op, "IDLE")
        await _until_told(client, op.start)
    except Lost:
        client.unsure(op)
        raise


async def _until_told(client: Client, since: int) -> None:
    """Wait until the client knows what had happened at a moment; news come by themselves."""
    assert client.idling is not None
    op, _ = client.idling
    if client.view is None:
        return
    while (lacking := client.view.unsettled(since, client.world.clock.tick(), expunges_told=True)) is not None:
        assert client.connection is not None
        response = await client.connection.response(client.patience)
        if response is None:
            raise Difference(f"IDLE does not tell the news: {lacking}")
        now = client.world.clock.tick()
        client.transcript.append((now, response))
        client.hear(response, op, "IDLE")


async def wake(client: Client) -> None:
    """End an IDLE; what had happened by now is told before DONE."""
    assert client.idling is not None
    op, tag = client.idling
    try:
        await _until_told(client, client.world.clock.tick())
    except Lost:
        client.unsure(op)
        raise
    client.idling = None
    before = client.world.clock.tick()
    client.send_octets(b"DONE\r\n", op)
    answer = await client.finish("IDLE", tag, op)
    if not answer.ok:
        raise Difference(f"IDLE was answered {answer.tagged.name}")
    if client.view is not None:
        client.view.settle(before, answer.op.end, expunges_told=True)


async def pipeline(client: Client) -> None:
    """Several commands at once (RFC 9051 §5.5); none of them counts on numbers."""
    view = client.view
    assert view is not None
    uids = client.some()
    if not uids:
        return
    texts = [
        ("UID FETCH", f"UID FETCH {set_of(uids)} (FLAGS RFC822.SIZE)"),
        ("NOOP", "NOOP"),
        ("UID SEARCH", "UID SEARCH UNDELETED"),
        ("UID FETCH", f"UID FETCH {set_of(uids)} (INTERNALDATE)"),
        ("LIST", 'LIST "" INBOX'),
    ]
    chosen = [client.chance.choice(texts) for _ in range(client.chance.randint(2, 5))]
    ops = [client.world.begin() for _ in chosen]
    sent = [(name, client.send(text, op), op) for (name, text), op in zip(chosen, ops, strict=True)]
    for place, (name, tag, op) in enumerate(sent):
        try:
            answer = await client.finish(name, tag, op)
        except Lost:
            for _, _, left in sent[place + 1 :]:
                client.leave_open(left)
            raise
        if not answer.ok:
            refused(answer, view.mailbox.may_be_deleted(answer.op.end))
        client.settle(name, answer)


async def nonsense(client: Client) -> None:
    """A malformed command gets BAD, and changes nothing."""
    text = client.chance.choice(["FETCH", "STORE 1", "FROBNICATE", "UID", "SEARCH PURPLE", "FETCH 1 (", "APPEND INBOX"])
    answer = await client.run("NOOP", text)
    if answer.tagged.name != "BAD":
        raise Difference(f"{text} was answered {answer.tagged.name}")


async def hang_up(client: Client) -> None:
    """Go away in the middle of a command that was never sent to its end: it must have no effect."""
    op = client.world.begin()
    halves = [
        "UID STORE 1:* +FLAGS (\\Deleted",
        "EXPUNG",
        "CLOS",
        "APPEND INBOX {100+}\r\nFrom: half",
        "DELETE Archive",
    ]
    client.send_octets(f"{client.tag()} {client.chance.choice(halves)}".encode("ascii"), op)
    client.world.end(op)
    client.drop()


async def log_out(client: Client) -> None:
    client.remember()
    answer = await client.run("LOGOUT", "LOGOUT")
    if not answer.ok or not answer.named("BYE"):
        raise Difference("LOGOUT without BYE and OK")
    client.drop()
