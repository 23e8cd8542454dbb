"""What reaches the network is what was sent, sealed to whom it was sent to, with the trace that is true of it."""

import asyncio
import os
import re

import pytest

from gateway.maillog import MAX_TEXT
from gateway.smtp.server import GatewaySmtp
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.test_data import stuff
from tests.gateway.smtp.world import DOMAIN, NOW, SmtpClient

ALICE, BOB, BOTH = f"alice@{DOMAIN}", f"bob@{DOMAIN}", f"both@{DOMAIN}"
CONTENTS = {
    "empty": b"",
    "eight bit": bytes(octet for octet in range(1, 256) if octet not in (10, 13)) + b"\r\n",
    "dots": b".\r\n..\r\n.a\r\n \r\n...\r\n",
    "no header": b"\r\n\r\n",
    "trailing space": b"Subject: x \r\n\r\n \t \r\n\r\n\r\n",
    "long line": b"Subject: x\r\n\r\n" + b"y" * 65_536 + b"\r\nz\r\n",
    "many lines": b"Subject: x\r\n\r\n" + b".\r\n" * 50_000,
}


@pytest.mark.parametrize("name", CONTENTS)
async def test_content_is_unchanged(name: str, new_world: WorldMaker) -> None:
    """The sealed content is octet for octet what was sent."""
    async with new_world() as world:
        client = await world.client()
        assert (await client.deliver(stuff(CONTENTS[name])[:-3])).startswith("250 2.6.0 stored on 2 of 3 nodes; id=<")
        client.close()
    (message,) = world.network.messages
    assert message.content == CONTENTS[name]
    assert message.body_on_disk is None


async def test_large_content_goes_through_a_nameless_file(new_world: WorldMaker) -> None:
    """Three MiB arrive whole; while they wait for the network nothing lies in the directory under a name."""
    lines = [os.urandom(300).hex().encode() + b"\r\n" for _ in range(5_000)]
    content = b"Subject: large\r\n\r\n" + b"".join(lines)
    async with new_world() as world:
        world.network.gate = asyncio.Event()
        client = await world.client()
        await client.open_transaction()
        client.send(content + b".\r\n")
        await world.network.entered.wait()
        assert world.files() == []
        assert world.server.memory.used > 0
        world.network.gate.set()
        assert (await client.reply()).startswith("250 ")
        assert world.server.memory.used == 0
        client.close()
    (message,) = world.network.messages
    assert message.content == content
    assert message.body_on_disk is not None


async def test_notification_says_what_the_session_saw(new_world: WorldMaker) -> None:
    """Envelope, trace and verdicts; the identifier in Received is the one in the reply."""
    async with new_world() as world:
        client = await world.client()
        reply = await client.deliver(b"Subject: x\r\n\r\n")
        client.close()
    identifier = re.fullmatch(r"250 2\.6\.0 stored on 2 of 3 nodes; id=<([0-9a-f]{20})>", reply)
    assert identifier is not None
    notification = world.network.messages[0].notifications[ALICE]
    assert notification.reverse_path == "sender@example.net"
    assert notification.forward_path == ALICE
    assert notification.received == NOW
    assert notification.trace.decode() == (
        "Return-Path: <sender@example.net>\r\n"
        "Authentication-Results: mx.example.org;\r\n"
        "\tnone\r\n"
        "Received: from client.example.net (unknown [127.0.0.1])\r\n"
        f"\tby mx.example.org with ESMTP id {identifier[1]}\r\n"
        f"\tfor <{ALICE}>;\r\n"
        "\tMon, 21 Sep 2026 14:13:20 +0000\r\n"
    )
    verdicts = notification.verdicts
    assert (verdicts.client_address, verdicts.helo, verdicts.gateway) == (
        "127.0.0.1",
        "client.example.net",
        "mx.example.org",
    )
    assert (verdicts.spf, verdicts.dkim, verdicts.dmarc, verdicts.disposition) == ("", "", "", "deliver")


async def test_each_inbox_gets_one_entry(new_world: WorldMaker) -> None:
    """An alias and its members share one body; nobody gets two entries; no trace names a forward-path."""
    async with new_world() as world:
        client = await world.client()
        await client.deliver(b"x\r\n", ALICE, f"both@{DOMAIN}", f"ALICE+tag@{DOMAIN}", ALICE)
        client.close()
    (message,) = world.network.messages
    assert set(message.notifications) == {ALICE, BOB}
    assert message.notifications[ALICE].forward_path == ALICE
    assert message.notifications[BOB].forward_path == f"both@{DOMAIN}"
    for notification in message.notifications.values():
        assert b"for <" not in notification.trace


async def test_null_reverse_path_and_postmaster(new_world: WorldMaker) -> None:
    """A bounce to <postmaster> is delivered to whom the domain says."""
    async with new_world() as world:
        client = await world.client()
        for command in ("HELO client", "MAIL FROM:<>", "RCPT TO:<POSTMASTER>"):
            assert (await client.command(command)).startswith("250")
        assert (await client.command("DATA")).startswith("354")
        assert (await client.command(".")).startswith("250")
        client.close()
    notification = world.network.messages[0].notifications[ALICE]
    assert (notification.reverse_path, notification.forward_path) == ("", f"postmaster@{DOMAIN}")
    assert notification.trace.startswith(b"Return-Path: <>\r\n")
    assert b"\r\nReceived: from client (unknown [127.0.0.1])\r\n" in notification.trace
    assert b" with SMTP id " in notification.trace


async def test_a_loop_is_refused(new_world: WorldMaker) -> None:
    """More than 100 Received fields: 554 5.4.6, nothing is stored (RFC 5321 §6.3)."""
    async with new_world() as world:
        client = await world.client()
        assert (await client.deliver(b"Received: x\r\n" * 100 + b"\r\n")).startswith("250")
        assert await client.deliver(b"Received: x\r\n" * 101 + b"\r\n") == (
            "554 5.4.6 too many Received fields, this looks like a loop"
        )
        client.close()
    assert len(world.network.messages) == 1


async def test_one_line_per_message_in_the_log(new_world: WorldMaker) -> None:
    """The mail log has who, to whom, how large and where, its Message-ID, and never content."""
    async with new_world() as world:
        client = await world.client()
        await client.deliver(b"Subject: very secret\r\nmessage-id:\r\n <one@example.net>\r\n\r\n", ALICE, BOTH)
        await client.command("RSET")
        client.close()
    (line,) = world.log.named("received")
    assert line == {
        "id": line["id"],
        "client": "127.0.0.1",
        "tls": "",
        "reverse_path": "sender@example.net",
        "recipients": 2,
        "forward_paths": f"{ALICE} {BOTH}",
        "message_id": "<one@example.net>",
        "size": 57,
        "ms": line["ms"],
        "nodes": 2,
        "k": 3,
    }
    assert "secret" not in repr(world.log.events)


@pytest.mark.parametrize(
    ("header", "known"), [(b"", ""), (b"Message-ID: <\xff" + b"x" * 5_000 + b">\r\n", "<\ufffdxx")]
)
async def test_a_line_of_the_log_is_bounded(header: bytes, known: str, new_world: WorldMaker) -> None:
    """However many recipients a mail has, and however long or strange a Message-ID."""
    async with new_world() as world:
        client = await world.client()
        tags = [f"alice+{'x' * 50}{number}@{DOMAIN}" for number in range(50)]
        assert (await client.deliver(header + b"\r\n", *tags)).startswith("250")
        client.close()
    (line,) = world.log.named("received")
    assert (line["recipients"], line["message_id"][:4]) == (1, known)
    assert line["forward_paths"].startswith(f"{tags[0]} {tags[1]} ")
    assert max(len(str(value)) for value in line.values()) <= MAX_TEXT


async def test_ports_are_known_and_one_taken_is_an_error(new_world: WorldMaker) -> None:
    """Listening on a port in use raises, and the other listener is closed again."""
    async with new_world() as world:
        taken = world.server.listeners[0]
        other = new_world()
        settings = other.server._settings
        twice = type(settings)((settings.listen[0], taken), settings.hostname, settings.temporary_directory)
        server = GatewaySmtp(twice, other.names, other.network, None, other.dns, lambda: NOW)
        with pytest.raises(OSError, match="in use"):
            await server.start()
        assert server.ports == []
        client = await SmtpClient.connect(taken.port)
        assert (await client.reply()).startswith("220")
        client.close()
