"""What somebody on the way puts into the clear part of a connection has no effect under TLS (RFC 3207, NO STARTTLS)."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.outbound.courier import Courier
from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import Target
from gateway.outbound.session import Timeouts
from p2pcore.crypto.tls import make_server_certificate, server_context
from tests.gateway.smtp.attacks.roles import HEADER, MX, RELAY, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import TlsClient, on_virtual_time
from tests.gateway.smtp.submission_world import People

OFFERING = (MX, SUBMISSION)
INJECTED = {
    "a command": b"EHLO injected.example.net\r\n",
    "half a command": b"MAIL FROM:<intr",
    "one octet": b"N",
    "a line end": b"\r\n",
    "a transaction": b"EHLO x\r\nMAIL FROM:<intruder@example.net>\r\nRCPT TO:<bob@example.org>\r\nDATA\r\n",
    "a login": b"EHLO x\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n",
    "STARTTLS again": b"STARTTLS\r\n",
}
REFUSED = b"554 5.5.1 nothing may follow STARTTLS before the handshake\r\n"
READY = b"220 2.0.0 ready to start TLS\r\n"


@pytest.fixture(scope="session")
def offered(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """The server's side of TLS."""
    directory = tmp_path_factory.mktemp("tls")
    certificate, key = make_server_certificate(["localhost", "127.0.0.1"])
    (directory / "cert.pem").write_bytes(certificate)
    (directory / "key.pem").write_bytes(key)
    return server_context(directory / "cert.pem", directory / "key.pem")


def tell(role: Role, people: People, directory: Path, offered: ssl.SSLContext, story: Any) -> Any:
    return on_virtual_time(lambda: role.make(people, directory, tls=offered), story)


@pytest.mark.parametrize("role", OFFERING, ids=str)
@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED.keys())
def test_in_the_segment_of_starttls(
    injected: bytes, role: Role, people: People, tmp_path: Path, offered: ssl.SSLContext
) -> None:
    """It is refused and the connection closed: no TLS begins, and nothing of it is run (CVE-2011-0411)."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        assert await wire.send(b"STARTTLS\r\n" + injected) == REFUSED
        assert wire.closed
        assert role.kept(world) == []

    tell(role, people, tmp_path, offered, story)


@pytest.mark.parametrize("role", OFFERING, ids=str)
@pytest.mark.parametrize("injected", INJECTED.values(), ids=INJECTED.keys())
def test_between_the_answer_and_the_handshake(
    injected: bytes, role: Role, people: People, tmp_path: Path, offered: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """It is part of a handshake that fails: the connection ends without another reply, also with a ClientHello behind.

    "Half a command" and "one octet" look to TLS like the start of a record, and the rest ends it all the same.
    """

    async def story(world: Any) -> None:
        for hello_behind in (False, True):
            wire = role.wire(world)
            await wire.send(role.greeting)
            assert await wire.send(b"STARTTLS\r\n") == READY
            hello = TlsClient(wire, client_tls).hello()
            said = await wire.send(injected, hello) if not hello_behind else await wire.send(injected + hello)
            assert wire.closed
            assert not any(reply in said for reply in (b"250", b"220", b"235", b"354"))
        assert role.kept(world) == []
        assert not world.server._listeners.connections

    tell(role, people, tmp_path, offered, story)


@pytest.mark.parametrize("role", OFFERING, ids=str)
def test_nothing_said_in_clear_counts_under_tls(
    role: Role, people: People, tmp_path: Path, offered: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Greeting, login and an open transaction are forgotten (RFC 3207 §4.2); errors are not."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting, b"MAIL FROM:" + role.mail + b"\r\nRCPT TO:<bob@example.org>\r\n")
        assert await wire.send(b"STARTTLS\r\n") == READY
        tls = TlsClient(wire, client_tls)
        await tls.shake_hands()
        assert await tls.send(b"DATA\r\n") == b"503 5.5.1 send MAIL first\r\n"
        assert await tls.send(b"RCPT TO:<bob@example.org>\r\n") == b"503 5.5.1 send MAIL first\r\n"
        assert (await tls.send(b"MAIL FROM:" + role.mail + b"\r\n")).startswith(b"503 5.5.1 send EHLO")
        said = await tls.send(b"EHLO client.example.net\r\n")
        assert b"STARTTLS" not in said
        said = await tls.send(b"MAIL FROM:" + role.mail + b"\r\n")
        assert said.startswith(b"530 5.7.0 " if role is SUBMISSION else b"250 2.1.0 ")
        wire.vanish()

    tell(role, people, tmp_path, offered, story)


@pytest.mark.parametrize("role", OFFERING, ids=str)
def test_in_clear_after_the_handshake(
    role: Role, people: People, tmp_path: Path, offered: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Octets that no TLS record carries end the connection; they are neither command nor content."""
    smuggled = role.to_data + HEADER + b"in clear\r\n.\r\n"

    async def story(world: Any) -> None:
        for content in (False, True):
            wire = role.wire(world)
            assert (await wire.send(role.greeting, b"STARTTLS\r\n")).endswith(READY)
            tls = TlsClient(wire, client_tls)
            await tls.shake_hands()
            await tls.send(role.greeting)
            if content:
                assert (await tls.send(role.to_data)).endswith(b"<CR><LF>.<CR><LF>\r\n")
            await wire.send(b"\r\n.\r\n" + smuggled if content else smuggled)
            assert wire.closed
        assert role.kept(world) == []
        assert world.server.memory.used == 0

    tell(role, people, tmp_path, offered, story)


@pytest.mark.parametrize("role", OFFERING, ids=str)
def test_after_the_end_of_tls(
    role: Role, people: People, tmp_path: Path, offered: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """close_notify ends the session for good: it does not go on in clear, not even in a content half sent."""
    behind = b"NOOP\r\n" + role.to_data

    async def story(world: Any) -> None:
        for together in (True, False):
            wire = role.wire(world)
            assert (await wire.send(role.greeting, b"STARTTLS\r\n")).endswith(READY)
            tls = TlsClient(wire, client_tls)
            await tls.shake_hands()
            await tls.send(role.greeting)
            await tls.send(role.to_data + HEADER + b"half\r\n")
            farewell = tls.farewell()
            said = await wire.send(farewell + b".\r\n" + behind) if together else await wire.send(farewell, behind)
            assert wire.closed
            assert not any(reply in said for reply in (b"250", b"220", b"354"))
        assert role.kept(world) == []
        assert not world.server._listeners.connections

    tell(role, people, tmp_path, offered, story)


def test_a_relay_port_has_nothing_in_clear(people: People, tmp_path: Path) -> None:
    """STARTTLS is neither offered nor taken where TLS came first, so there is no clear part to inject into."""

    async def story(world: Any) -> None:
        wire = RELAY.wire(world)
        assert b"STARTTLS" not in await wire.send(RELAY.greeting)
        assert (await wire.send(b"STARTTLS\r\nNOOP\r\n")).startswith(b"454 4.7.0 ")
        wire.vanish()

    on_virtual_time(lambda: RELAY.make(people, tmp_path), story)


class InjectingMta:
    """A remote MTA behind somebody who adds clear text to its answer to STARTTLS."""

    def __init__(self, tls: ssl.SSLContext, added: bytes) -> None:
        self._tls = tls
        self._added = added
        self.commands: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 remote.example ESMTP\r\n")
        try:
            while line := await reader.readline():
                self.commands.append(line.rstrip())
                if line.startswith(b"STARTTLS"):
                    writer.write(b"220 go ahead\r\n" + self._added)
                    await writer.drain()
                    await writer.start_tls(self._tls)
                    reader._transport = writer.transport  # type: ignore[attr-defined]  # 3.11 forgets the reader
                elif line.startswith(b"EHLO") and b"STARTTLS" not in self.commands:
                    writer.write(b"250-remote.example\r\n250-STARTTLS\r\n250 X-CLEAR\r\n")
                elif line.startswith(b"EHLO"):
                    writer.write(b"250-remote.example\r\n250 X-SECURED\r\n")
                else:
                    writer.write(b"250 2.0.0 ok\r\n")
        except (ConnectionError, ssl.SSLError):
            return
        finally:
            writer.transport.abort()


class OneHost:
    """Exchangers whose only host is on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def targets(self, domain: str) -> tuple[Target, ...]:
        return (Target("mx.remote.example", "127.0.0.1", self._port),)


@pytest.mark.parametrize(
    "added",
    [
        b"250-remote.example\r\n250 X-INJECTED\r\n",
        b"250 X-INJECTED\r\n250 2.0.0 ok\r\n250 2.0.0 ok\r\n354 go\r\n250 2.0.0 ok\r\n",
        b"250-unfinished\r\n",
        b"2",
    ],
)
async def test_answers_injected_before_our_handshake(added: bytes, offered: ssl.SSLContext) -> None:
    """As a client we take no answer from the clear part either: what EHLO says is what it said under TLS."""
    mta = InjectingMta(offered, added)
    server = await asyncio.start_server(mta.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    timeouts = Timeouts(connect=2_000, command=2_000, data=2_000, block=2_000, final=2_000, quit=500)
    try:
        session = await Courier(OneHost(port), "mx.example.org", timeouts).connect("remote.example")
    except NotDelivered:
        pass  # the handshake may fail, and so may what follows
    else:
        assert "x-injected" not in session._extensions
        assert ("x-secured" in session._extensions) == bool(session.cipher)
        await session.quit()
    server.close()
    await server.wait_closed()
    assert not any(command.startswith((b"MAIL", b"DATA")) for command in mta.commands)
