"""One delivery over SMTP, against a remote MTA that does what it is told."""

import asyncio
import ssl
from dataclasses import replace

import pytest

from gateway.mail.envelope import Body
from gateway.outbound import params
from gateway.outbound.courier import Courier
from gateway.outbound.errors import NotDelivered
from gateway.outbound.message import Message, compose, wire_address, xtext
from gateway.outbound.model import Attempt, QueuedRecipient
from gateway.outbound.mx import Target
from gateway.outbound.queue import Queue
from gateway.outbound.session import Stale, Timeouts
from tests.gateway.outbound.world import CONTENT, new_item
from tests.support.fake_mta import DropPoint, FakeMta

TIMEOUTS = Timeouts(connect=2_000, command=5_000, data=5_000, block=5_000, final=5_000, quit=500)


LARGE = (b"x" * 70 + b"\r\n") * 100_000


class Hosts:
    """Exchangers of every domain: these ports on loopback."""

    def __init__(self, *ports: int) -> None:
        self.ports = ports

    async def targets(self, domain: str) -> tuple[Target, ...]:
        return tuple(Target(f"mx{port}.remote.example", "127.0.0.1", port) for port in self.ports)


def courier(*ports: int, timeouts: Timeouts = TIMEOUTS) -> Courier:
    return Courier(Hosts(*ports), "mx.example.org", timeouts)


def recipient(number: int, path: str, notify: str = "", orcpt: str = "") -> QueuedRecipient:
    return QueuedRecipient(number, path, "remote.example", notify, orcpt, "pending", 0, 0, 0, "", "", "")


def message(*paths: str, content: bytes = b"Subject: x\r\n\r\nbody\r\n", body: Body = "7BIT") -> Message:
    recipients = tuple(recipient(number, path) for number, path in enumerate(paths or ("x@remote.example",)))
    return Message("alice@example.org", recipients, content, len(content), body, utf8_header=False)


async def delivered(mta: FakeMta, what: Message, timeouts: Timeouts = TIMEOUTS) -> list[Attempt]:
    session = await courier(mta.port, timeouts=timeouts).connect("remote.example")
    try:
        return await session.deliver(what)
    finally:
        await session.quit()


def outcomes(attempts: list[Attempt]) -> list[tuple[str, str]]:
    return [(attempt.outcome, attempt.status) for attempt in attempts]


async def test_a_delivery_is_the_dialogue_of_rfc_5321(mta: FakeMta) -> None:
    """EHLO, MAIL with SIZE, RCPT, DATA, the content, QUIT; what arrives is what was sent."""
    (attempt,) = await delivered(mta, message())
    assert mta.commands == [
        "EHLO mx.example.org",
        "MAIL FROM:<alice@example.org> SIZE=20",
        "RCPT TO:<x@remote.example>",
        "DATA",
        "QUIT",
    ]
    assert mta.taken[0].content == b"Subject: x\r\n\r\nbody\r\n"
    assert (attempt.outcome, attempt.reply, attempt.remote) == (
        "delivered",
        "250 2.0.0 taken",
        f"mx{mta.port}.remote.example",
    )


async def test_a_queued_item_arrives_as_it_was_accepted(mta: FakeMta, queue: Queue) -> None:
    """Trace and content arrive octet for octet; dots at the beginning of lines are stuffed on the way."""
    await queue.accept(new_item())
    (unit,) = (await queue.claim(1)).units
    await delivered(mta, compose(unit, None))
    assert mta.taken[0].content == new_item().trace + CONTENT


@pytest.mark.parametrize("content", [b".\r\n", b"", b"no end", b"a\r\n.\r\n.\r\nb\r\n"])
async def test_no_content_ends_the_data_early(mta: FakeMta, queue: Queue, content: bytes) -> None:
    """A line with one dot, at any place, is content; a missing last CRLF is added."""
    await queue.accept(type(new_item())("s", "a@example.org", "a@example.org", new_item().recipients, content))
    (unit,) = (await queue.claim(1)).units
    await delivered(mta, compose(unit, None))
    assert mta.taken[0].content == (content if content.endswith(b"\r\n") else content + b"\r\n")


@pytest.mark.parametrize("end", [b"", b"\r\n"])
@pytest.mark.parametrize(
    "entity",
    [
        b"text/plain\r\n\r\n" + b"hardly any 8-bit octets: \xff",
        b"image/png\r\n\r\n\xff",
        b"multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\n\r\n\xff",
        b"message/rfc822\r\n\r\nMIME-Version: 1.0\r\nContent-Type: image/png\r\n\r\n\xff",
    ],
)
async def test_converted_content_ends_where_its_dot_is(mta: FakeMta, queue: Queue, entity: bytes, end: bytes) -> None:
    """RFC 5321 §4.1.1.4: the dot is alone on its line behind base64, too, and what comes next is a command again."""
    await queue.accept(new_item(content=b"MIME-Version: 1.0\r\nContent-Type: " + entity + end))
    (unit,) = (await queue.claim(1)).units
    (attempt,) = await delivered(mta, compose(unit, None, eight_bit=False))
    assert attempt.outcome == "delivered"
    assert mta.taken[0].content.isascii()
    assert mta.commands[-1] == "QUIT"


async def test_recipients_are_answered_one_by_one(mta: FakeMta) -> None:
    """One is refused for good, one for now, one gets the message: each has its own outcome."""
    mta.refusals = {"b@remote.example": "550 5.1.1 no such user", "c@remote.example": "450 4.2.0 later"}
    attempts = await delivered(mta, message("a@remote.example", "b@remote.example", "c@remote.example"))
    assert outcomes(attempts) == [("delivered", "2.0.0"), ("failed", "5.1.1"), ("deferred", "4.2.0")]
    assert mta.taken[0].forward_paths == ["a@remote.example"]


@pytest.mark.parametrize(
    ("at", "reply", "expected"),
    [
        ("MAIL", "550 5.7.1 not you", ("failed", "5.7.1")),
        ("MAIL", "451 4.3.0 later", ("deferred", "4.3.0")),
        ("MAIL", "421 4.3.2 going down", ("deferred", "4.3.2")),
        ("x@remote.example", "550 no", ("failed", "5.0.0")),
        ("DATA", "554 5.5.0 no", ("failed", "5.5.0")),
        ("dot", "554 5.6.0 bad content", ("failed", "5.6.0")),
        ("dot", "451 4.7.0 greylisted", ("deferred", "4.7.0")),
    ],
)
async def test_refusals_are_final_or_not_by_their_code(
    mta: FakeMta, at: str, reply: str, expected: tuple[str, str]
) -> None:
    """A 5yz at any command is final, a 4yz is tried again, and the remote's words are kept."""
    mta.refusals = {at: reply}
    (attempt,) = await delivered(mta, message())
    assert (attempt.outcome, attempt.status) == expected
    assert attempt.reply == reply
    assert mta.taken == []


@pytest.mark.parametrize("point", ["MAIL", "RCPT", "DATA", "content", "dot"])
async def test_a_lost_connection_is_tried_again(mta: FakeMta, point: DropPoint) -> None:
    """Wherever the remote hangs up, the outcome is a deferral; after the dot it says that it may have arrived.

    The host has said nothing, so the words are ours (RFC 3464 §2.3.5, §2.3.6), and name it."""
    mta.drop_at = point
    mta.extensions = []
    (attempt,) = await delivered(mta, message(content=LARGE))
    assert (attempt.outcome, attempt.status, attempt.remote) == ("deferred", "4.4.2", "")
    assert attempt.reply.startswith(f"mx{mta.port}.remote.example: connection lost ")
    assert ("may have arrived" in attempt.reply) == (point == "dot")
    assert len(mta.taken) == (1 if point == "dot" else 0)


async def test_recipients_refused_before_the_connection_was_lost_stay_refused(mta: FakeMta) -> None:
    """What RCPT said for good counts, although the connection died later."""
    mta.refusals, mta.drop_at = {"b@remote.example": "550 5.1.1 no"}, "content"
    attempts = await delivered(mta, message("a@remote.example", "b@remote.example"))
    assert outcomes(attempts) == [("deferred", "4.4.2"), ("failed", "5.1.1")]


async def test_a_remote_that_never_answers_is_left(mta: FakeMta) -> None:
    """After the time limit for the reply to the dot the outcome is ambiguous, hence a deferral."""
    mta.hold = asyncio.Event()
    (attempt,) = await delivered(mta, message(), Timeouts(final=50, quit=50))
    assert attempt.outcome == "deferred"
    assert "after the final dot" in attempt.reply
    mta.hold.set()


@pytest.mark.parametrize(
    ("reply", "outcome", "status"),
    [("552 5.3.4 too much", "failed", "5.3.4"), ("452 4.3.1 no room", "deferred", "4.3.1")],
)
async def test_a_refusal_in_the_middle_of_the_content_is_heard(
    mta: FakeMta, reply: str, outcome: str, status: str
) -> None:
    """A remote that refuses and stops reading does not keep us until a time limit, and its words are kept."""
    mta.early = reply
    mta.extensions = []
    (attempt,) = await delivered(mta, message(content=LARGE))
    assert (attempt.outcome, attempt.status, attempt.reply) == (outcome, status, reply)
    assert attempt.remote == f"mx{mta.port}.remote.example"


@pytest.mark.parametrize(
    ("missing", "what", "status"),
    [
        (["SIZE 1000000"], message(content=LARGE), ""),
        ([], message(content=LARGE), "5.3.4"),
        (["8BITMIME"], message(body="8BITMIME"), "5.6.3"),
        (["SMTPUTF8"], message("grüße@remote.example"), "5.6.7"),
        (["8BITMIME", "SMTPUTF8"], message("grüße@remote.example", body="8BITMIME"), "5.6.7"),  # RFC 6531 §3.5
        (["8BITMIME", "SMTPUTF8"], replace(message(body="8BITMIME"), utf8_header=True), "5.6.7"),
    ],
)
async def test_what_the_remote_cannot_take_fails_before_it_is_sent(
    mta: FakeMta, missing: list[str], what: Message, status: str
) -> None:
    """SIZE, SMTPUTF8 and 8BITMIME are looked at before MAIL; the words are ours then, and tell of which host."""
    for each in missing:
        mta.extensions.remove(each)
    (attempt,) = await delivered(mta, what)
    assert attempt.status == (status or "2.0.0")
    assert bool(mta.taken) == (not status)
    if status:
        assert attempt.remote == ""
        assert f"mx{mta.port}.remote.example takes" in attempt.reply


async def test_smtputf8_is_said_for_those_alone_who_need_it(mta: FakeMta) -> None:
    """RFC 6531 §3.4: what needs no SMTPUTF8 goes without, or the host could pass it on to no old one."""
    attempts = await delivered(mta, message("grüße@remote.example", "x@remote.example"))
    assert outcomes(attempts) == [("delivered", "2.0.0")] * 2
    assert [(taken.forward_paths, taken.mail.endswith(" SMTPUTF8")) for taken in mta.taken] == [
        (["x@remote.example"], False),
        (["grüße@remote.example"], True),
    ]


@pytest.mark.parametrize("reply", ["451 4.7.1 greylisted", "554 5.5.0 no"])
async def test_a_refused_data_leaves_no_transaction_open(mta: FakeMta, reply: str) -> None:
    """RFC 5321 §4.1.4: the next MAIL over the connection is no second one in this transaction, which gets a 503."""
    mta.once = {"DATA": reply}
    session = await courier(mta.port).connect("remote.example")
    for outcome in ("deferred" if reply.startswith("4") else "failed", "delivered"):
        (attempt,) = await session.deliver(message())
        assert attempt.outcome == outcome
    await session.quit()
    verbs = [command.partition(" ")[0] for command in mta.commands]
    assert verbs == ["EHLO", "MAIL", "RCPT", "DATA", "RSET", "MAIL", "RCPT", "DATA", "QUIT"]


async def test_a_refused_data_stays_refused_where_the_host_then_hangs_up() -> None:
    """What it said counts, although the connection is not there any more for what comes after it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in (b"220 hi", b"250 hi", b"250 ok", b"250 ok", b"554 5.5.0 no"):
            writer.write(reply + b"\r\n")
            await reader.readline()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        session = await courier(server.sockets[0].getsockname()[1]).connect("remote.example")
        assert outcomes(await session.deliver(message())) == [("failed", "5.5.0")]
        assert not session.usable


@pytest.mark.parametrize("spurious", ["250 2.0.0 ok", ""])
@pytest.mark.parametrize("at", ["MAIL", "x@remote.example", "DATA"])
async def test_what_comes_behind_a_reply_answers_nothing(mta: FakeMta, at: str, spurious: str) -> None:
    """A line too many, sent together with a reply, is not taken for the answer to what is said next."""
    mta.refusals = {at: ("354 go ahead" if at == "DATA" else "250 2.0.0 ok") + "\r\n" + spurious}
    mta.refusals["dot"] = "554 5.7.1 spam"
    assert outcomes(await delivered(mta, message())) == [("failed", "5.7.1")]


@pytest.mark.parametrize("reply", ["250 2.0.0 ok", "334 go on"])
async def test_only_354_asks_for_the_content(mta: FakeMta, reply: str) -> None:
    """RFC 5321 §4.3.2: a host that answers DATA with anything else positive has taken nothing, and is left."""
    mta.refusals = {"DATA": reply}
    session = await courier(mta.port).connect("remote.example")
    (attempt,) = await session.deliver(message())
    assert attempt.outcome == "deferred"
    assert reply in attempt.reply
    assert not session.usable


async def test_what_the_remote_offers_is_asked_for(mta: FakeMta) -> None:
    """BODY, SMTPUTF8, and with DSN also RET, ENVID, NOTIFY, ORCPT; then success is the remote's to report."""
    mta.extensions.append("DSN")
    recipients = (recipient(0, "grüße@remote.example", "SUCCESS,FAILURE", "rfc822;a+b@c.example"),)
    what = Message("alice@example.org", recipients, b"x\r\n", 3, "8BITMIME", False, "HDRS", "id=1")
    (attempt,) = await delivered(mta, what)
    assert mta.taken[0].mail == ("MAIL FROM:<alice@example.org> SIZE=3 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+3D1")
    assert mta.taken[0].rcpts == ["RCPT TO:<grüße@remote.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a+2Bb@c.example"]
    assert attempt.success is None


async def test_without_dsn_success_is_ours_to_report(mta: FakeMta) -> None:
    """RFC 3461 §5.2.2: handed to a host without DSN is "relayed"."""
    (attempt,) = await delivered(mta, message())
    assert attempt.success == "relayed"


def test_an_ascii_local_part_needs_no_smtputf8() -> None:
    """Only the domain is international: it goes as A-labels."""
    each = QueuedRecipient(0, "x@müller.example", "xn--mller-kva.example", "", "", "pending", 0, 0, 0, "", "", "")
    assert wire_address(each) == "x@xn--mller-kva.example"
    assert xtext("a+b=c d") == "a+2Bb+3Dc+20d"


async def test_too_many_recipients_for_the_remote_come_in_the_next_transaction(mta: FakeMta) -> None:
    """RFC 5321 §4.5.3.1.10: 452 after some recipients means "the others separately", at once."""
    mta.recipients_limit = 2
    attempts = await delivered(mta, message(*(f"u{number}@remote.example" for number in range(5))))
    assert {attempt.outcome for attempt in attempts} == {"delivered"}
    assert [len(taken.forward_paths) for taken in mta.taken] == [2, 2, 1]


async def test_a_connection_closed_while_idle_is_stale(mta: FakeMta) -> None:
    """A kept connection that the remote has closed loses nothing: the caller takes a new one."""
    session = await courier(mta.port).connect("remote.example")
    assert outcomes(await session.deliver(message())) == [("delivered", "2.0.0")]
    mta.drop_at = "MAIL"
    with pytest.raises(Stale):
        await session.deliver(message())
    assert not session.usable


async def test_tls_is_used_where_it_is_offered(mta: FakeMta, server_tls: ssl.SSLContext) -> None:
    """STARTTLS is taken, with any certificate, and EHLO is said again inside."""
    mta.tls = server_tls
    session = await courier(mta.port).connect("remote.example")
    assert session.cipher.startswith("TLSv1.3 ")
    await session.deliver(message())
    await session.quit()
    assert mta.taken[0].tls
    assert mta.commands[:3] == ["EHLO mx.example.org", "STARTTLS", "EHLO mx.example.org"]


async def test_a_broken_tls_does_not_stop_the_mail(mta: FakeMta) -> None:
    """Where the handshake fails the host is dialled again and the mail goes in clear, as it would without STARTTLS."""
    mta.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # no certificate, so no handshake comes to its end
    assert outcomes(await delivered(mta, message())) == [("delivered", "2.0.0")]
    assert not mta.taken[0].tls
    assert mta.connections == 2


async def test_an_old_server_is_greeted_with_helo(mta: FakeMta) -> None:
    """EHLO refused: HELO, and no extensions."""
    mta.refusals = {"EHLO": "502 what?"}
    await delivered(mta, message())
    assert mta.taken[0].mail == "MAIL FROM:<alice@example.org>"


async def test_the_next_host_is_tried(mta: FakeMta) -> None:
    """No connection, a refusing greeting, a hang-up: the next host takes the mail."""
    refusing, hanging = FakeMta(greeting="554 5.3.2 not here"), FakeMta(drop_at="connect")
    await refusing.start()
    await hanging.start()
    closed = await _closed_port()
    session = await courier(closed, refusing.port, hanging.port, mta.port).connect("remote.example")
    assert session.target.port == mta.port
    await session.quit()
    await refusing.stop()
    await hanging.stop()


async def test_a_host_that_took_no_connection_is_dialled_last_for_a_while(mta: FakeMta) -> None:
    """RFC 5321 §4.5.4.1: what is known not to answer costs each message no time again, nor does it where the others put
    mail off; alone it is dialled all the same, and once it answers it has its place back."""
    dead = FakeMta(drop_at="connect")
    await dead.start()
    hosts = Hosts(dead.port, mta.port)
    connecting = Courier(hosts, "mx.example.org", TIMEOUTS)
    for _ in range(3):
        await (await connecting.connect("remote.example")).quit()
    with pytest.raises(NotDelivered):
        await connecting.connect("remote.example", besides=f"mx{mta.port}.remote.example")
    assert dead.connections == 1
    dead.drop_at = None
    hosts.ports = (dead.port,)
    await (await connecting.connect("remote.example")).quit()
    hosts.ports = (dead.port, mta.port)
    session = await connecting.connect("remote.example")
    assert session.target.port == dead.port
    await session.quit()
    await dead.stop()


async def test_opening_a_connection_has_a_limit_over_all_hosts(mta: FakeMta) -> None:
    """Ten hosts that greet nobody do not take ten times five minutes: two are tried, the next attempt goes on there."""
    silent = [FakeMta(drop_at="connect") for _ in range(2)]
    for each in silent:
        await each.start()
    connecting = courier(*(each.port for each in silent), mta.port, timeouts=replace(TIMEOUTS, opening=-1))
    with pytest.raises(NotDelivered):
        await connecting.connect("remote.example")
    assert mta.connections == 0
    session = await connecting.connect("remote.example")
    assert session.target.port == mta.port
    await session.quit()
    for each in silent:
        await each.stop()


@pytest.mark.parametrize("at", ["MAIL", "x@remote.example", "DATA", "dot"])
async def test_421_at_any_point_defers_and_ends_the_connection(mta: FakeMta, at: str) -> None:
    """RFC 5321 §3.8: the service is closing; whoever has no outcome yet waits, and nobody fails."""
    mta.refusals = {at: "421 4.3.2 closing"}
    session = await courier(mta.port).connect("remote.example")
    attempts = await session.deliver(message("x@remote.example", "y@remote.example"))
    assert {attempt.outcome for attempt in attempts} == {"deferred"}
    assert not session.usable
    assert not session.in_doubt
    assert not mta.taken


def long_reply(code: int, status: str, lines: int) -> str:
    """A reply with lines as long as they may be (RFC 5321 §4.5.3.1.5)."""
    return "\r\n".join([f"{code}-{status} " + "x" * 500] * lines + [f"{code} {status} ok"])


@pytest.mark.parametrize("lines", [100, 2_000])
@pytest.mark.parametrize("at", ["EHLO", "MAIL", "x@remote.example", "dot"])
async def test_a_reply_of_many_lines_is_a_reply(mta: FakeMta, at: str, lines: int) -> None:
    """RFC 5321 §4.2.1 bounds no number of lines: the code counts, and of the text only its beginning is kept."""
    mta.refusals = {at: long_reply(250, "2.0.0", lines)}
    (attempt,) = await delivered(mta, message())
    assert attempt.outcome == "delivered"
    assert len(attempt.reply) <= params.MAX_REPLY


@pytest.mark.parametrize("at", ["MAIL", "x@remote.example", "DATA", "dot"])
async def test_a_refusal_of_many_lines_is_a_refusal(mta: FakeMta, at: str) -> None:
    """It says no for good, so that its sender hears of it now and the next message finds the connection in order."""
    mta.once = {at: long_reply(550, "5.7.1", 100)}
    session = await courier(mta.port).connect("remote.example")
    assert outcomes(await session.deliver(message())) == [("failed", "5.7.1")]
    assert outcomes(await session.deliver(message())) == [("delivered", "2.0.0")]
    await session.quit()


@pytest.mark.parametrize("reply", ["250-" + "x" * 2_000_000, long_reply(250, "2.0.0", 5_000)])
async def test_a_reply_without_end_is_not_kept(mta: FakeMta, reply: str) -> None:
    """What is no reply by its size ends the connection; the mail waits."""
    mta.refusals = {"MAIL": reply}
    assert outcomes(await delivered(mta, message())) == [("deferred", "4.4.2")]


async def test_without_any_host_the_mail_waits(mta: FakeMta) -> None:
    """Even a 5yz greeting is temporary: it speaks of the host, not of the mail. The last host's words are kept."""
    mta.greeting = "554 5.3.2 not today"
    with pytest.raises(NotDelivered) as caught:
        await courier(await _closed_port(), mta.port).connect("remote.example")
    assert (caught.value.status, caught.value.permanent) == ("4.3.2", False)
    assert (caught.value.reply, caught.value.remote) == ("554 5.3.2 not today", f"mx{mta.port}.remote.example")


async def test_what_is_no_reply_is_not_told_as_one(mta: FakeMta) -> None:
    """Something else listens there: what a report says of it is ours (RFC 3464 §2.3.6), and names the host."""
    mta.greeting = "hello"
    with pytest.raises(NotDelivered) as caught:
        await courier(mta.port).connect("remote.example")
    assert (caught.value.status, caught.value.remote) == ("4.5.0", "")
    assert caught.value.reply.startswith(f"mx{mta.port}.remote.example [127.0.0.1]:{mta.port}: ")


async def test_an_aborted_session_sends_no_dot(mta: FakeMta) -> None:
    """Stopping in the middle of a content never looks like its end to the remote."""
    mta.hold = asyncio.Event()
    session = await courier(mta.port).connect("remote.example")
    task = asyncio.create_task(session.deliver(message(content=b"x\r\n" * 10)))
    await mta.at_dot.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    session.abort()
    assert not session.usable
    mta.hold.set()


async def _closed_port() -> int:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = int(server.sockets[0].getsockname()[1])
    server.close()
    await server.wait_closed()
    return port


async def test_a_reverse_path_with_an_ascii_local_part_needs_no_smtputf8(mta: FakeMta, queue: Queue) -> None:
    """Its domain goes as A-labels, so that hosts which take ASCII only take her mail (RFC 6531 §3.2)."""
    mta.extensions = ["8BITMIME"]
    await queue.accept(new_item(reverse_path="anna@bücher.example", smtputf8=True))
    (unit,) = (await queue.claim(1)).units
    assert outcomes(await delivered(mta, compose(unit, None))) == [("delivered", "2.0.0")]
    assert mta.taken[0].reverse_path == "anna@xn--bcher-kva.example"
