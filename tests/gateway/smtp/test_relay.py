"""What an agent hands over reaches the queue sealed, unchanged and once; nobody but our users hands anything over."""

import asyncio
import os
import ssl
from contextlib import closing
from pathlib import Path

import pytest

from gateway.mail.outgoing import NewRecipient
from p2pcore import params
from p2pcore.errors import CannotKnow, NoSuchAddress
from p2pcore.records import Revocation
from tests.gateway.smtp.submission_world import ALICE, People, RelayWorld, make_relay
from tests.gateway.smtp.world import SmtpClient

OWN = b"From: Alice <alice@example.org>\r\nDate: today\r\nMessage-ID: <mine>\r\n"
FAR = "somebody@example.com"


async def deliver(client: SmtpClient, content: bytes, identifier: str = "one", *recipients: str) -> str:
    """A whole transaction of alice; the reply to its content."""
    commands = [f"MAIL FROM:<{ALICE}> ENVID={identifier} RET=FULL BODY=8BITMIME"]
    commands += [f"RCPT TO:<{recipient}> NOTIFY=FAILURE" for recipient in recipients or (FAR,)]
    for command in commands:
        assert (await client.command(command)).startswith("250")
    assert (await client.command("DATA")).startswith("354")
    client.send(content + b".\r\n")
    return await client.reply()


async def test_the_queue_gets_what_was_sent(people: People, tmp_path: Path) -> None:
    """Content octet for octet and sealed, envelope, submission ID and submitter; the trace is true of this hop."""
    content = OWN + b"Bcc: kept\r\n\r\n" + bytes(range(128, 256)) + b"\r\n"
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        reply = await deliver(client, content, "id-1", "Bob@example.org", FAR)
        client.close()
    ((item, opened),) = world.queue.kept
    assert opened == content
    assert (item.submission_id, item.submitter, item.reverse_path) == ("id-1", ALICE, ALICE)
    assert (item.body, item.smtputf8, item.ret) == ("8BITMIME", False, "FULL")
    assert item.recipients == (NewRecipient("Bob@example.org", "FAILURE"), NewRecipient(FAR, "FAILURE"))
    identifier = reply.removeprefix("250 2.0.0 kept in the queue; id=<").removesuffix(">")
    assert item.trace.decode() == (
        "Received: from agent.example.org (unknown [127.0.0.1])\r\n"
        f"\tby mx.example.org with ESMTPSA id {identifier}\r\n"
        "\ttls TLS_AES_256_GCM_SHA384;\r\n"
        "\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
    )


async def test_a_repeated_submission_is_kept_once(people: People, tmp_path: Path) -> None:
    """The second 250 is as good as the first; another user's submission of the same ID is another one."""
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        for _ in range(2):
            assert (await deliver(client, OWN)).startswith("250 2.0.0 kept in the queue")
        client.close()
        bob = await world.client(people.bob)
        for command in ("MAIL FROM:<bob@example.org> ENVID=one", f"RCPT TO:<{FAR}>", "DATA"):
            await bob.command(command)
        bob.send(b"From: bob@example.org\r\n.\r\n")
        assert (await bob.reply()).startswith("250")
        bob.close()
    assert [item.submitter for item, _ in world.queue.kept] == [ALICE, "bob@example.org"]
    assert [line["new"] for line in world.log.named("submitted")] == [True, False, True]


async def test_recipients_of_a_known_submission_are_not_judged_again(people: People, tmp_path: Path) -> None:
    """The queue has the mail for all of them: who is gone by now, or cannot be looked up, is answered as before.

    Otherwise the agent would report a failure of what was delivered. Another submission's recipients are judged.
    """
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        assert (await deliver(client, OWN, "one", "bob@example.org", FAR)).startswith("250")
        world.names.failures["bob"] = NoSuchAddress("gone")
        assert (await deliver(client, OWN, "one", "bob@example.org", FAR)).startswith("250")
        world.names.failures["bob"] = CannotKnow("not now")
        assert (await deliver(client, OWN, "one", "bob@example.org")).startswith("250")
        world.names.failures["bob"] = NoSuchAddress("gone")
        for parameters in (" ENVID=two", ""):
            await client.command(f"MAIL FROM:<{ALICE}>{parameters}")
            assert await client.command("RCPT TO:<bob@example.org>") == "550 5.1.1 no such address"
            await client.command("RSET")
        client.close()
    assert len(world.queue.kept) == 1


async def test_the_header_of_a_known_submission_is_not_judged_again(people: People, tmp_path: Path) -> None:
    """It is queued under what counted then; a refusal now would have the agent report a failure of what is sent."""
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        assert (await deliver(client, OWN, "one")).startswith("250")
        assert (await deliver(client, b"From: mallory@example.org\r\n", "one")).startswith(
            "250 2.0.0 kept in the queue"
        )
        assert (await deliver(client, b"From: mallory@example.org\r\n", "two")).startswith("550 5.7.1")
        client.close()
    assert [item.submission_id for item, _ in world.queue.kept] == ["one"]


async def test_a_large_content_is_sealed_on_disk(people: People, tmp_path: Path) -> None:
    """Three MiB wait in a nameless file, in which nothing of them can be read."""
    body = b"\r\n" + b"".join(os.urandom(300).hex().encode() + b"\r\n" for _ in range(5_000))
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        assert (await deliver(client, OWN + body)).startswith("250")
        client.close()
        assert world.server.memory.used == 0
        assert world.files() == []
    assert world.queue.kept[0][1] == OWN + body
    (source,) = world.queue.sources
    assert isinstance(source, Path)


@pytest.mark.parametrize(
    ("failure", "reply"),
    [(OSError(28, "the secret reason"), "452 4.3.1"), (RuntimeError("the secret reason"), "451 4.3.0")],
)
async def test_no_250_without_the_queue(failure: Exception, reply: str, people: People, tmp_path: Path) -> None:
    """What the queue could not keep, the agent keeps."""
    async with make_relay(people, tmp_path) as world:
        world.queue.failure = failure
        client = await world.client()
        answer = await deliver(client, OWN)
        assert answer.startswith(reply)
        assert "secret" not in answer
        world.queue.failure = None
        assert (await deliver(client, OWN)).startswith("250")
        client.close()


@pytest.mark.parametrize("reason", ["retired", "compromised"])
async def test_a_revoked_user_counts_no_more(reason: str, people: People, tmp_path: Path) -> None:
    """Not at the next MAIL of a session that goes on, and not at the next AUTH; OpenSSL knows nothing of it."""
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        revocation = Revocation(people.alice.certificate.serial, reason, world.clock())  # type: ignore[arg-type]
        world.trust.set_revocations((revocation,))
        assert await client.command(f"MAIL FROM:<{ALICE}> ENVID=one") == "530 5.7.0 log in first"
        assert await client.command("AUTH EXTERNAL =") == "535 5.7.8 your certificate is not accepted here"
        client.close()
        bob = await world.client(people.bob)
        assert (await bob.command("MAIL FROM:<bob@example.org> ENVID=one")).startswith("250")
        bob.close()


async def test_an_expired_user(people: People, tmp_path: Path) -> None:
    """The certificate's end is judged by our clock, with a reply instead of a broken handshake."""
    async with make_relay(people, tmp_path) as world:
        world.clock.now = people.alice.certificate.not_after + params.JUDGING_TOLERANCE + 1
        client = await world.client(logged_in=False)
        await client.command("EHLO agent")
        assert (await client.command("AUTH EXTERNAL =")).startswith("535")
        client.close()


async def test_a_user_of_another_domain(people: People, tmp_path: Path) -> None:
    """Another authority's certificate ends the handshake: nothing is said."""
    async with make_relay(people, tmp_path) as world:
        tls = world.dial(people.stranger)
        reader, writer = await asyncio.open_connection("127.0.0.1", world.port, ssl=tls, server_hostname="")
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):  # TLS 1.3 tells us only now
            await reader.readexactly(1)
        writer.close()
        assert world.server._listeners.connections == set()


async def test_a_gateway_that_is_another(people: People, tmp_path: Path) -> None:
    """The agent's pin fails the handshake, also where the certificate is of the same domain."""
    other = People(people.domain)
    async with make_relay(other, tmp_path) as world:
        world.people = people
        with pytest.raises(ssl.SSLCertVerificationError, match="instead of"):
            await world.client()


async def test_messages_are_counted_by_user(people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agents behind one address do not share a limit, and one agent's connections do."""

    async def replies(world: RelayWorld) -> list[str]:
        found = []
        for member in (people.alice, people.alice, people.bob):
            client = await world.client(member)
            found.append(await client.command(f"MAIL FROM:<{member.certificate.primary_address}> ENVID=one"))
            client.close()
        return [reply[:3] for reply in found]

    async with make_relay(people, tmp_path, limits={"messages_per_minute": 1}, unlimited_clients=()) as world:
        assert await replies(world) == ["250", "450", "250"]


async def test_a_user_has_so_many_recipients_a_day(people: People, tmp_path: Path) -> None:
    """The limit is hers whatever the connection, loopback too; a day later she may send again."""
    async with make_relay(people, tmp_path, recipients_per_day=3) as world:
        with closing(await world.client()) as client:
            assert (await deliver(client, OWN, "one", FAR, "bob@example.org")).startswith("250")
        for member, identifier, code in ((people.alice, "two", "450"), (people.bob, "one", "354")):
            with closing(await world.client(member)) as client:
                await client.command(f"MAIL FROM:<{member.certificate.primary_address}> ENVID={identifier}")
                await client.command(f"RCPT TO:<{FAR}>")
                await client.command("RCPT TO:<other@example.com>")
                assert (await client.command("DATA")).startswith(code)
        world.clock.advance(params.DAY)
        with closing(await world.client()) as client:
            assert (await deliver(client, OWN, "two", FAR, "bob@example.org")).startswith("250")


async def test_her_own_envid_is_kept_apart(people: People, tmp_path: Path) -> None:
    """XENVID is the user's ENVID, for reports; ENVID names the submission and nothing else."""
    async with make_relay(people, tmp_path) as world:
        client = await world.client()
        for command in (f"MAIL FROM:<{ALICE}> ENVID=id-1 XENVID=hers+201 RET=HDRS", f"RCPT TO:<{FAR}>", "DATA"):
            assert (await client.command(command))[0] in "23"
        client.send(OWN + b"\r\n.\r\n")
        assert (await client.reply()).startswith("250")
        client.close()
    ((item, _),) = world.queue.kept
    assert (item.submission_id, item.envelope_id, item.ret) == ("id-1", "hers 1", "HDRS")


async def test_a_client_in_clear_hears_nothing(people: People, tmp_path: Path) -> None:
    """Implicit TLS only."""
    async with make_relay(people, tmp_path) as world:
        client = await SmtpClient.connect(world.port)
        client.send(b"EHLO client.example.net\r\n")
        assert await client.reply() == ""
        client.close()


async def test_many_agents_at_once(people: People, tmp_path: Path) -> None:
    """Sessions do not mix: each item has the submitter of its own connection."""
    async with make_relay(people, tmp_path) as world:

        async def one(number: int) -> None:
            client = await world.client()
            assert (await deliver(client, OWN + b"\r\n%d\r\n" % number, f"id-{number}")).startswith("250")
            client.close()

        await asyncio.gather(*(one(number) for number in range(20)))
    assert {(item.submission_id, content[len(OWN) :]) for item, content in world.queue.kept} == {
        (f"id-{number}", b"\r\n%d\r\n" % number) for number in range(20)
    }
