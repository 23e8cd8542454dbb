"""A disk that is really full: what was acknowledged is there, what was refused was said to be, and it passes."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of
from p2pcore.dht.contact import Contact
from p2pcore.errors import BodyNotHeld, Failure, NodeFull, Unreachable
from p2pcore.records import Append, AppendAfter, Delete, Fetch, Operation, SignedStatement, identity
from tests.p2pcore.node.test_crash import everything, process
from tests.support.identities import Member, World
from tests.support.nodes import Body, body, client_of, entry, running_node
from tests.support.small_disk import small_disk

SIZE = 16 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of SIZE octets."""
    with small_disk(tmp_path / "disk", SIZE) as disk:
        yield disk


class Filler:
    """Writes until the disk is full, and on; remembers what was answered with success, and what else was said."""

    def __init__(self, world: World, member: Member, client: PeerClient, contact: Contact, inbox_key: bytes) -> None:
        self.world, self.member, self.client, self.contact, self.inbox_key = world, member, client, contact, inbox_key
        self.stored: list[Body] = []
        self.appended: list[SignedStatement] = []
        self.refusals: list[Failure] = []

    async def run(self, full: asyncio.Event, refusals: int) -> None:
        """Write; set `full` after so many refusals; return when the node is gone."""
        try:
            while True:
                await self.batch(full, refusals)
                await self.put(700_000)
        except Unreachable:
            assert full.is_set(), "the node was gone before it was killed"

    async def batch(self, full: asyncio.Event, refusals: int) -> None:
        """A row, a file, and an entry with each."""
        bodies = [body(self.member.signer, self.world.clock(), os.urandom(size)) for size in (30_000, 200_000)]
        entries = [entry(self.member.signer, self.inbox_key, self.world.clock(), os.urandom(3_000)) for _ in bodies]
        operations: list[Operation] = [stored.store for stored in bodies]
        operations += [
            AppendAfter(signed, identity(stored.statement)) for stored, signed in zip(bodies, entries, strict=True)
        ]
        failures: list[Failure | None]
        try:
            failures = [failure_of(result) for result in await self.client.call(self.contact, operations)]
        except NodeFull as failure:  # the database takes nothing of the whole request
            failures = [failure] * len(operations)
        self.stored += [stored for stored, failure in zip(bodies, failures[:2], strict=True) if failure is None]
        self.appended += [signed for signed, failure in zip(entries, failures[2:], strict=True) if failure is None]
        self.refusals += [failure for failure in failures if failure is not None]
        if len(self.refusals) >= refusals:
            full.set()

    async def put(self, size: int) -> None:
        stored = body(self.member.signer, self.world.clock(), os.urandom(size))
        try:
            await self.client.put_body(self.contact, stored.signed, stored.octets)
        except NodeFull as failure:
            self.refusals.append(failure)
        else:
            self.stored.append(stored)


async def check(fillers: list[Filler], owner: PeerClient, contact: Contact, inbox_key: bytes) -> None:
    """Assert that everything that was answered with success is there."""
    held = {signed async for signed in everything(owner, contact, inbox_key)}
    for filler in fillers:
        assert held.issuperset(filler.appended)
        for stored in filler.stored:
            received = bytearray()

            async def sink(piece: bytes, received: bytearray = received) -> None:
                received.extend(piece)

            await owner.get_body(contact, stored.statement.object_key, stored.statement.digest, sink)
            assert received == stored.octets


async def test_a_full_disk_and_sigkill(disk: Path) -> None:
    """The disk fills under load, the node says NodeFull, is killed (-9), starts on the full disk and has everything.

    What was refused has no entry. It goes on refusing, until there is space again: then it takes what it is given.
    """
    world = World()
    gateway, alice, member = world.gateway(), world.user("alice"), world.node()
    inbox = alice.certificate.inbox_key
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(SIZE // 2))
    async with client_of(world, gateway) as as_gateway, client_of(world, alice, gateway) as as_alice:
        async with process(world, member, disk / "node", disk_reserve=0) as (contact, child):
            fillers = [Filler(world, gateway, as_gateway, contact, inbox) for _ in range(3)]
            full = [asyncio.Event() for _ in fillers]
            tasks = [asyncio.create_task(each.run(event, 12)) for each, event in zip(fillers, full, strict=True)]
            await asyncio.gather(*(event.wait() for event in full))
            child.send_signal(signal.SIGKILL)
            await asyncio.gather(*tasks)
        assert all(filler.stored and filler.appended for filler in fillers)
        assert {type(failure) for filler in fillers for failure in filler.refusals} <= {NodeFull, BodyNotHeld}
        async with process(world, member, disk / "node", disk_reserve=0) as (contact, _child):
            await check(fillers, as_alice, contact, inbox)
            large = body(gateway.signer, world.clock(), os.urandom(SIZE // 4))
            with pytest.raises(NodeFull):
                await as_gateway.put_body(contact, large.signed, large.octets)
            assert not list((disk / "node" / "incoming").iterdir())
            ballast.unlink()
            await as_gateway.put_body(contact, large.signed, large.octets)
            last = body(gateway.signer, world.clock(), os.urandom(50_000))
            signed = entry(gateway.signer, inbox, world.clock())
            results = await as_gateway.call(contact, [last.store, Append(signed), Delete(large.deletion())])
            assert [result.status for result in results] == [200, 200, 200]
            fillers[0].stored.append(last)
            fillers[0].appended.append(signed)
            await check(fillers, as_alice, contact, inbox)


async def test_with_its_reserve_a_node_goes_on_while_others_fill_the_disk(disk: Path) -> None:
    """Mail can be read, acknowledged and deleted however full the disk is of other things, as long as it has a rest."""
    world = World()
    gateway, alice, member = world.gateway(), world.user("alice"), world.node()
    stored = body(gateway.signer, world.clock(), os.urandom(300_000))
    async with (
        client_of(world, gateway) as as_gateway,
        client_of(world, alice, gateway) as as_alice,
        process(world, member, disk / "node", disk_reserve=4 << 20) as (contact, _child),
    ):
        assert [result.status for result in await as_gateway.call(contact, [stored.store])] == [200]
        left = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        (disk / "others").write_bytes(bytes(left - (2 << 20)))
        more = body(gateway.signer, world.clock(), os.urandom(100))
        [result] = await as_gateway.call(contact, [more.store])
        assert isinstance(failure_of(result), NodeFull)
        results = await as_alice.call(contact, [Fetch(stored.statement.object_key, b""), Delete(stored.deletion())])
        assert [result.status for result in results] == [200, 200]
        (disk / "others").unlink()
        assert [result.status for result in await as_gateway.call(contact, [more.store])] == [200]


async def test_a_node_stops_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When its owner last read cannot be written down; all the rest is closed, and the node can start again."""

    async def full(_work: object) -> None:
        raise NodeFull("disk: database or disk is full")

    world = World()
    alice, member = world.user("alice"), world.node()
    async with running_node(world, tmp_path, member=member) as running, client_of(world, alice) as as_alice:
        await as_alice.read_inbox(running.contact, alice.certificate.inbox_key, b"", 0, 0)
        monkeypatch.setattr(running.node._storage, "write", full)
    async with running_node(world, tmp_path, member=member):
        pass
