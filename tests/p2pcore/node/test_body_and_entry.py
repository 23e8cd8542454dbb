"""append-after: an entry is taken only where its body is held, whatever batch the body came in."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of
from p2pcore.errors import BodyNotHeld, Failure, NodeFull, Tampered
from p2pcore.records import AppendAfter, Delete, Operation, SignedStatement, Store, identity
from tests.support.identities import Member, World
from tests.support.nodes import Body, Running, body, client_of, entry, running_node


@dataclass
class Stage:
    """A node with room for 300,000 octets, and a gateway."""

    world: World
    running: Running
    gateway: Member
    alice: Member
    client: PeerClient

    def body(self, size: int = 1_000) -> Body:
        return body(self.gateway.signer, self.world.clock(), os.urandom(size))

    def after(self, stored: Body) -> AppendAfter:
        return AppendAfter(self.entry(), identity(stored.statement))

    def entry(self) -> SignedStatement:
        return entry(self.gateway.signer, self.alice.certificate.inbox_key, self.world.clock())

    async def call(self, *operations: Operation) -> list[Failure | None]:
        return [failure_of(result) for result in await self.client.call(self.running.contact, operations)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "node", quota=300_000) as running,
        client_of(world, gateway) as client,
    ):
        yield Stage(world, running, gateway, alice, client)


@pytest.mark.parametrize("size", [1_000, 100_000])
async def test_body_and_entry_in_one_batch(stage: Stage, size: int) -> None:
    """Where the body is taken, as a row or a file, so is the entry; both again change nothing."""
    stored = stage.body(size)
    operations: list[Operation] = [stored.store, stage.after(stored)]
    for _ in range(2):
        assert await stage.call(*operations) == [None, None]
    counts = stage.running.node.counts()
    assert (counts.objects, counts.entries) == (1, 1)


@pytest.mark.parametrize("size", [60_000, 600_000])
async def test_a_refused_body_takes_its_entry_along(stage: Stage, size: int) -> None:
    """A full node says NodeFull of the body, BodyNotHeld of the entry, and holds neither; other entries are taken."""
    while (await stage.call(stage.body(50_000).store)) == [None]:
        pass
    refused, held = stage.body(size), stage.body(100)
    failures = await stage.call(refused.store, stage.after(refused), held.store, stage.after(held))
    assert [type(failure) for failure in failures] == [NodeFull, BodyNotHeld, type(None), type(None)]
    assert stage.running.node.counts().entries == 1


async def test_a_body_that_does_not_match_takes_its_entry_along(stage: Stage) -> None:
    """Whatever the body is refused for, its entry is not taken."""
    stored = stage.body()
    failures = await stage.call(Store(stored.signed, b"other"), stage.after(stored))
    assert [type(failure) for failure in failures] == [Tampered, BodyNotHeld]
    assert stage.running.node.counts().entries == 0


async def test_the_body_may_have_come_before(stage: Stage) -> None:
    """A batch that was split, or a body that another recipient's entry came with, is as good."""
    stored = stage.body()
    assert [type(failure) for failure in await stage.call(stage.after(stored))] == [BodyNotHeld]
    assert await stage.call(stored.store) == [None]
    assert await stage.call(stage.after(stored)) == [None]


async def test_an_entry_may_follow_a_deleted_body(stage: Stage) -> None:
    """A repetition that comes after the message was read is answered as the first time."""
    stored = stage.body()
    operations: list[Operation] = [stored.store, stage.after(stored)]
    assert await stage.call(*operations, Delete(stored.deletion())) == [None, None, None]
    assert await stage.call(*operations) == [None, None]
    assert await stage.call(operations[1]) == [None]
