"""Thousands of idle or greedy connections cost a bounded number of octets and objects each, and end by themselves."""

import asyncio
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from gateway.smtp import params
from tests.gateway.smtp.attacks.roles import HEADER, MX, ROLES, Role
from tests.gateway.smtp.attacks.state import state_of
from tests.gateway.smtp.attacks.wire import Wire, on_virtual_time, settled
from tests.gateway.smtp.submission_world import People

MANY = 2_000  # at the port that everybody may reach; fewer show the same of the others
FEW = 300
ROOM = {"connections": 2 * MANY, "connections_per_client": 2 * MANY}
OCTETS_EACH = 12_000  # of an idle session, the wire of the test included
OBJECTS_EACH = 60


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_an_idle_connection_is_cheap(role: Role, people: People, tmp_path: Path) -> None:
    """Two thousand greeted clients; then all of them have gone at their time, and nothing of them is left."""
    many = MANY if role is MX else FEW

    async def story(world: Any) -> None:
        before = state_of(world)
        await Wire(world.server, ("192.0.2.1", 1)).send(role.greeting)  # what is made once is made
        gc.collect()
        objects = len(gc.get_objects())
        tracemalloc.start()
        wires = [Wire(world.server, ("192.0.2.1", number)) for number in range(many)]
        for wire in wires:
            wire.feed(b"EHLO client.example.net\r\n")
        await settled()
        gc.collect()
        held, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held / many < OCTETS_EACH
        assert (len(gc.get_objects()) - objects) / many < OBJECTS_EACH
        assert state_of(world).descriptors == before.descriptors
        await asyncio.sleep(params.COMMAND_TIMEOUT / 1_000 + 1)
        assert all(wire.closed for wire in wires)
        assert state_of(world) == before

    on_virtual_time(lambda: role.make(people, tmp_path, limits=ROOM), story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_unread_octets_are_bounded(role: Role, people: People, tmp_path: Path) -> None:
    """A client that sends without end and reads nothing is kept waiting: one line without end, or many commands."""

    async def story(world: Any) -> None:
        for flood in (b"x" * 1_000, b"NOOP\r\n" * 200):
            wire = role.wire(world)
            await wire.send(role.greeting)
            wire.session.pause_writing()  # it reads nothing either
            for _ in range(1_000):
                wire.feed(flood)
            await settled()
            assert wire.session._input.pending <= params.COMMAND_BUFFER + len(flood)
            assert len(wire.session._replies) < params.COMMAND_BUFFER * 10
            wire.vanish()

    on_virtual_time(lambda: role.make(people, tmp_path), story)


def test_what_comes_while_a_mail_is_stored_is_bounded(people: People, tmp_path: Path) -> None:
    """After the dot the client is read no further than its next commands."""

    async def story(world: Any) -> None:
        world.network.gate = asyncio.Event()
        wire = await MX.in_content(world)
        await wire.send(HEADER + b".\r\n")
        for _ in range(1_000):
            wire.feed(b"NOOP " + b"x" * 1_000 + b"\r\n")
        await settled()
        assert wire.session._input.pending <= params.COMMAND_BUFFER + 2_000
        world.network.gate.set()
        await settled()
        assert bytes(wire.received).count(b"250 2.0.0 ok") == 1_000
        wire.vanish()

    on_virtual_time(lambda: MX.make(people, tmp_path), story)


@pytest.mark.parametrize("role", ROLES, ids=str)
def test_octet_by_octet_costs_no_more(role: Role, people: People, tmp_path: Path) -> None:
    """A content of 20,000 segments of one octet is held as octets, not as segments."""

    async def story(world: Any) -> None:
        wire = await role.in_content(world)
        await wire.send(HEADER)
        gc.collect()
        tracemalloc.start()
        for _ in range(20_000):
            wire.feed(b"x")
        await settled()
        for _ in range(500):
            await wire.send(b"x")
        held, _peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 20 * 20_500
        assert (await wire.send(b"\r\n.\r\n")).startswith(b"250 2.")
        wire.vanish()

    on_virtual_time(lambda: role.make(people, tmp_path), story)
