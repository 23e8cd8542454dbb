"""Expiry: everything carries a signed end, and tombstones outlive what they speak of."""

import os
from pathlib import Path

from p2pcore import params
from p2pcore.node import certificates
from p2pcore.node.storage import Transaction
from p2pcore.records import Acknowledge, Append, AskCertificate, Delete, Publish, identity
from tests.p2pcore.node.test_versioned import certificate_version
from tests.support.identities import World
from tests.support.nodes import acknowledgement, body, client_of, entry, running_node


async def test_what_expired_goes_with_its_octets_and_certificates(tmp_path: Path) -> None:
    """After their expiry bodies, files, entries and versions are gone; so are the certificates of who signed them."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with running_node(world, tmp_path / "node") as running:
        async with client_of(world, gateway) as client, client_of(world, alice) as as_alice:
            large = body(gateway.signer, world.clock(), bytes(100_000))
            inbox = alice.certificate.inbox_key
            operations = [body(gateway.signer, world.clock()).store, large.store]
            await client.call(running.contact, [*operations, Append(entry(gateway.signer, inbox, world.clock()))])
            await as_alice.call(running.contact, [Publish(certificate_version(world, alice, alice))])
            await running.node.sweep()
            assert running.node.counts().objects == 2
            world.clock.advance(params.OBJECT_LIFETIME)
            await running.node.sweep()
            counts = running.node.counts()
            assert (counts.objects, counts.entries, counts.versions) == (0, 0, 1)
            assert not list((running.directory / "bodies").iterdir())
            results = await as_alice.call(
                running.contact,
                [AskCertificate(gateway.signer.fingerprint), AskCertificate(alice.signer.fingerprint)],
            )
            assert [result.status for result in results] == [404, 200]
            world.clock.advance(params.MAX_LIFETIME - params.OBJECT_LIFETIME)
        await running.node.sweep()
        assert (running.node.counts().versions, running.node.counts().octets) == (0, 0)


async def test_tombstones_and_acknowledgements_live_longer(tmp_path: Path) -> None:
    """Tombstones and acknowledgements are there for TOMBSTONE_GRACE after their objects' expiry, then they go."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "node") as running,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        stored = body(gateway.signer, world.clock(), rights=2)
        inbox = alice.certificate.inbox_key
        waiting = entry(gateway.signer, inbox, world.clock())
        await as_gateway.call(running.contact, [stored.store, Append(waiting), Delete(stored.deletion())])
        done = acknowledgement(alice.signer, inbox, world.clock(), [identity(waiting.statement)])
        await as_alice.call(running.contact, [Acknowledge(done)])
        world.clock.advance(params.OBJECT_LIFETIME)
        await running.node.sweep()
        assert (running.node.counts().objects, running.node.counts().tombstones) == (0, 1)
        page = await as_alice.read_inbox(running.contact, inbox, b"", 0, 0)
        assert len(page.acknowledged) == 1
        world.clock.advance(params.TOMBSTONE_GRACE)
        await running.node.sweep()
        assert running.node.counts().tombstones == 0
        page = await as_alice.read_inbox(running.contact, inbox, page.incarnation, 0, 0)
        assert not page.acknowledged
        assert await running.node.sweep() == 0


async def test_an_inbox_that_nobody_has_read_goes_with_its_last_entry(tmp_path: Path) -> None:
    """Whoever may append can make up any number of inboxes: they leave nothing. When an owner last read stays."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "node") as running,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        inboxes = [alice.certificate.inbox_key, *(os.urandom(32) for _ in range(10))]
        now = world.clock()
        await as_alice.read_inbox(running.contact, inboxes[0], b"", 0, 0)
        await as_gateway.call(running.contact, [Append(entry(gateway.signer, inbox, now)) for inbox in inboxes])
        await running.node._service.inbox_reads.write_down()
        world.clock.advance(params.OBJECT_LIFETIME)
        await running.node.sweep()
        left = running.node._storage.read_now(lambda db: list(db.execute("SELECT * FROM inboxes")))
        assert left == [(inboxes[0], 0, 0, now)]


async def test_certificates_are_dropped_without_a_look_at_all_that_is_held(tmp_path: Path) -> None:
    """What the clean-up of certificates costs does not depend on how much is held: nobody can write meanwhile."""
    world = World()
    gateway, inbox = world.gateway(), os.urandom(32)
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    def counted(transaction: Transaction) -> None:
        transaction.db.set_progress_handler(count, 1)
        certificates.drop_unused(transaction)
        transaction.db.set_progress_handler(None)

    costs = []
    async with running_node(world, tmp_path / "node") as running, client_of(world, gateway) as client:
        for _ in range(2):
            entries = [entry(gateway.signer, inbox, world.clock()) for _ in range(100)]
            await client.call(running.contact, [Append(signed) for signed in entries])
            steps = 0
            await running.node._storage.write(counted)
            costs.append(steps)
        [result] = await client.call(running.contact, [AskCertificate(gateway.signer.fingerprint)])
        assert result.status == 200
    assert costs[0] == costs[1]
