"""Garbage collection (§2.3): least recently used first, only what others hold and this node need not."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of
from p2pcore.dht.contact import distance
from p2pcore.errors import NodeFull
from p2pcore.node import charges
from p2pcore.node.settings import Limits
from p2pcore.records import Append, AskInbox, Delete, Fetch, InboxStatus, Operation, decode, encode
from tests.support.identities import Member, World
from tests.support.nodes import Body, Running, body, client_of, entry, running_node

SIZE = 20_000
QUOTA = 200_000  # nine bodies and what their rows take; collection begins at eight


@dataclass
class Stage:
    """A small node and three large ones, k = w = 2; keys of theirs are such that the small one is the farthest."""

    world: World
    small: Running
    others: list[Running]
    gateway: Member
    client: PeerClient

    def body(self, *, ours: bool = False, size: int = SIZE, rights: int = 1) -> Body:
        key = self.key(ours=ours)
        return body(self.gateway.signer, self.world.clock(), os.urandom(size), key=key, rights=rights)

    def key(self, *, ours: bool) -> bytes:
        """A key to which the small node is the closest, or the farthest of all."""
        while True:
            key = os.urandom(32)
            own = distance(self.small.contact.node_id, key)
            closer = sum(distance(other.contact.node_id, key) < own for other in self.others)
            if closer == (0 if ours else 3):
                return key

    def closest(self, key: bytes) -> list[Running]:
        return sorted(self.others, key=lambda other: distance(other.contact.node_id, key))

    async def call(self, node: Running, *operations: Operation) -> list[int]:
        return [result.status for result in await self.client.call(node.contact, operations)]

    async def everywhere(self, *operations: Operation) -> None:
        for node in (self.small, *self.others):
            assert set(await self.call(node, *operations)) == {200}

    async def held(self, bodies: Sequence[Body]) -> list[bool]:
        """Which of these the small node holds, asked without using them."""
        held = self.small.node._storage.read_now(
            lambda db: {key for (key,) in db.execute("SELECT object_key FROM objects WHERE held > 0")}
        )
        return [stored.statement.object_key in held for stored in bodies]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    gateway = world.gateway()
    async with AsyncExitStack() as stack:
        limits = Limits(gateway_share=1.0)
        small = await stack.enter_async_context(
            running_node(world, tmp_path / "small", quota=QUOTA, limits=limits, k=2)
        )
        others = [
            await stack.enter_async_context(running_node(world, tmp_path / f"other{number}", k=2))
            for number in range(3)
        ]
        client = await stack.enter_async_context(client_of(world, gateway))
        small.substrate.contacts = [node.contact for node in (small, *others)]
        yield Stage(world, small, others, gateway, client)


async def test_the_least_recently_used_go_first(stage: Stage) -> None:
    """Room is made to four fifths of the quota; what was fetched since stays before what was not."""
    bodies = [stage.body() for _ in range(8)]
    for stored in bodies:
        await stage.everywhere(stored.store)
        stage.world.clock.advance(params.SECOND)
    await stage.call(stage.small, Fetch(bodies[0].statement.object_key, b""))
    last = stage.body(ours=True)
    await stage.everywhere(last.store)
    await stage.small.node.collect(0)  # what has begun by itself is waited for
    assert await stage.held([*bodies, last]) == [True, False, False, *[True] * 6]
    counts = stage.small.node.counts()
    assert (counts.objects, counts.collected) == (7, 2)
    assert counts.octets <= 0.8 * QUOTA


async def test_uses_outlive_a_restart(stage: Stage) -> None:
    """When a body was fetched is written down, at the latest when the node stops."""
    stored = stage.body()
    await stage.call(stage.small, stored.store)
    stage.world.clock.advance(params.HOUR)
    await stage.call(stage.small, Fetch(stored.statement.object_key, b""))
    async with client_of(stage.world, stage.gateway) as client:

        async def sink(_piece: bytes) -> None:
            """Drop it."""

        stage.world.clock.advance(params.HOUR)
        await client.get_body(stage.small.contact, stored.statement.object_key, b"", sink)
    now = stage.world.clock()
    await stage.small.node.stop()
    async with running_node(stage.world, stage.small.directory, member=stage.small.member, k=2) as again:
        used = again.node._storage.read_now(lambda db: db.execute("SELECT used FROM objects").get)
    assert used == now


async def test_what_this_node_should_hold_stays(stage: Stage) -> None:
    """Among the k closest nothing goes, however full the node is; a store is refused then, and entries too."""
    bodies = [stage.body(ours=True) for _ in range(9)]
    for stored in bodies:
        await stage.everywhere(stored.store)
    one_more = stage.body(ours=True)
    [result] = await stage.client.call(stage.small.contact, [one_more.store])
    assert isinstance(failure_of(result), NodeFull)
    assert stage.small.node.counts().objects == 9


async def test_what_too_few_hold_stays(stage: Stage) -> None:
    """Only where w of the k closest confirm that they hold it: one of two is not enough, nor the third closest."""
    nowhere, once, farthest = (stage.body() for _ in range(3))
    await stage.call(stage.small, nowhere.store, once.store, farthest.store)
    await stage.call(stage.closest(once.statement.object_key)[0], once.store)
    first, _second, third = stage.closest(farthest.statement.object_key)
    for node in (first, third):
        await stage.call(node, farthest.store)
    assert not await stage.small.node.collect(SIZE)
    assert await stage.held([nowhere, once, farthest]) == [True, True, True]


async def test_a_peer_that_does_not_answer_confirms_nothing(stage: Stage) -> None:
    """A closest node that is down counts as one that does not hold it."""
    stored = stage.body()
    await stage.everywhere(stored.store)
    await stage.closest(stored.statement.object_key)[0].node.stop()
    assert not await stage.small.node.collect(SIZE)
    assert await stage.held([stored]) == [True]


async def test_a_network_smaller_than_k_collects_nothing(stage: Stage) -> None:
    """With fewer than k nodes known this node is one of the closest, whatever the distances are."""
    stored = stage.body()
    await stage.everywhere(stored.store)
    stage.small.substrate.contacts = [stage.closest(stored.statement.object_key)[0].contact]
    assert not await stage.small.node.collect(SIZE)


async def test_a_store_that_finds_no_room_makes_some(stage: Stage) -> None:
    """In response to a storage request room is made, and the request succeeds: in a batch, as a PUT, as an entry."""
    for _ in range(8):
        await stage.everywhere(stage.body().store)
    wanted = stage.body(ours=True, size=60_000)
    assert await stage.call(stage.small, wanted.store) == [200]
    assert stage.small.node.counts().octets <= QUOTA
    while (stage.small.node.counts().octets + 40_000) < QUOTA:
        await stage.everywhere(stage.body().store)
    large = stage.body(ours=True, size=100_000)
    await stage.client.put_body(stage.small.contact, large.signed, large.octets)
    assert await stage.held([wanted, large]) == [True, True]


async def test_expired_things_go_first(stage: Stage) -> None:
    """What has expired makes room before anything else is looked at."""
    old = [stage.body(ours=True) for _ in range(8)]
    for stored in old:
        await stage.call(stage.small, stored.store)
    stage.world.clock.advance(params.OBJECT_LIFETIME)
    new = stage.body()
    assert await stage.call(stage.small, new.store) == [200]
    assert await stage.call(stage.small, stage.body(size=3 * SIZE).store) == [200]
    assert await stage.held([*old, new]) == [False] * 8 + [True]
    assert stage.small.node.counts().collected == 0


async def test_entries_go_as_bodies_do(stage: Stage) -> None:
    """Entries of an inbox that others are closer to go, oldest first, once w of those hold them."""
    far, near = stage.key(ours=False), stage.key(ours=True)
    entries = [entry(stage.gateway.signer, key, stage.world.clock()) for key in (far, near, far)]
    await stage.everywhere(*map(Append, entries[:2]))
    await stage.call(stage.small, Append(entries[2]))
    assert await stage.small.node.collect(SIZE)
    statuses = await stage.client.call(stage.small.contact, [AskInbox(far), AskInbox(near)])
    assert [decode(InboxStatus, result.value).entries for result in statuses] == [1, 1]
    assert stage.small.node.counts().collected == 1


async def test_a_collected_object_may_come_again(stage: Stage) -> None:
    """It is unknown again; where a part of its rights was deleted, that part stays deleted."""
    stored = stage.body(rights=2)
    await stage.everywhere(stored.store)
    await stage.call(stage.small, Delete(stored.deletion(0)))
    assert await stage.small.node.collect(SIZE)
    counts = stage.small.node.counts()
    assert (counts.objects, counts.tombstones) == (0, 1)
    assert counts.octets == charges.of_statement(len(encode(stored.signed)), 2)
    assert await stage.call(stage.small, stored.store, Delete(stored.deletion(1))) == [200, 200]
    assert stage.small.node.counts().objects == 0
    assert stage.small.node.counts().octets == counts.octets


async def test_a_vain_run_is_not_repeated_at_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing can be removed, refusals cost no lookups."""
    for _ in range(9):
        await stage.call(stage.small, stage.body().store)
    looked = 0
    genuine = stage.small.substrate.lookup

    async def lookup(key: bytes, k: int) -> tuple[object, ...]:
        nonlocal looked
        looked += 1
        return await genuine(key, k)

    monkeypatch.setattr(stage.small.substrate, "lookup", lookup)
    stage.world.clock.advance(params.HOUR)
    for _ in range(5):
        assert await stage.call(stage.small, stage.body().store) == [507]
    assert looked == 9
    stage.world.clock.advance(params.HOUR)
    assert await stage.call(stage.small, stage.body().store) == [507]
    assert looked == 18
