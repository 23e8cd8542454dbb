"""What clients put into mailboxes: APPEND, COPY, MOVE."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.stress.changing import FLAGS, may_be_missing
from tests.stress.client import Answer, Client
from tests.stress.history import Content, Creation, Difference, Message, Op
from tests.stress.mailbox import Mailbox
from tests.stress.view import seq_numbers
from tests.stress.wire import Lost, numbers, set_of, word
from tests.stress.world import STANDING


async def append(client: Client) -> None:
    """APPEND of one message, or of several in one command (RFC 3502)."""
    name = _destination(client)
    contents = [client.world.content() for _ in range(client.chance.choice([1, 1, 1, 2, 3]))]
    flags = [frozenset(client.chance.sample(FLAGS, client.chance.choice([0, 0, 1, 2]))) for _ in contents]
    async with _held(client, name):
        op = client.world.begin()
        target = client.world.called_now(name)
        creation = None
        if target is not None:
            folded = [(frozenset(flag.casefold() for flag in each), frozenset[str]()) for each in flags]
            creation = target.begin_creation(op, contents, folded)
        answer = await _send_append(client, name, contents, flags, op)
        if answer.ok and target is not None and creation is not None:
            code = answer.tagged.coded("APPENDUID")
            if code is None or len(code) != 2:
                raise Difference("APPEND without APPENDUID (RFC 4315 §3)")
            _identify(target, int(word(code[0])))
            target.end_creation(creation, numbers(code[1]), op.end)
        else:
            _not_created(answer, target, creation)
    client.settle("APPEND", answer)


async def _send_append(
    client: Client, name: str, contents: list[Content], flags: list[frozenset[str]], op: Op
) -> Answer:
    client.hear_silence()
    tag = client.tag()
    line = f"{tag} APPEND {name}"
    for content, its_flags in zip(contents, flags, strict=True):
        waits = client.likely(0.3)
        size = f"{{{len(content.octets)}{'' if waits else '+'}}}"
        line += f' ({" ".join(sorted(its_flags))}) "{content.internal_date}" {size}\r\n'
        client.send_octets(line.encode("ascii"), op)
        if waits and (refusal := await _go_ahead(client, tag, op)) is not None:
            return refusal
        client.send_octets(content.octets, op)
        line = ""
    client.send_octets(b"\r\n", op)
    return await client.finish("APPEND", tag, op)


async def _go_ahead(client: Client, tag: str, op: Op) -> Answer | None:
    """Wait for "+"; a refusal is the answer."""
    while True:
        try:
            response = await client.next_response()
        except Lost:
            client.unsure(op)
            raise
        if response.tag == "+":
            return None
        if response.tag == tag:
            client.world.end(op)
            return Answer(op, response)
        client.hear(response, op, "APPEND")


def _destination(client: Client) -> str:
    usual = ["INBOX", "INBOX", "Archive", "Trash"]
    return client.chance.choice([*usual, *client.world.names] if client.likely(0.3) else usual)


@asynccontextmanager
async def _held(client: Client, name: str) -> AsyncIterator[None]:
    """While a message is on its way to a mailbox that may be renamed or deleted, nobody does that."""
    if name in STANDING:
        yield
    else:
        async with client.world.naming:
            yield


def _identify(mailbox: Mailbox, uidvalidity: int) -> None:
    if mailbox.uidvalidity is None:
        mailbox.uidvalidity = uidvalidity
    elif mailbox.uidvalidity != uidvalidity:
        raise Difference(f"UIDVALIDITY of {mailbox.label} was {mailbox.uidvalidity} and is {uidvalidity}")


def _not_created(answer: Answer, target: Mailbox | None, creation: Creation | None) -> None:
    if creation is not None and target is not None:
        target.forget_creation(creation, answer.op.end)
    if target is None and answer.tagged.name == "NO":
        if answer.tagged.coded("TRYCREATE") is None:
            raise Difference("no TRYCREATE for a mailbox that is not there (RFC 9051 §6.3.12)")
        return
    raise Difference(f"answered {answer.tagged.name} {answer.tagged.code} {answer.tagged.text!r}")


# ---- from one to another


async def copy(client: Client) -> None:
    await _transfer(client, move=False)


async def move(client: Client) -> None:
    await _transfer(client, move=True)


async def _transfer(client: Client, *, move: bool) -> None:
    view = client.view
    assert view is not None
    uids = client.some()
    if not uids or (move and view.read_only):
        return
    source = view.mailbox
    by_uid = client.likely(0.5)
    name = _destination(client)
    async with _held(client, name):
        op = client.world.begin()
        target = client.world.called_now(name)
        messages = [source.message(uid) for uid in uids]
        creation = expunging = None
        if target is not None:
            creation = target.begin_creation(op, [one.content for one in messages], [None] * len(uids))
            if move:
                creation.moved = messages
                expunging = source.begin_expunging(op, frozenset(uids), any_flags=True)
        verb = ("UID " if by_uid else "") + ("MOVE" if move else "COPY")
        numbers_named = set_of(uids if by_uid else seq_numbers(view, uids))
        answer = await client.run(verb, f"{verb} {numbers_named} {name}", op)
        if expunging is not None:
            source.expunges.remove(expunging)
        if answer.ok and target is not None and creation is not None:
            _transferred(client, answer, messages, target, creation, move=move, by_number=not by_uid)
        elif target is None and answer.ok:
            if not may_be_missing(client, uids, op.end):
                raise Difference(f"{verb} to a mailbox that is not there succeeded")
        elif may_be_missing(client, uids, op.end) and answer.tagged.name == "NO":
            if creation is not None and target is not None:
                target.forget_creation(creation, op.end)
        else:
            _not_created(answer, target, creation)
    client.settle(verb, answer)


def _transferred(
    client: Client,
    answer: Answer,
    messages: list[Message],
    target: Mailbox,
    creation: Creation,
    *,
    move: bool,
    by_number: bool,
) -> None:
    op = answer.op
    assert client.view is not None
    source = client.view.mailbox
    codes = [each.coded("COPYUID") for each in (answer.tagged, *answer.untagged)]
    code = next((each for each in codes if each is not None), None)
    pairs: dict[int, int] = {}
    if code is not None:
        _identify(target, int(word(code[0])))
        pairs = dict(zip(numbers(code[1]), numbers(code[2]), strict=True))
    by_uid = {one.uid: one for one in messages}
    unasked = pairs.keys() - by_uid.keys()
    if unasked:
        raise Difference(f"COPYUID names {sorted(unasked)}, which were not asked for")
    for uid, message in by_uid.items():
        if uid not in pairs and not source.may_be_gone(message, op.end):
            raise Difference(f"UID {uid} was not copied, and COPYUID does not name it")
        if message.surely_dead(op.start) and (uid in pairs or by_number):
            raise Difference(f"UID {uid} was expunged before; the answer is OK, and names {sorted(pairs)}")
    copied = [by_uid[uid] for uid in pairs]
    creation.contents = [one.content for one in copied]
    creation.flags = [one.certain_flags(op.start, op.end) for one in copied]
    target.end_creation(creation, list(pairs.values()), op.end)
    if move:
        for message in copied:
            source.kill(message, op)
