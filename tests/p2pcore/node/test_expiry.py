"""Expiry: everything carries a signed end, and tombstones outlive what they speak of."""

from pathlib import Path

from p2pcore import params
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
