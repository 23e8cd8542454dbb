"""Mails from outside: their rate, which is tripped with 450 and as before when time has passed, and what they hold."""

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from tests.gateway.smtp.attacks.roles import HEADER, MX
from tests.gateway.smtp.attacks.state import state_of
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People
from tests.support.identities import ManualClock

SLOWER = b"450 4.7.1 too many messages from your address, slow down\r\n"


async def begins(world: Any, peer: str) -> bytes:
    """The reply to MAIL in a session of its own."""
    wire = Wire(world.server, (peer, 1))
    await wire.send(MX.greeting)
    said = await wire.send(b"MAIL FROM:" + MX.mail + b"\r\n")
    wire.vanish()
    await settled()
    return said


@pytest.mark.parametrize(
    ("peers", "other"),
    [(["192.0.2.1", "::ffff:192.0.2.1"], "192.0.2.2"), (["2001:db8::1", "2001:db8::2"], "2001:db8:0:1::1")],
)
def test_mails_of_a_minute(peers: list[str], other: str, people: People, tmp_path: Path) -> None:
    """Counted over sessions, by address or /64; others, this machine and what was begun are not touched."""
    clock = ManualClock()

    async def story(world: Any) -> None:
        before = state_of(world)
        for _ in range(3):
            assert [(await begins(world, peer))[:3] for peer in peers * 2] == [b"250"] * 4
            assert await begins(world, peers[1]) == SLOWER
            assert (await begins(world, other)).startswith(b"250")
            assert [(await begins(world, "127.0.0.1"))[:3] for _ in range(6)] == [b"250"] * 6
            clock.advance(params.MINUTE)
        assert state_of(world) == before

    on_virtual_time(lambda: MX.make(people, tmp_path, clock=clock, limits={"messages_per_minute": 4}), story)


def test_a_refused_mail_ends_no_session(people: People, tmp_path: Path) -> None:
    """The client may wait in the session it has, and go on there."""
    clock = ManualClock()

    async def story(world: Any) -> None:
        wire = await MX.in_content(world)
        assert (await wire.send(HEADER + b".\r\n")).startswith(b"250")
        assert await wire.send(b"MAIL FROM:" + MX.mail + b"\r\n") == SLOWER
        clock.advance(params.MINUTE)
        assert (await wire.send(MX.to_data, HEADER + b".\r\n")).splitlines()[-1].startswith(b"250 2.6.0 ")
        wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path, clock=clock, limits={"messages_per_minute": 1}), story)


def test_what_contents_hold_is_counted(people: People, tmp_path: Path) -> None:
    """Header sections as long as they may be, with a body that does not end; a refused one is let go of at once."""
    field = b"X: " + b"x" * 990 + b"\r\n"
    content = field * (params.MAX_HEADER_SCAN // len(field)) + b"\r\n" + b"y" * 8_000 + b"\r\n"
    clients, beside = 10, 100_000  # octets of a session besides its content

    def held() -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    async def story(world: Any) -> None:
        gc.collect()
        tracemalloc.start()
        wires = []
        for number in range(clients):
            wire = Wire(world.server, (f"192.0.2.{number}", 1))
            await wire.send(MX.greeting, MX.to_data)
            await wire.send(*(content[at : at + 60_000] for at in range(0, len(content), 60_000)))
            wires.append(wire)
        for_octets_to_come = clients * params.CONTENT_BUFFER
        assert clients * params.MAX_HEADER_SCAN < held() + clients * len(field)
        assert held() <= world.server.memory.used - for_octets_to_come + clients * beside
        for wire in wires:
            await wire.send(b"a\0b\r\n")
        assert world.server.memory.used == 0
        assert held() < clients * beside
        tracemalloc.stop()
        for wire in wires:
            wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)
