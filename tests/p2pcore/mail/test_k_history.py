"""k goes up and down: what was stored under a larger one is still read, fetched and deleted wherever it is."""

import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.batching import Batcher
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.mail.read import InboxReader
from p2pcore.records import Append, Delete, ObjectStatement, Replication, Store
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.support.identities import START, Member, World
from tests.support.nodes import Body, body, entry

NODES = 16


@dataclass
class Stage:
    """Sixteen nodes, and a domain whose k is `history`."""

    world: World
    network: MemoryNetwork
    replicas: Replicas
    history: list[Replication]
    gateway: Member
    alice: Member

    def set_k(self, k: int) -> None:
        """Let a day pass, and k hold from then on."""
        self.world.clock.advance(params.DAY)
        self.history.append(Replication(self.world.clock(), k, k // 2 + 1))

    async def store(self) -> Body:
        """A body on all k nodes of now."""
        made = body(self.gateway.signer, self.world.clock(), os.urandom(100))
        k = self.replicas.current().k
        await self.replicas.write(made.statement.object_key, Store(made.signed, made.octets), k=k, w=k)
        return made

    def holders(self, made: Body) -> list[int]:
        """Places, 0 the nearest, of the nodes that hold the body and have not been told of its deletion."""
        key = made.statement.object_key
        return [
            place
            for place, node in enumerate(self.network.closest(key))
            if key in node.objects and hashlib.sha256(made.secrets[0]).digest() not in node.deleted
        ]

    async def fetch_from(self, made: Body, place: int) -> bytes:
        """The body where only this one of its holders is up."""
        statement = made.statement
        nodes = self.network.closest(statement.object_key)
        for other, node in enumerate(nodes):
            node.down = other != place
        try:
            fetched = await self.replicas.fetch(
                statement.object_key, statement.digest, statement.size, since=statement.issued
            )
        finally:
            for node in nodes:
                node.down = False
            self.network.dead.clear()
        assert isinstance(fetched.body, bytes)
        return fetched.body

    async def delete(self, made: Body) -> None:
        statement: ObjectStatement = made.statement
        await self.replicas.everywhere(statement.object_key, Delete(made.deletion()), statement.issued)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world, network = World(), MemoryNetwork(NODES)
    alice, gateway = world.user("alice"), world.gateway()
    history = [Replication(START - params.DAY, 6, 4)]
    batcher = Batcher(network)
    replicas = Replicas(
        network,
        network,
        batcher,
        lambda: tuple(history),
        world.clock,
        checker=VersionChecker(world.trust(alice, gateway), world.verifier(alice, gateway)),
        directory=tmp_path,
    )
    yield Stage(world, network, replicas, history, gateway, alice)
    await replicas.stop()
    await batcher.stop()


async def test_bodies(stage: Stage) -> None:
    """k 6 → 1 → 4 → 2: each body is fetched from its farthest holder alone, and deleted on every one of its own."""
    made = [await stage.store()]
    for k in (1, 4, 2):
        stage.set_k(k)
        made.append(await stage.store())
    assert [len(stage.holders(each)) for each in made] == [6, 1, 4, 2]
    for each in made:
        assert await stage.fetch_from(each, stage.holders(each)[-1]) == each.octets
        await stage.delete(each)
        assert stage.holders(each) == []


@pytest.mark.parametrize("changes", [(1,), (1, 3), (2, 6, 1)])
async def test_inboxes(stage: Stage, changes: tuple[int, ...]) -> None:
    """An agent reads as many nodes as the largest k since anything in it may have been put there."""
    key = stage.alice.certificate.inbox_key
    signed = entry(stage.gateway.signer, key, stage.world.clock())
    await stage.replicas.write(key, Append(signed), k=6, w=6)
    for node in stage.network.closest(key)[:5]:
        node.entries.clear()
    for k in changes:
        stage.set_k(k)
    reader = InboxReader(
        stage.replicas, stage.network, key, bytes(16), stage.world.clock, foreign=lambda _instance: None
    )
    await reader.start()
    (found,) = await reader.next_batch()
    assert found.statement == signed.statement
    assert len(reader.watched) == 6
    await reader.stop()


async def test_a_k_that_nothing_living_was_stored_under_counts_no_more(stage: Stage) -> None:
    """After the longest life of an object the larger k is history."""
    stage.set_k(2)
    assert stage.replicas.largest_k(stage.world.clock() - params.MAX_LIFETIME) == 6
    stage.world.clock.advance(params.MAX_LIFETIME)
    assert stage.replicas.largest_k(stage.world.clock() - params.MAX_LIFETIME) == 2
