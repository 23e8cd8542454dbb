"""Who is slow, silent or deaf holds a session for a bounded time, whatever it says meanwhile; on virtual time."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from tests.gateway.smtp.attacks.roles import HEADER, MX, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People

TIMED_OUT = b"421 4.4.2 waited too long, closing the connection\r\n"
MINUTE = 60.0


def tell(role: Role, people: People, directory: Path, story: Any, **settings: Any) -> Any:
    return on_virtual_time(lambda: role.make(people, directory, **settings), story)


async def closed_after(wire: Wire) -> float:
    """Wait until the server has closed, an hour and a half at most; return the minutes that it took."""
    began = asyncio.get_running_loop().time()
    async with asyncio.timeout(90 * MINUTE):  # who is held longer is held for ever
        await wire.end.wait()
    return (asyncio.get_running_loop().time() - began) / MINUTE


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_silence(role: Role, people: People, tmp_path: Path) -> None:
    """Five minutes for a command (RFC 5321 §4.5.3.2.7), at whatever point of the dialogue; 421 4.4.2 says why."""

    async def story(world: Any) -> None:
        for said in (b"", role.greeting, role.greeting + b"MAIL FROM:" + role.mail + b"\r\n", b"EHLO half a li"):
            wire = role.wire(world)
            await wire.send(said)
            assert await closed_after(wire) == pytest.approx(5, abs=0.1)
            assert bytes(wire.received).endswith(TIMED_OUT)
        await settled()
        assert not world.server._listeners.connections

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_command_that_drips(role: Role, people: People, tmp_path: Path) -> None:
    """Each octet does not buy another five minutes: the time is for the whole line."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        drip = asyncio.create_task(dripping(wire, b"NOOP " + b"x" * 500, MINUTE))
        assert await closed_after(wire) == pytest.approx(5, abs=0.1)
        assert bytes(wire.received).endswith(TIMED_OUT)
        drip.cancel()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_line_that_never_ends_and_drips(role: Role, people: People, tmp_path: Path) -> None:
    """Neither does being over the limit: the rest of the line is skipped in the same five minutes."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(b"x" * (params.MAX_COMMAND_LINE + 1))
        drip = asyncio.create_task(dripping(wire, b"x" * 500, MINUTE))
        assert await closed_after(wire) == pytest.approx(5, abs=0.1)
        drip.cancel()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_content_that_drips(role: Role, people: People, tmp_path: Path) -> None:
    """An octet a minute keeps within the time between blocks, and the hour for the whole ends it; nothing is kept."""

    async def story(world: Any) -> None:
        wire = await role.in_content(world)
        drip = asyncio.create_task(dripping(wire, HEADER * 10, MINUTE))
        assert await closed_after(wire) == pytest.approx(60, abs=0.1)
        assert bytes(wire.received).endswith(TIMED_OUT)
        drip.cancel()
        await settled()
        assert (role.kept(world), world.server.memory.used) == ([], 0)

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_content_that_stops(role: Role, people: People, tmp_path: Path) -> None:
    """Three minutes between two blocks (RFC 5321 §4.5.3.2.5); then the memory it held is free."""

    async def story(world: Any) -> None:
        wire = await role.in_content(world)
        await wire.send(HEADER)
        assert world.server.memory.used > 0
        assert await closed_after(wire) == pytest.approx(3, abs=0.1)
        await settled()
        assert (role.kept(world), world.server.memory.used) == ([], 0)

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_chunks_that_come_slowly(role: Role, people: People, tmp_path: Path) -> None:
    """A content in chunks has its hour, as one after DATA has: the half an hour without a mail does not cut it off."""

    async def story(world: Any) -> None:
        patient, endless = role.wire(world), role.wire(world)
        begun = role.greeting + role.to_data.removesuffix(b"DATA\r\n") + b"BDAT %d\r\n" % len(HEADER) + HEADER
        for wire in (patient, endless):
            assert (await wire.send(begun)).endswith(b" octets received\r\n")
        drip = asyncio.create_task(repeating(endless, b"BDAT 1\r\nx", 2 * MINUTE))
        for _ in range(25):
            await asyncio.sleep(2 * MINUTE)
            assert await patient.send(b"BDAT 1\r\nx") == b"250 2.0.0 1 octets received\r\n"
        assert (await patient.send(b"BDAT 2 LAST\r\n\r\n")).startswith(b"250 2.")
        assert role.kept(world) == [HEADER + b"x" * 25 + b"\r\n"]
        assert await closed_after(endless) == pytest.approx(10, abs=0.1)
        assert bytes(endless.received).endswith(TIMED_OUT)
        drip.cancel()
        patient.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize("command", [b"NOOP\r\n", b"RSET\r\n", b"EHLO x\r\n", b"VRFY x\r\n", b"HELP\r\n"])
def test_commands_that_lead_nowhere(command: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """A session that is kept alive without any mail in half an hour ends with 421 4.4.2."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        drip = asyncio.create_task(repeating(wire, command, 4 * MINUTE))
        assert await closed_after(wire) == pytest.approx(30, abs=0.1)
        assert bytes(wire.received).endswith(TIMED_OUT)
        drip.cancel()

    tell(role, people, tmp_path, story)


def test_transactions_that_lead_nowhere(people: People, tmp_path: Path) -> None:
    """MAIL and RCPT without a content are no mail either."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        await wire.send(MX.greeting)
        commands = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\nRSET\r\n"
        drip = asyncio.create_task(repeating(wire, commands, 4 * MINUTE))
        assert await closed_after(wire) == pytest.approx(30, abs=0.1)
        drip.cancel()

    tell(MX, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_mail_now_and_then_keeps_a_session(role: Role, people: People, tmp_path: Path) -> None:
    """A client that sends something every twenty minutes, and NOOP in between, is not sent away."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for _ in range(4):
            assert (await wire.send(role.to_data)).endswith(b"<CR><LF>.<CR><LF>\r\n")
            assert (await wire.send(HEADER + b"x\r\n.\r\n")).startswith(b"250 2.")
            for _ in range(5):
                await asyncio.sleep(4 * MINUTE)
                assert await wire.send(b"NOOP\r\n") == b"250 2.0.0 ok\r\n"
        wire.vanish()

    tell(role, people, tmp_path, story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_a_client_that_reads_nothing(role: Role, people: People, tmp_path: Path) -> None:
    """Whether deaf to the reply to a command, a content or a chunk, it holds its session for minutes only."""

    async def story(world: Any) -> None:
        deaf_to_commands = role.wire(world)
        await deaf_to_commands.send(role.greeting)
        deaf_to_commands.session.pause_writing()
        await deaf_to_commands.send(b"HELP\r\n", b"HELP\r\n")
        deaf_to_content = await role.in_content(world)
        deaf_to_content.session.pause_writing()
        await deaf_to_content.send(HEADER + b"x\r\n.\r\n")
        deaf_to_chunks = role.wire(world)
        await deaf_to_chunks.send(role.greeting, role.to_data.removesuffix(b"DATA\r\n"))
        deaf_to_chunks.session.pause_writing()
        await deaf_to_chunks.send(b"BDAT 1\r\nxBDAT 1 LAST\r\ny")
        for wire in (deaf_to_commands, deaf_to_content, deaf_to_chunks):
            assert await closed_after(wire) <= 5.1
        await settled()
        assert not world.server._listeners.connections

    tell(role, people, tmp_path, story)


def test_a_login_that_stops_half_way(people: People, tmp_path: Path) -> None:
    """The response to 334 has the time of a command."""

    async def story(world: Any) -> None:
        for command in (b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH LOGIN YWxpY2U=\r\n"):
            wire = SUBMISSION.wire(world)
            assert (await wire.send(b"EHLO x\r\n", command)).splitlines()[-1].startswith(b"334")
            assert await closed_after(wire) == pytest.approx(5, abs=0.1)

    tell(SUBMISSION, people, tmp_path, story)


@pytest.mark.parametrize("role", [MX, SUBMISSION], ids=str)
@pytest.mark.parametrize("hello", [b"", b"\x16\x03\x01\x02", b"\x16\x03\x01\x40\x00" + b"\x01"])
def test_a_handshake_that_stops(
    hello: bytes, role: Role, people: People, tmp_path: Path, server_tls: ssl.SSLContext
) -> None:
    """Who asks for TLS and then says nothing, or half a hello, is cut off after a minute."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        assert (await wire.send(role.greeting, b"STARTTLS\r\n")).endswith(b"ready to start TLS\r\n")
        await wire.send(hello)
        assert await closed_after(wire) <= 1.1
        await settled()
        assert not world.server._listeners.connections

    tell(role, people, tmp_path, story, tls=server_tls)


async def dripping(wire: Wire, octets: bytes, seconds: float) -> None:
    for place in range(len(octets)):
        await asyncio.sleep(seconds)
        wire.feed(octets[place : place + 1])


async def repeating(wire: Wire, octets: bytes, seconds: float) -> None:
    while True:
        await asyncio.sleep(seconds)
        wire.feed(octets)
