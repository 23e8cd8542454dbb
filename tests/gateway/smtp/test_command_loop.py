"""Commands run one after the other, at once where they wait for nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params, replies
from p2pcore.mail.names import Recipients
from tests.gateway.smtp.attacks.roles import HEADER, MX, ROLES, Role
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People

BEFORE_DATA = b"EHLO client.example.net\r\nMAIL FROM:<sender@example.net>\r\nRCPT TO:<bob@example.org>\r\n"


def codes(received: bytes) -> list[bytes]:
    """The codes of the replies, a reply of several lines once."""
    return [line[:3] for line in received.split(b"\r\n") if line[3:4] == b" "]


async def one_turn() -> None:
    """Let the event loop run once what is due."""
    await asyncio.sleep(0)


def test_what_waits_for_nothing_is_answered_at_once(people: People, tmp_path: Path) -> None:
    """Greeting, EHLO, MAIL, RCPT for a recipient who is known, and QUIT are answered in the next turn of the loop."""

    async def story(world: Any) -> None:
        wire = MX.wire(world)
        wire.feed(BEFORE_DATA + b"QUIT\r\n")
        await one_turn()
        assert codes(bytes(wire.received)) == [b"220", b"250", b"250", b"250", b"221"]
        assert wire.closed

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_replies_to_several_clients_leave_together(people: People, tmp_path: Path) -> None:
    """What came from everybody is looked at before anybody is answered."""

    async def story(world: Any) -> None:
        wires = [MX.wire(world) for _ in range(3)]
        for wire in wires:
            wire.feed(b"NOOP\r\n")
            assert not any(each.received for each in wires)
        await one_turn()
        for wire in wires:
            assert codes(bytes(wire.received)) == [b"220", b"250"]
            wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_nothing_runs_beside_a_command_that_waits(people: People, tmp_path: Path) -> None:
    """While a recipient is looked up, what is pipelined behind RCPT is kept, and then answered in its order."""

    async def story(world: Any) -> None:
        answer = asyncio.Event()
        ask = world.names.recipient

        async def recipient(address: str) -> Recipients:
            await answer.wait()
            found: Recipients = await ask(address)
            return found

        world.names.known = lambda _address: None
        world.names.recipient = recipient
        wire = MX.wire(world)
        wire.feed(BEFORE_DATA + b"NOOP\r\nDATA\r\n")
        await settled()
        wire.feed(HEADER + b".\r\nQUIT\r\n")
        await settled()
        assert b"2.1.5" not in wire.received
        answer.set()
        await settled()
        assert codes(bytes(wire.received)) == [b"220", b"250", b"250", b"250", b"250", b"354", b"250", b"221"]
        assert len(world.network.messages) == 1

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_a_session_that_ends_while_a_command_waits(people: People, tmp_path: Path) -> None:
    """A client that is gone when its recipient is found leaves nothing behind; neither does one cut off by the end."""

    async def story(world: Any) -> None:
        answer = asyncio.Event()

        async def recipient(_address: str) -> Recipients:
            await answer.wait()
            raise RuntimeError("too late")

        world.names.known = lambda _address: None
        world.names.recipient = recipient
        wire = MX.wire(world)
        await wire.send(BEFORE_DATA)
        wire.vanish()
        await settled()
        assert world.server._listeners.connections == {wire.session}
        answer.set()
        await settled()
        assert not world.server._listeners.connections
        answer.clear()
        await MX.wire(world).send(BEFORE_DATA)
        assert len(world.server._listeners.connections) == 1

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


def test_many_commands_leave_others_their_turn(people: People, tmp_path: Path) -> None:
    """A buffer full of commands is run in parts, between which other sessions are served."""

    async def story(world: Any) -> None:
        many, other = MX.wire(world), MX.wire(world)
        await settled()
        before = len(many.received)
        many.feed(b"NOOP\r\n" * (3 * params.COMMANDS_IN_A_ROW))
        other.feed(b"NOOP\r\n")
        await one_turn()
        assert codes(bytes(many.received[before:])) == [b"250"] * params.COMMANDS_IN_A_ROW
        assert codes(bytes(other.received))[-1] == b"250"
        await settled()
        assert codes(bytes(many.received[before:])) == [b"250"] * (3 * params.COMMANDS_IN_A_ROW)
        for wire in (many, other):
            wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_replies_do_not_pile_up(role: Role, people: People, tmp_path: Path) -> None:
    """Those to a long pipeline leave in parts, whether or not its commands wait for something."""

    async def story(world: Any) -> None:
        wire = role.wire(world)
        await wire.send(role.greeting, b"MAIL FROM:" + role.mail + b"\r\n")
        parts: list[bytes] = []
        wire.write = parts.append  # type: ignore[assignment]
        count = 3 * params.COMMANDS_IN_A_ROW + 1
        wire.feed(b"RCPT TO:<bob@example.org>\r\n" * count)
        await settled()
        assert b"".join(parts) == replies.RECIPIENT_OK.octets * count
        assert max(map(len, parts)) == len(replies.RECIPIENT_OK.octets) * params.COMMANDS_IN_A_ROW
        wire.vanish()

    on_virtual_time(lambda: role.make(people, tmp_path, limits={"recipients": 1_000}), story)


def test_the_end_closes_idle_sessions(people: People, tmp_path: Path) -> None:
    """A server that stops says 421 to who has no transaction, and waits for nobody."""
    wires: list[Wire] = []

    async def story(world: Any) -> None:
        wires.append(MX.wire(world))
        await settled()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)
    (wire,) = wires
    assert codes(bytes(wire.received)) == [b"220", b"421"]
    assert wire.closed
