"""STARTTLS secures what follows, and the trace says so."""

import asyncio
import smtplib
import ssl

from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.world import DOMAIN

CONTENT = "Subject: over TLS\r\n\r\n" + ("y" * 70 + "\r\n") * 50_000


async def test_a_stock_client_over_tls(
    new_world: WorldMaker, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """smtplib's STARTTLS and 3.6 MB: unchanged, ESMTPS in Received, version in verdicts and log."""

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, "client.example.net", timeout=20) as client:
            client.starttls(context=client_tls)
            assert client.sendmail("sender@example.net", [f"alice@{DOMAIN}"], CONTENT) == {}

    async with new_world(tls=server_tls) as world:
        await asyncio.to_thread(send, world.server.ports[0])
    (message,) = world.network.messages
    assert message.content == CONTENT.encode()
    notification = message.notifications[f"alice@{DOMAIN}"]
    assert b" with ESMTPS id " in notification.trace
    assert b"\r\n\ttls TLS_" in notification.trace
    assert notification.verdicts.tls.startswith("TLSv1.3 TLS_")
    (line,) = world.log.named("received")
    assert line["tls"] == "TLSv1.3"


async def test_no_tls_without_a_certificate(new_world: WorldMaker) -> None:
    """STARTTLS is not offered then, and 454 when tried."""
    async with new_world() as world:
        client = await world.client()
        assert "STARTTLS" not in await client.command("EHLO client.example.net")
        assert await client.command("STARTTLS") == "454 4.7.0 TLS not available"
        client.close()


async def test_a_failed_handshake_ends_the_session(new_world: WorldMaker, server_tls: ssl.SSLContext) -> None:
    """Nothing in clear is understood after STARTTLS."""
    async with new_world(tls=server_tls) as world:
        client = await world.client()
        assert (await client.command("STARTTLS")).startswith("220 ")
        client.send(b"EHLO client.example.net\r\n")
        assert not (await client.reader.read()).startswith(b"2")
        client.close()
    assert world.network.messages == []
    assert any("TLS" in line["reason"] for line in world.log.named("unfinished"))
