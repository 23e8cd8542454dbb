"""Clients that vanish at any point of the dialogue, a hundred times each, leave nothing behind."""

import asyncio
import gc
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.login_delays import LONGEST_WAIT
from tests.gateway.smtp.attacks.roles import HEADER, MX, RELAY, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.state import state_of
from tests.gateway.smtp.attacks.wire import TlsClient, on_virtual_time, settled
from tests.gateway.smtp.conftest import WorldMaker
from tests.gateway.smtp.submission_world import People, make_relay
from tests.gateway.smtp.world import SmtpClient

TIMES = 100
LARGE = (b"x" * 76 + b"\r\n") * 20_000  # more than stays in memory


def points(role: Role) -> dict[str, bytes]:
    """What is said before the client is gone."""
    content = role.greeting + role.to_data + HEADER
    found = {
        "at once": b"",
        "in a command": b"EHLO hal",
        "after EHLO": role.greeting,
        "after MAIL": role.greeting + b"MAIL FROM:" + role.mail + b"\r\n",
        "after RCPT": role.greeting + role.to_data.removesuffix(b"DATA\r\n"),
        "after a refused RCPT": role.greeting + b"MAIL FROM:" + role.mail + b"\r\nRCPT TO:<nobody@example.org>\r\n",
        "after DATA": role.greeting + role.to_data,
        "in the header": content[:-20],
        "in the content": content + b"half a li",
        "in the content, at a line's end": content + b"a line\r\n",
        "in the end": content + b"x\r\n.\r",
        "in a long line": b"x" * 100_000,
        "after an error": role.greeting + b"XYZZY\r\n",
        "with commands unread": role.greeting + b"NOOP\r\n" * 150,
    }
    if role is SUBMISSION:
        found |= {"in AUTH": b"EHLO x\r\nAUTH PLAIN\r\n", "in LOGIN": b"EHLO x\r\nAUTH LOGIN YWxpY2U=\r\n"}
    if role is RELAY:
        found |= {"in AUTH": b"EHLO x\r\nAUTH EXTERNAL\r\n"}
    return found


POINTS = [pytest.param(role, point, id=f"{role}, {point}") for role in ROLES for point in points(role)]


@pytest.mark.parametrize(("role", "point"), POINTS)
@pytest.mark.parametrize("politely", [False, True], ids=["reset", "closed"])
def test_who_vanishes_leaves_nothing(role: Role, point: str, politely: bool, people: People, tmp_path: Path) -> None:
    """Sessions, counters, memory, tasks and open files are as before; and the next client is served."""

    async def story(world: Any) -> None:
        before = state_of(world)
        for _ in range(TIMES):
            wire = role.wire(world)
            await wire.send(points(role)[point])
            wire.hang_up() if politely else wire.vanish()
        await settled()
        await asyncio.sleep(60)
        assert state_of(world) == before
        assert role.kept(world) == []
        wire = await role.in_content(world)
        assert (await wire.send(HEADER + b".\r\n")).startswith(b"250 2.")
        wire.vanish()

    on_virtual_time(lambda: role.make(people, tmp_path), story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_who_vanishes_in_a_large_content_leaves_nothing(role: Role, people: People, tmp_path: Path) -> None:
    """Neither does the file that took what had arrived."""
    directory = tmp_path / "temporary"
    directory.mkdir()

    async def story(world: Any) -> None:
        before = state_of(world)
        for _ in range(10):
            wire = await role.in_content(world)
            await wire.send(HEADER, LARGE, LARGE)
            assert state_of(world).descriptors > before.descriptors
            wire.vanish()
            await settled()
        gc.collect()
        assert state_of(world) == before
        assert list(directory.iterdir()) == []

    on_virtual_time(lambda: role.make(people, directory), story)


@pytest.mark.parametrize("role", [MX, SUBMISSION], ids=str)
@pytest.mark.parametrize("flight", ["nothing", "half a hello", "a hello", "nonsense", "all, and half a command"])
def test_who_vanishes_in_the_handshake_leaves_nothing(
    flight: str, role: Role, people: People, tmp_path: Path, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """At each flight of STARTTLS."""

    async def story(world: Any) -> None:
        before = state_of(world)
        for number in range(TIMES):
            wire = role.wire(world)
            await wire.send(role.greeting, b"STARTTLS\r\n")
            tls = TlsClient(wire, client_tls)
            if flight == "half a hello":
                await wire.send(tls.hello()[: 1 + number])
            elif flight == "a hello":
                await wire.send(tls.hello())
            elif flight == "nonsense":
                await wire.send(b"\x16\x03\x01\0\5hello")
            elif flight.startswith("all"):
                await tls.shake_hands()
                await tls.send(b"EHLO hal")
            wire.vanish()
            await settled()
        assert state_of(world) == before

    on_virtual_time(lambda: role.make(people, tmp_path, tls=server_tls), story)


def test_who_vanishes_while_it_is_stored(people: People, tmp_path: Path) -> None:
    """What was begun to be stored is stored; then nothing is left of the session either."""

    async def story(world: Any) -> None:
        before = state_of(world)
        world.network.gate = asyncio.Event()
        wires = [await MX.in_content(world) for _ in range(TIMES)]
        for wire in wires:
            await wire.send(HEADER + b".\r\n")
            wire.vanish()
        await settled()
        assert state_of(world).memory > 0
        world.network.gate.set()
        await settled()
        assert len(world.network.messages) == TIMES
        assert state_of(world) == before

    on_virtual_time(lambda: MX.make(people, tmp_path, limits={"connections_per_client": 2 * TIMES}), story)


def test_who_vanishes_while_a_wrong_login_waits(people: People, tmp_path: Path) -> None:
    """The pauses before and after a failed login end with their time at the latest."""

    async def story(world: Any) -> None:
        before = state_of(world)
        for _ in range(TIMES):
            wire = SUBMISSION.wire(world)
            wire.feed(b"EHLO x\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\n")
            await settled()
            wire.vanish()
        await asyncio.sleep(LONGEST_WAIT + 2)
        assert state_of(world) == before

    on_virtual_time(lambda: SUBMISSION.make(people, tmp_path, limits={"failed_login_delay": 1_000}), story)


async def test_real_sockets_are_closed(new_world: WorldMaker) -> None:
    """The same over TCP: every descriptor of both ends comes back, whoever closes first."""
    async with new_world() as world:
        before = state_of(world)
        for point in points(MX).values():
            for abort in (True, False):
                client = await SmtpClient.connect(world.server.ports[0])
                client.send(point)
                await client.writer.drain()
                if abort:
                    client.writer.transport.abort()
                client.close()
        await nobody_left(world)
        assert state_of(world) == before


async def test_a_handshake_broken_off_at_a_port_of_tls(people: People, tmp_path: Path) -> None:
    """Where TLS comes first there is no session before it: nothing is counted, and the next agent is served."""
    async with make_relay(people, tmp_path) as world:
        for octets in (b"", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n\r\n", b"EHLO x\r\n"):
            for _ in range(10):
                _reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
                writer.write(octets)
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        client = await world.client()
        assert (await client.command("NOOP")).startswith("250")
        assert state_of(world).connections == 1
        client.close()
        await nobody_left(world)
        assert state_of(world).connections == 0


async def nobody_left(world: Any) -> None:
    """Wait until no session is left."""
    connections = world.server._listeners.connections
    while connections:
        await asyncio.wait([one.over() for one in connections], return_when=asyncio.FIRST_COMPLETED)
    gc.collect()
