"""The limits that all listeners share: each is tripped with its code, then service is as before and nothing is held."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.smtp.attacks.roles import HEADER, ROLES, SUBMISSION, Role
from tests.gateway.smtp.attacks.state import state_of
from tests.gateway.smtp.attacks.wire import STRANGER, TlsClient, Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People

Story = Callable[[Role, Any], Awaitable[None]]


def tripped(role: Role, people: People, directory: Path, trip: Story, **settings: Any) -> None:
    """Serve, have `trip` reach the limit three times, and each time be as before afterwards."""

    async def story(world: Any) -> None:
        await serves(role, world)
        before = state_of(world)
        for _ in range(3):
            await trip(role, world)
            await settled()
            assert state_of(world) == before
            await serves(role, world)
            assert state_of(world) == before

    on_virtual_time(lambda: role.make(people, directory, **settings), story)


async def serves(role: Role, world: Any) -> None:
    """A mail from greeting to QUIT."""
    role.forget(world)
    wire = await role.in_content(world)
    assert (await wire.send(HEADER + b"x\r\n.\r\n")).startswith(b"250 2.")
    assert (await wire.send(b"QUIT\r\n")).startswith(b"221 2.0.0 ")
    assert wire.closed
    assert len(role.kept(world)) == 1
    await settled()


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_connections_in_all(role: Role, people: People, tmp_path: Path) -> None:
    """One too many is 421 4.3.2 at once, from whomever; it costs the others nothing."""

    async def trip(role: Role, world: Any) -> None:
        wires = [Wire(world.server, (f"198.51.100.{number}", 1)) for number in range(5)]
        await settled()
        refused = Wire(world.server, ("127.0.0.1", 1))
        await settled()
        assert bytes(refused.received) == b"421 4.3.2 too many connections, try again later\r\n"
        assert refused.closed
        assert state_of(world).connections == 5
        for wire in wires:
            assert (await wire.send(b"NOOP\r\n")).endswith(b"250 2.0.0 ok\r\n")
            wire.vanish()

    tripped(role, people, tmp_path, trip, limits={"connections": 5})


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize(
    ("same", "other"),
    [
        (["192.0.2.1"] * 3, "192.0.2.2"),
        (["::ffff:192.0.2.1", "192.0.2.1", "::ffff:c000:201"], "192.0.2.2"),
        (["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:ffff::"], "2001:db8:0:1::1"),
        (["fe80::1%eth0", "fe80::2%eth1", "fe80::3"], "fe80:0:0:1::1"),
    ],
)
def test_connections_of_a_client(same: list[str], other: str, role: Role, people: People, tmp_path: Path) -> None:
    """One too many is 421 4.7.0; IPv6 clients are counted by /64, IPv4 in IPv6 is IPv4, and others are let in."""

    async def trip(role: Role, world: Any) -> None:
        first, second = Wire(world.server, (same[0], 1)), Wire(world.server, (same[1], 2))
        await settled()
        refused = Wire(world.server, (same[2], 3))
        await settled()
        assert bytes(refused.received) == b"421 4.7.0 too many connections from your address\r\n"
        assert refused.closed
        let_in = Wire(world.server, (other, 4))
        await settled()
        assert bytes(let_in.received).startswith(b"220 ")
        first.vanish()
        await settled()
        again = Wire(world.server, (same[2], 5))
        await settled()
        assert bytes(again.received).startswith(b"220 ")
        for wire in (second, let_in, again):
            wire.vanish()

    tripped(role, people, tmp_path, trip, limits={"connections_per_client": 2})


@pytest.mark.parametrize("role", ROLES, ids=str)
@pytest.mark.parametrize(
    "line",
    [
        b"XYZZY\r\n",
        b"\r\n",
        b"EHLO\r\n",
        b"MAIL FROM:<nonsense\r\n",
        b"NOOP\n",
        b"NO\0OP\r\n",
        b"\xff\r\n",
        b"EXPN x\r\n",
    ],
)
def test_errors_in_a_session(line: bytes, role: Role, people: People, tmp_path: Path) -> None:
    """Each 5yz counts, whatever it was for; one too many ends the session with 421 4.7.0."""

    async def trip(role: Role, world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        said = await wire.send(line * 100)
        assert said.count(b"\r\n") == 6
        assert said.endswith(b"421 4.7.0 too many errors\r\n")
        assert wire.closed

    tripped(role, people, tmp_path, trip, limits={"errors": 4})


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_recipients_of_a_transaction(role: Role, people: People, tmp_path: Path) -> None:
    """One too many is 452 4.5.3 (RFC 5321 §4.5.3.1.10); the others get the mail, and the next transaction has room."""

    async def trip(role: Role, world: Any) -> None:
        role.forget(world)
        wire = role.wire(world)
        await wire.send(role.greeting)
        for _ in range(2):
            await wire.send(b"MAIL FROM:" + role.mail + b"\r\n")
            for name in (b"alice", b"bob"):
                assert (await wire.send(b"RCPT TO:<" + name + b"@example.org>\r\n")).startswith(b"250")
            said = await wire.send(b"RCPT TO:<postmaster@example.org>\r\nRCPT TO:<both@example.org>\r\n")
            assert said == b"452 4.5.3 too many recipients in one transaction\r\n" * 2
            assert (await wire.send(b"DATA\r\n", HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.")
        wire.vanish()

    tripped(role, people, tmp_path, trip, limits={"recipients": 2})


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_size(role: Role, people: People, tmp_path: Path) -> None:
    """552 5.3.4, at MAIL where SIZE says so and at the end where it lied (RFC 1870 §6); the session goes on."""

    async def trip(role: Role, world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting)
        for declared in (b"2001", b"99999999999999999999"):
            said = await wire.send(b"MAIL FROM:" + role.mail + b" SIZE=" + declared + b"\r\n")
            assert said == b"552 5.3.4 message larger than 2000 octets\r\n"
        for declared in (b"-1", b"+1", b"0x10", b"1e9", b"\xd9\xa1", b"999999999999999999999", b"", b"1 SIZE=1"):
            said = await wire.send(b"MAIL FROM:" + role.mail + b" SIZE=" + declared + b"\r\n")
            assert said.startswith(b"501 5.5.4 "), declared
        for declared in (b" SIZE=10", b" SIZE=0", b""):
            await wire.send(role.to_data.replace(role.mail, role.mail + declared))
            said = await wire.send(HEADER + b"RSET\r\n" * 1_000_000 + b".\r\n")
            assert said == b"552 5.3.4 message larger than 2000 octets\r\n"
        assert await wire.send(b"NOOP\r\n") == b"250 2.0.0 ok\r\n"
        wire.vanish()

    tripped(role, people, tmp_path, trip, max_message_size=2_000)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_memory(role: Role, people: People, tmp_path: Path) -> None:
    """Where others hold the budget DATA is 452 4.3.1, and so is a content that needs more; both are temporary."""

    async def trip(role: Role, world: Any) -> None:
        holders = [await role.in_content(world) for _ in range(2)]
        wire = role.wire(world)
        said = await wire.send(role.greeting, role.to_data)
        assert said.endswith(b"452 4.3.1 no room for this message now\r\n")
        holders.pop().vanish()
        await settled()
        assert (await wire.send(b"RSET\r\n" + role.to_data)).endswith(b"<CR><LF>.<CR><LF>\r\n")
        assert (
            await wire.send(HEADER + b"x\r\n" * 150_000 + b".\r\n")
        ) == b"452 4.3.1 no room for this message now\r\n"
        assert (await wire.send(role.to_data, HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.")
        for each in (wire, *holders):
            each.vanish()

    tripped(role, people, tmp_path, trip, limits={"memory": 600_000})


def test_failed_logins_of_a_client(tmp_path: Path, server_tls: Any, client_tls: Any) -> None:
    """Over many sessions: then a right password is not listened to either, from there; elsewhere and later it is."""

    async def log_in(world: Any, peer: str, response: bytes) -> bytes:
        wire = Wire(world.server, (peer, 1))
        await wire.send(b"EHLO x\r\n", b"STARTTLS\r\n")
        tls = TlsClient(wire, client_tls)
        await tls.shake_hands()
        await tls.send(b"EHLO x\r\n")
        said = await tls.send(b"AUTH PLAIN " + response + b"\r\n")
        wire.vanish()
        await settled()
        return said[:9]

    right, wrong = b"AGFsaWNlAHNlY3JldA==", b"AGFsaWNlAHdyb25n"

    async def story(world: Any) -> None:
        for _ in range(3):
            assert await log_in(world, STRANGER[0], right) == b"235 2.7.0"
            assert [await log_in(world, STRANGER[0], wrong) for _ in range(3)] == [b"535 5.7.8"] * 3
            assert (await log_in(world, STRANGER[0], right)).startswith(b"4")
            assert await log_in(world, "192.0.2.99", right) == b"235 2.7.0"
            world.clock.advance(15 * 60_000)
        assert world.server._logins.failed._failures.keys() == {STRANGER[0]}

    people, limits = People(), {"failed_logins": 3}  # whose clock is moved here, and shown to no other test
    on_virtual_time(lambda: SUBMISSION.make(people, tmp_path, tls=server_tls, limits=limits), story)
