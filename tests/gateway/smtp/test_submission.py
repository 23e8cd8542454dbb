"""What a mail reader submits reaches the outbox as it was sent, and 250 is said when it is there."""

import asyncio
import os
import re
import smtplib
import ssl

import pytest

from gateway.mail.outgoing import NewRecipient
from gateway.smtp import limits as smtp_limits
from gateway.smtp import params
from gateway.smtp.limits import Client
from p2pcore.errors import NoQuorum
from tests.gateway.smtp.submission_world import ALICE, LOCALHOST, People, make_submission
from tests.gateway.smtp.test_data import stuff
from tests.gateway.smtp.world import NOW

OWN = b"From: alice@example.org\r\nDate: today\r\nMessage-ID: <mine>\r\n"
CONTENTS = {
    "8 bit": OWN + b"\r\n" + bytes(octet for octet in range(1, 256) if octet not in (10, 13)) + b"\r\n",
    "dots": OWN + b"\r\n.\r\n..\r\n.a\r\n \r\n",
    "no body": OWN,
    "no field twice": b"no field\r\n" + OWN + b"no field\r\n\r\nx\r\n",
    "trailing space": OWN + b"Subject: x \r\n\t y \r\n\r\n \t \r\n\r\n\r\n",
    "long line": OWN + b"\r\n" + b"y" * 65_536 + b"\r\nz\r\n",
    "bcc in the body": OWN + b"\r\nBcc: x\r\n\r\nBcc: y\r\n",
}


@pytest.mark.parametrize("name", CONTENTS)
async def test_a_complete_content_is_unchanged(name: str, people: People) -> None:
    """Nothing is added, nothing is lost, octet for octet."""
    async with make_submission(people) as world:
        client = await world.client()
        reply = await client.deliver_open(stuff(CONTENTS[name])[:-3], sender=ALICE)
        assert reply == "250 2.0.0 kept in the outbox; id=<outbox-1>"
        client.close()
    assert world.outbox.kept[0].content == CONTENTS[name]
    (line,) = world.log.named("submitted")
    assert (line["user"], line["recipients"], line["size"], line["new"]) == (ALICE, 1, len(CONTENTS[name]), True)


async def test_a_header_is_completed(people: People) -> None:
    """Date and Message-ID are added, each message its own, and Bcc goes."""
    async with make_submission(people) as world:
        client = await world.client()
        for _ in range(2):
            await client.deliver_open(b"Bcc: x@example.com\r\nFrom: alice@example.org\r\n\r\nbody\r\n", sender=ALICE)
        client.close()
    found = [
        re.fullmatch(
            rb"Date: Mon, 21 Sep 2026 14:13:20 \+0000\r\nMessage-ID: <([0-9a-f]{32})@example\.org>\r\n"
            rb"From: alice@example\.org\r\n\r\nbody\r\n",
            submission.content,
        )
        for submission in world.outbox.kept
        if isinstance(submission.content, bytes)
    ]
    assert world.clock() == NOW
    assert len({match[1] for match in found if match}) == 2


async def test_a_large_content_never_touches_a_disk(people: People) -> None:
    """Three MiB arrive whole, Bcc removed, by way of a file in memory that is gone afterwards."""
    body = b"\r\n" + b"".join(os.urandom(300).hex().encode() + b"\r\n" for _ in range(5_000))
    async with make_submission(people) as world:
        client = await world.client()
        reply = await client.deliver_open(OWN + b"Bcc: x@example.com,\r\n y@example.com\r\n" + body, sender=ALICE)
        assert reply.startswith("250 ")
        client.close()
        assert world.server.memory.used == 0
    assert world.outbox.kept[0].content == OWN + body
    (path,) = world.outbox.paths
    assert re.fullmatch(r"/proc/self/fd/\d+", str(path))


async def test_the_outbox_gets_the_whole_envelope(people: People) -> None:
    """Paths as written, flags and what DSN parameters ask for, by recipient."""
    async with make_submission(people) as world:
        client = await world.client()
        for command in (
            "MAIL FROM:<Alice+tag@example.org> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+20b",
            "RCPT TO:<Bob@Example.org> NOTIFY=NEVER",
            "RCPT TO:<grüße@example.com> ORCPT=rfc822;x@example.com",
        ):
            assert (await client.command(command)).startswith("250 ")
        assert (await client.command("DATA")).startswith("354 ")
        client.send(OWN + b"\r\n.\r\n")
        assert (await client.reply()).startswith("250 ")
        client.close()
    (submission,) = world.outbox.kept
    assert submission.reverse_path == "Alice+tag@example.org"
    assert submission.recipients == (
        NewRecipient("Bob@Example.org", "NEVER"),
        NewRecipient("grüße@example.com", "", "rfc822;x@example.com"),
    )
    assert (submission.body, submission.smtputf8, submission.ret, submission.envelope_id) == (
        "8BITMIME",
        True,
        "HDRS",
        "a b",
    )


@pytest.mark.parametrize(
    ("failure", "reply"),
    [
        (OSError(28, "the secret reason"), "452 4.3.1 no room for this message now"),
        (NoQuorum("the secret reason"), "451 4.4.0 not enough storage nodes answered, try again later"),
        (RuntimeError("the secret reason"), "451 4.3.0 local error, try again later"),
    ],
)
async def test_no_250_without_the_outbox(failure: Exception, reply: str, people: People) -> None:
    """Whatever keeps the outbox from accepting is temporary, its text stays in the log, and the session goes on."""
    async with make_submission(people) as world:
        world.outbox.failure = failure
        client = await world.client()
        assert await client.deliver_open(OWN, sender=ALICE) == reply
        world.outbox.failure = None
        assert (await client.deliver_open(OWN, sender=ALICE)).startswith("250 ")
        client.close()
        assert world.server.memory.used == 0
    assert len(world.outbox.kept) == 1


async def test_a_loop_is_refused(people: People) -> None:
    """More than 100 Received fields: 554 5.4.6 (RFC 5321 §6.3)."""
    async with make_submission(people) as world:
        client = await world.client()
        reply = await client.deliver_open(b"Received: x\r\n" * 101 + OWN, sender=ALICE)
        assert reply == "554 5.4.6 too many Received fields, this looks like a loop"
        client.close()
    assert world.outbox.kept == []


async def test_a_header_of_two_mebibytes(people: People) -> None:
    """554, and the memory is given back."""
    async with make_submission(people) as world:
        client = await world.client()
        reply = await client.deliver_open(OWN + b"X: y\r\n" * 350_000 + b"\r\nx\r\n", sender=ALICE)
        assert reply == "554 5.6.0 the header section is too long"
        client.close()
        assert world.server.memory.used == 0


async def test_memory_is_refused_and_given_back(people: People) -> None:
    """A content over the budget is 452 at its end, and the next one has room again."""
    async with make_submission(people, limits={"memory": 1_500_000}) as world:
        client = await world.client()
        for _ in range(2):
            assert (await client.deliver_open(OWN + b"\r\n" + b"x\r\n" * 600_000, sender=ALICE)).startswith("452 4.3.1")
            assert (await client.deliver_open(OWN + b"\r\n" + b"x\r\n" * 1_000, sender=ALICE)).startswith("250")
        client.close()
        assert world.server.memory.used == 0


async def test_who_leaves_submits_nothing(people: People) -> None:
    """A connection that ends before the dot is logged as unfinished."""
    async with make_submission(people) as world:
        client = await world.client()
        for command in (f"MAIL FROM:<{ALICE}>", "RCPT TO:<bob@example.org>", "DATA"):
            await client.command(command)
        client.send(OWN + b"\r\nhalf")
        client.close()
        while not world.log.named("unfinished"):
            await asyncio.wait([one.over() for one in world.server._listeners.connections], timeout=20)
    assert world.outbox.kept == []


async def test_stock_clients(people: People, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """smtplib over implicit TLS and after STARTTLS, with each mechanism it knows of ours."""

    def send(clear: int, secured: int) -> None:
        with smtplib.SMTP_SSL("127.0.0.1", secured, context=client_tls, timeout=20) as client:
            client.login("alice", "secret")
            client.sendmail(ALICE, ["bob@example.org"], OWN + b"\r\nimplicit\r\n")
        with smtplib.SMTP("127.0.0.1", clear, timeout=20) as client:
            client.starttls(context=client_tls)
            client.ehlo()
            client.user, client.password = "alice", "secret"
            client.auth("LOGIN", client.auth_login)
            client.sendmail(ALICE, ["bob@example.org"], OWN + b"\r\nstarttls\r\n")
        with smtplib.SMTP("127.0.0.1", clear, timeout=20) as client, pytest.raises(smtplib.SMTPAuthenticationError):
            client.login("alice", "wrong")

    async with make_submission(people, server_tls, listen_tls=(LOCALHOST,)) as world:
        clear, secured = world.server.listeners
        await asyncio.to_thread(send, clear.port, secured.port)
    assert [submission.content for submission in world.outbox.kept] == [
        OWN + b"\r\nimplicit\r\n",
        OWN + b"\r\nstarttls\r\n",
    ]


async def test_implicit_tls_needs_a_certificate(people: People) -> None:
    """ValueError, and nothing listens."""
    world = make_submission(people, listen_tls=(LOCALHOST,))
    with pytest.raises(ValueError, match="certificate"):
        await world.server.start()
    assert world.server.listeners == []


@pytest.fixture
def from_far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients look as if they were no neighbours."""
    far = Client("192.0.2.1", "192.0.2.1", is_loopback=False, is_trusted=False, is_unlimited=False)
    monkeypatch.setattr(smtp_limits.ClientTable, "client", lambda _self, _peer: far)


@pytest.mark.usefixtures("from_far_away")
async def test_no_password_in_clear(people: People, server_tls: ssl.SSLContext) -> None:
    """From elsewhere than loopback AUTH is neither offered nor taken before STARTTLS (RFC 8314 §3.3)."""
    async with make_submission(people, server_tls) as world:
        client = await world.client(logged_in=False)
        assert "AUTH" not in await client.command("EHLO client.example.net")
        for mechanism in ("PLAIN AGFsaWNlAHNlY3JldA==", "LOGIN", "login YWxpY2U="):
            assert await client.command(f"AUTH {mechanism}") == (
                "538 5.7.11 a password is not taken in clear, use STARTTLS first"
            )
        client.close()


@pytest.mark.usefixtures("from_far_away")
async def test_guessing_is_paced(people: People, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """After so many failures of one client none of its logins is looked at, until the window is over."""
    async with make_submission(people, listen_tls=(LOCALHOST,), tls=server_tls, limits={"failed_logins": 3}) as world:

        async def answer(octets: str) -> str:
            client = await world.dial(client_tls)
            await client.command("EHLO client.example.net")
            reply = await client.command(f"AUTH PLAIN {octets}")
            client.close()
            return reply[:3]

        wrong, right = "AGFsaWNlAHdyb25n", "AGFsaWNlAHNlY3JldA=="
        assert [await answer(one) for one in (wrong, wrong, right, wrong, right, wrong)] == [
            *("535", "535", "235", "535"),
            *("454", "454"),
        ]
        try:
            world.clock.advance(params.LOGIN_WINDOW)
            assert await answer(right) == "235"
        finally:
            world.clock.advance(-params.LOGIN_WINDOW)


async def test_an_account_that_is_closed_for_now(people: People) -> None:
    """Who knows the password is not told that it is wrong, and may try again (RFC 4954 §6)."""
    async with make_submission(people) as world:
        client = await world.client(logged_in=False)
        await client.command("EHLO client")
        for _ in range(params.LOGIN_FAILURES + 1):
            reply = await client.command("AUTH PLAIN AGNsb3NlZABzZWNyZXQ=")
            assert reply == "454 4.7.0 your mail is closed for now, try again later"
        assert (await client.command("AUTH PLAIN AGFsaWNlAHNlY3JldA==")).startswith("235")
        client.close()


async def test_too_long_a_response(people: People) -> None:
    """A response over 12,288 octets is 500 5.5.6, and the session goes on (RFC 4954 §4)."""
    async with make_submission(people) as world:
        client = await world.client(logged_in=False)
        await client.command("EHLO client")
        assert await client.command("AUTH PLAIN") == "334 "
        assert await client.command("A" * 20_000) == "500 5.5.6 the response is too long"
        assert (await client.command("AUTH PLAIN AGFsaWNlAHNlY3JldA==")).startswith("235")
        client.close()


async def test_stop_lets_a_transaction_end(people: People) -> None:
    """An idle session hears 421 at once, one that is sending content gets its 250 first."""
    async with make_submission(people) as world:
        idle, busy = await world.client(), await world.client()
        for command in (f"MAIL FROM:<{ALICE}>", "RCPT TO:<bob@example.org>", "DATA"):
            await busy.command(command)
        stopping = asyncio.create_task(world.server.stop())
        assert (await idle.reply()).startswith("421 ")
        busy.send(OWN + b".\r\n")
        assert (await busy.reply()).startswith("250 ")
        assert (await busy.reply()).startswith("421 ")
        await stopping
        idle.close()
        busy.close()
