"""Quota: everything that takes disk counts, each signer has a share, and what frees room is never refused for it."""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of
from p2pcore.errors import Failure, InboxFull, NodeFull, RateLimited, Replayed
from p2pcore.node import bodies
from p2pcore.node.nonces import Nonces
from p2pcore.node.settings import Limits
from p2pcore.node.storage import Ledger
from p2pcore.records import (
    Acknowledge,
    Append,
    AskInbox,
    Batch,
    Delete,
    InboxStatus,
    Operation,
    Publish,
    SignedStatement,
    decode,
    encode,
    identity,
)
from tests.p2pcore.node.test_requests import Wire, wire
from tests.p2pcore.node.test_versioned import certificate_version, domain_version
from tests.support.identities import Member, World
from tests.support.nodes import Body, Running, acknowledgement, body, client_of, entry, running_node

__all__ = ["wire"]

QUOTA = 200_000
LIMITS = Limits(inbox_entries_of_user=3)


@dataclass
class Stage:
    """A small node, a gateway and two users."""

    world: World
    running: Running
    gateway: Member
    alice: Member
    bob: Member
    as_gateway: PeerClient
    as_alice: PeerClient
    as_bob: PeerClient

    @property
    def inbox(self) -> bytes:
        return self.alice.certificate.inbox_key

    def body(self, size: int, *, member: Member | None = None, rights: int = 1) -> Body:
        return body((member or self.gateway).signer, self.world.clock(), os.urandom(size), rights=rights)

    def entry(self, member: Member, size: int = 40) -> SignedStatement:
        return entry(member.signer, self.inbox, self.world.clock(), os.urandom(size))

    def read(self, *entries: SignedStatement) -> Acknowledge:
        named = [identity(signed.statement) for signed in entries] or [os.urandom(32)]
        return Acknowledge(acknowledgement(self.alice.signer, self.inbox, self.world.clock(), named))

    async def call(self, client: PeerClient, *operations: Operation) -> list[type[Failure] | None]:
        """The failures' classes."""
        failures = [failure_of(result) for result in await client.call(self.running.contact, operations)]
        return [None if failure is None else type(failure) for failure in failures]

    async def fill(self) -> None:
        """Until nothing more fits."""
        for size in (50_000, 10_000, 1_000, 100, 1):
            while await self.call(self.as_gateway, self.body(size).store) == [None]:
                pass

    def check(self) -> None:
        """What is counted is what the database holds."""
        ledger = self.running.node._storage._ledger
        afresh = self.running.node._storage.read_now(Ledger)
        assert afresh.octets == ledger.octets
        assert {k: v for k, v in ledger.octets_of.items() if v} == {k: v for k, v in afresh.octets_of.items() if v}
        assert afresh.counts == ledger.counts
        counted, held = self.running.node._storage.read_now(inbox_counts)
        assert counted == held


def inbox_counts(db: apsw.Connection) -> tuple[dict[bytes, tuple[int, int]], dict[bytes, tuple[int, int]]]:
    """Entries and octets by inbox, as `inboxes` has them and as `entries` does."""
    counted = db.execute("SELECT inbox_key, entries, octets FROM inboxes WHERE entries <> 0 OR octets <> 0")
    held = db.execute("SELECT inbox_key, count(*), sum(octets) FROM entries GROUP BY inbox_key")
    return {key: (entries, octets) for key, entries, octets in counted}, {
        key: (entries, octets) for key, entries, octets in held
    }


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    gateway, alice, bob = world.gateway(), world.user("alice"), world.user("bob")
    async with (
        running_node(world, tmp_path / "node", quota=QUOTA, limits=LIMITS) as running,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice, gateway) as as_alice,
        client_of(world, bob) as as_bob,
    ):
        yield Stage(world, running, gateway, alice, bob, as_gateway, as_alice, as_bob)


async def test_every_role_has_its_share(stage: Stage) -> None:
    """A user fills a quarter, the gateway, one signer for all outside mail, nine tenths; users still find room then."""
    assert await stage.call(stage.as_alice, stage.body(50_000, member=stage.alice).store) == [NodeFull]
    assert await stage.call(stage.as_alice, stage.body(49_000, member=stage.alice).store) == [None]
    assert await stage.call(stage.as_alice, stage.body(1_000, member=stage.alice).store) == [NodeFull]
    for _ in range(2):
        assert await stage.call(stage.as_gateway, stage.body(60_000).store) == [None]
    assert await stage.call(stage.as_bob, stage.body(20_000, member=stage.bob).store) == [None]
    stage.check()


async def test_the_gateways_share_leaves_room_for_users(stage: Stage) -> None:
    """Outside mail alone does not fill a node."""
    await stage.fill()
    assert stage.running.node.counts().octets <= 0.9 * QUOTA
    assert await stage.call(stage.as_alice, stage.body(10_000, member=stage.alice).store) == [None]


async def test_a_share_is_kept_while_bodies_arrive(stage: Stage) -> None:
    """A large body beyond its signer's share is refused before it takes disk."""
    large = stage.body(150_000, member=stage.alice)
    with pytest.raises(NodeFull):
        await stage.as_alice.put_body(stage.running.contact, large.signed, large.octets)
    service = stage.running.node._service
    with service.room(40_000, stage.alice.certificate):
        with pytest.raises(NodeFull), service.room(20_000, stage.alice.certificate):
            pass
        with service.room(20_000, stage.bob.certificate):
            pass


async def test_proofs_count(stage: Stage) -> None:
    """Deletions of what never came and acknowledgements of what is not here fill a share as bodies do."""
    for operation in (
        lambda: Delete(stage.body(1, member=stage.alice, rights=100).deletion()),
        lambda: stage.read(*(stage.entry(stage.gateway) for _ in range(100))),
    ):
        taken = stage.running.node.counts().octets
        for _ in range(40):
            failures = await stage.call(stage.as_alice, operation())
            if failures != [None]:
                break
        assert failures == [NodeFull]
        assert 0 < stage.running.node.counts().octets - taken <= QUOTA // 4
        stage.check()
        stage.world.clock.advance(params.OBJECT_LIFETIME + params.TOMBSTONE_GRACE + params.SECOND)
        await stage.running.node.sweep()
        assert stage.running.node.counts().octets == 0


async def test_a_full_node_takes_what_frees_room(stage: Stage) -> None:
    """However full it is, the recipient can delete the body and acknowledge the entry, and then there is room."""
    stored = stage.body(30_000, rights=2)
    waiting = stage.entry(stage.gateway, size=4_000)
    assert await stage.call(stage.as_gateway, stored.store, Append(waiting)) == [None, None]
    await stage.fill()
    while await stage.call(stage.as_alice, stage.body(500, member=stage.alice).store) == [None]:
        pass
    while await stage.call(stage.as_bob, stage.body(500, member=stage.bob).store) == [None]:
        pass
    assert await stage.call(stage.as_alice, stage.read()) == [NodeFull]
    assert await stage.call(stage.as_alice, stage.read(waiting)) == [None]
    deletions = [Delete(stored.deletion(right)) for right in range(2)]
    assert await stage.call(stage.as_alice, *deletions) == [None, None]
    assert await stage.call(stage.as_gateway, stage.body(25_000).store) == [None]
    stage.check()


async def test_what_is_counted_is_what_is_held(stage: Stage) -> None:
    """After stores, deletions, acknowledgements, repetitions and expiry the ledger equals the database's sums."""
    stored = [stage.body(size, rights=2) for size in (10, 20_000, 70_000)]
    entries = [stage.entry(stage.gateway) for _ in range(5)]
    await stage.call(stage.as_gateway, *(each.store for each in stored), *map(Append, entries))
    stage.check()
    ack = stage.read(*entries[:2], *entries[:1])
    for _ in range(2):
        await stage.call(stage.as_alice, ack, Delete(stored[0].deletion(0)), Delete(stored[1].deletion(1)))
        await stage.call(stage.as_alice, Delete(stored[1].deletion(0)), Delete(stage.body(3).deletion()))
        await stage.call(stage.as_gateway, *(each.store for each in stored), *map(Append, entries))
        stage.check()
    for _ in range(2):
        stage.world.clock.advance(params.OBJECT_LIFETIME)
        await stage.running.node.sweep()
        stage.check()
    assert stage.running.node.counts().octets == 0


async def test_one_user_does_not_fill_anothers_inbox(stage: Stage) -> None:
    """A user has so many entries in one inbox and no more, until some are read; gateways and other users go on."""
    entries = [stage.entry(stage.bob) for _ in range(4)]
    assert await stage.call(stage.as_bob, *map(Append, entries)) == [None, None, None, InboxFull]
    assert await stage.call(stage.as_bob, Append(entries[0])) == [None]
    assert await stage.call(stage.as_gateway, *(Append(stage.entry(stage.gateway)) for _ in range(4))) == [None] * 4
    assert await stage.call(stage.as_alice, Append(stage.entry(stage.alice))) == [None]
    assert await stage.call(stage.as_alice, stage.read(*entries[:2])) == [None]
    more = [Append(stage.entry(stage.bob)) for _ in range(3)]
    assert await stage.call(stage.as_bob, *more) == [None, None, InboxFull]


async def test_a_disk_that_others_fill_is_left_its_reserve(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short of disk a node refuses what takes room, says so to who asks for the inbox, and takes what frees some."""
    stored = stage.body(100_000)
    waiting = stage.entry(stage.gateway)
    await stage.call(stage.as_gateway, stored.store, Append(waiting))
    monkeypatch.setattr(type(stage.running.node._storage), "free", lambda _storage: 1_000)
    assert await stage.call(stage.as_gateway, stage.body(10).store) == [NodeFull]
    assert await stage.call(stage.as_gateway, Append(stage.entry(stage.gateway))) == [NodeFull]
    large = stage.body(70_000)
    with pytest.raises(NodeFull):
        await stage.as_gateway.put_body(stage.running.contact, large.signed, large.octets)
    [status] = await stage.as_gateway.call(stage.running.contact, [AskInbox(stage.inbox)])
    assert not decode(InboxStatus, status.value).room
    assert await stage.call(stage.as_alice, Delete(stored.deletion())) == [None]
    monkeypatch.undo()
    assert await stage.call(stage.as_gateway, stage.body(10).store) == [None]


async def test_requests_beyond_the_rate_use_up_no_nonces(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """One signer cannot fill the memory for nonces; what was refused so may come again, what was answered may not."""
    monkeypatch.setattr(params, "MAX_NONCES", 3)
    alice, bob = wire.world.user("alice"), wire.world.user("bob")
    answered = wire.signed(alice)
    assert (await wire.send(answered))[0] == 200
    service = wire.running.node._service
    limits = service.settings.limits
    service.rates.take(alice.certificate, int(limits.user_rate * limits.burst) - 1)
    refused = [wire.signed(alice) for _ in range(10)]
    for headers in refused:
        assert (await wire.send(headers))[:2] == (429, RateLimited.__name__)
    assert (await wire.send(wire.signed(bob)))[0] == 200
    wire.world.clock.advance(2 * params.SECOND)
    assert (await wire.send(refused[0]))[0] == 200
    assert (await wire.send(answered))[:2] == (409, Replayed.__name__)
    assert isinstance(wire.running.node._nonces, Nonces)


async def test_a_batch_counts_each_operation_once(wire: Wire) -> None:
    """A request counts as one, and as many as it carries where that is more."""
    alice = wire.world.user("alice")
    service = wire.running.node._service
    rate = service.settings.limits.user_rate
    service.rates.take(alice.certificate, int(rate * service.settings.limits.burst) - 3)
    assert (await wire.send(wire.signed(alice)))[0] == 200
    many = encode(Batch((), tuple(AskInbox(bytes(32)) for _ in range(3))))
    assert (await wire.send(wire.signed(alice, body=many), body=many))[1] == "RateLimited"


async def test_versions_count_like_everything_else(stage: Stage) -> None:
    """A certificate takes of its publisher's share, gives it back to its successor's, and in the end to nobody's."""
    before = stage.running.node.counts().octets
    published = certificate_version(stage.world, stage.alice, stage.alice)
    assert await stage.call(stage.as_alice, Publish(published)) == [None]
    taken = stage.running.node.counts().octets - before
    assert taken > len(published.content)
    assert stage.running.node._storage.octets_of(stage.alice.signer.fingerprint) == taken
    stage.world.clock.advance(params.DAY)
    renewed = stage.world.user("alice")
    again = certificate_version(stage.world, renewed, renewed)
    async with client_of(stage.world, renewed) as as_renewed:
        assert await stage.call(as_renewed, Publish(again)) == [None]
    assert stage.running.node._storage.octets_of(stage.alice.signer.fingerprint) == 0
    stage.check()
    stage.world.clock.now = again.version.statement.expires
    await stage.running.node.sweep()
    assert stage.running.node.counts().octets == before
    stage.check()


async def test_a_full_node_takes_no_certificate_but_the_domain_record(stage: Stage) -> None:
    """Nobody keeps a revocation from a node by filling it; the record counts for the directory, within its share."""
    directory = stage.world.directory()
    await stage.fill()
    fat = stage.body(1, member=stage.bob)
    while await stage.call(stage.as_bob, stage.body(500, member=stage.bob).store) == [None]:
        pass
    while await stage.call(stage.as_alice, stage.body(1, member=stage.alice).store) == [None]:
        pass
    assert await stage.call(stage.as_bob, fat.store) == [NodeFull]
    certificate = certificate_version(stage.world, directory, stage.alice)
    record = domain_version(stage.world, directory, stage.world.clock())
    async with client_of(stage.world, directory) as as_directory:
        assert await stage.call(as_directory, Publish(certificate), Publish(record)) == [NodeFull, None]
    assert stage.running.node._storage.octets_of(directory.signer.fingerprint) > len(record.content)
    stage.check()


async def test_the_reserve_of_the_disk_is_left_alone(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk is short, whatever the quota: no body or entry is taken, a large one before any of it is written.

    What makes room is: deletions and acknowledgements.
    """
    small, large = stage.body(1_000, member=stage.bob), stage.body(70_000)
    waiting = stage.entry(stage.bob, 5_000)
    assert await stage.call(stage.as_bob, small.store, Append(waiting)) == [None, None]
    monkeypatch.setattr(stage.running.node._storage, "free", lambda: LIMITS.disk_reserve + 50_000)
    files: list[Path] = []
    monkeypatch.setattr(bodies, "_create", files.append)
    with pytest.raises(NodeFull):
        await stage.as_gateway.put_body(stage.running.contact, large.signed, large.octets)
    assert not files
    monkeypatch.setattr(stage.running.node._storage, "free", lambda: 0)
    refused: list[Operation] = [stage.body(1_000).store, Append(stage.entry(stage.gateway))]
    assert await stage.call(stage.as_gateway, *refused) == [NodeFull, NodeFull]
    assert await stage.call(stage.as_alice, Delete(small.deletion()), stage.read(waiting)) == [None, None]
    stage.check()
