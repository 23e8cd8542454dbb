"""Repair: what a node holds reaches those that should hold it too, as it was signed."""

import asyncio
import shutil
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.results import value_of
from p2pcore.dht.contact import Contact
from p2pcore.errors import NotFound
from p2pcore.node.changes import Change
from p2pcore.node.settings import RoundCounts
from p2pcore.records import (
    Acknowledge,
    Append,
    AskCertificate,
    Delete,
    Fetch,
    FetchedBody,
    Operation,
    Publish,
    PublishedVersion,
    Replication,
    SignedStatement,
    decode,
    identity,
)
from tests.p2pcore.node.test_versioned import certificate_version, head
from tests.support.identities import World
from tests.support.nodes import acknowledgement, body, client_of, entry, running_node


async def test_a_newcomer_is_given_everything(tmp_path: Path) -> None:
    """Bodies small and large, entries, versions and certificates reach a newcomer among the k closest."""
    world = World()
    gateway, alice, directory = world.gateway(), world.user("alice"), world.directory()
    async with (
        running_node(world, tmp_path / "old") as old,
        running_node(world, tmp_path / "new") as new,
        client_of(world, gateway, directory) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        small = body(gateway.signer, world.clock())
        large = body(gateway.signer, world.clock(), bytes(200_000))
        inbox = alice.certificate.inbox_key
        waiting = entry(gateway.signer, inbox, world.clock())
        published = certificate_version(world, directory, alice)
        await as_gateway.call(old.contact, [small.store, large.store, Append(waiting), Publish(published)])
        world.clock.advance(params.DIRECT_SKEW + params.HOUR)  # only repair may bring old statements
        old.substrate.contacts = [old.contact, new.contact]
        done = await old.node.repair()
        assert (done.passed_on, done.refused) == (4, 0)
        assert new.node.counts() == old.node.counts()
        page = await as_alice.read_inbox(new.contact, inbox, b"", 0, 0)
        assert list(page.entries) == [waiting]
        results = await as_alice.call(
            new.contact,
            [
                Fetch(small.statement.object_key, b""),
                Fetch(large.statement.object_key, b""),
                AskCertificate(gateway.signer.fingerprint),
            ],
        )
        assert decode(FetchedBody, results[0].value) == FetchedBody(small.signed, small.octets)
        assert decode(FetchedBody, results[1].value).body == large.octets
        assert results[2].value == gateway.certificate.der
        assert (await old.node.repair()).passed_on == 0
        assert (new.contact, True) in old.substrate.reports


async def test_repair_tells_what_it_did_and_what_it_cost(tmp_path: Path) -> None:
    """Counted since the start: rounds, what they came to, requests and octets both ways; and the last round."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "a") as a,
        running_node(world, tmp_path / "b") as b,
        client_of(world, gateway) as as_gateway,
    ):
        before = a.node.repaired()
        assert (before.rounds, before.requests, before.last) == (0, 0, None)
        stored = body(gateway.signer, world.clock(), bytes(5_000))
        await as_gateway.call(a.contact, [stored.store])
        a.substrate.contacts = [a.contact, b.contact]
        await a.node.repair()
        first = a.node.repaired()
        assert first.last == RoundCounts(world.clock(), "everything", 1, passed_on=1, refused=0, ended=0, silent=0)
        assert first.octets_sent > 5_000 > first.octets_received > 0
        await a.node.repair()
        second = a.node.repaired()
        assert (second.rounds, second.passed_on, second.requests) == (2, 1, first.requests + 1)
        assert second.last is not None
        assert second.last.passed_on == 0
        assert b.node.repaired().requests == 0, "what others' repair asks is theirs"


async def test_deletions_and_acknowledgements_travel(tmp_path: Path) -> None:
    """A node that missed a deletion or an acknowledgement learns of it and does not bring the dead back."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "a") as a,
        running_node(world, tmp_path / "b") as b,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice, gateway) as as_alice,
    ):
        stored = body(gateway.signer, world.clock())
        inbox = alice.certificate.inbox_key
        waiting = entry(gateway.signer, inbox, world.clock())
        for contact in (a.contact, b.contact):
            await as_gateway.call(contact, [stored.store, Append(waiting)])
        done = acknowledgement(alice.signer, inbox, world.clock(), [identity(waiting.statement)])
        await as_alice.call(a.contact, [Delete(stored.deletion()), Acknowledge(done)])
        for node in (b, a):
            node.substrate.contacts = [a.contact, b.contact]
            await node.node.repair()
        for node in (a, b):
            counts = node.node.counts()
            assert (counts.objects, counts.entries, counts.tombstones) == (0, 0, 1)
            page = await as_alice.read_inbox(node.contact, inbox, b"", 0, 0)
            assert list(page.acknowledged) == [done]
            [result] = await as_alice.call(node.contact, [Fetch(stored.statement.object_key, b"")])
            with pytest.raises(NotFound):
                value_of(result)


async def test_only_the_closest_are_offered(tmp_path: Path) -> None:
    """With k = 1 an object goes to the one closest node and to nobody else."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "a", k=1) as a,
        running_node(world, tmp_path / "b", k=1) as b,
        running_node(world, tmp_path / "c", k=1) as c,
        client_of(world, gateway) as as_gateway,
    ):
        stored = body(gateway.signer, world.clock(), key=b.contact.node_id)
        await as_gateway.call(a.contact, [stored.store])
        a.substrate.contacts = [a.contact, b.contact, c.contact]
        await a.node.repair()
        assert [node.node.counts().objects for node in (a, b, c)] == [1, 1, 0]


async def test_a_dead_peer_is_reported_and_does_not_stop_the_round(tmp_path: Path) -> None:
    """One peer that does not answer costs the others nothing."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "a") as a,
        running_node(world, tmp_path / "b") as b,
        client_of(world, gateway) as as_gateway,
    ):
        async with running_node(world, tmp_path / "dead") as dead:
            gone = dead.contact
        await as_gateway.call(a.contact, [body(gateway.signer, world.clock()).store])
        a.substrate.contacts = [a.contact, gone, b.contact]
        await a.node.repair()
        assert b.node.counts().objects == 1
        assert (gone, False) in a.substrate.reports


async def test_a_change_of_contacts_starts_a_round(tmp_path: Path) -> None:
    """When the contacts change, nodes compare at once and not only at the hour."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "a") as a,
        running_node(world, tmp_path / "b") as b,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        inbox = alice.certificate.inbox_key
        await as_gateway.call(a.contact, [Append(entry(gateway.signer, inbox, world.clock()))])
        a.substrate.replace([a.contact, b.contact])
        page = await as_alice.read_inbox(b.contact, inbox, b"", 0, params.WATCH_WAIT)
        assert len(page.entries) == 1


async def test_a_node_that_lost_its_disk_is_given_everything_at_once(tmp_path: Path) -> None:
    """A node that is back with an empty store, before anybody noticed that it was away, need not wait for the hour."""
    world = World()
    gateway, alice, member = world.gateway(), world.user("alice"), world.node()
    async with (
        running_node(world, tmp_path / "a") as a,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        inbox = alice.certificate.inbox_key
        operations: list[Operation] = [
            body(gateway.signer, world.clock()).store,
            Append(entry(gateway.signer, inbox, world.clock())),
        ]
        async with running_node(world, tmp_path / "b", member=member) as b:
            contacts = a.substrate.contacts = [a.contact, b.contact]
            for contact in contacts:
                await as_gateway.call(contact, operations)
        shutil.rmtree(tmp_path / "b")
        async with running_node(world, tmp_path / "b", member=member, port=contacts[1].port, contacts=contacts) as b:
            page = await as_alice.read_inbox(b.contact, inbox, b"", 0, params.WATCH_WAIT)
            assert len(page.entries) == 1
            assert b.node.counts().objects == 1, "bodies travel before entries"


async def test_a_change_far_from_everything_held_asks_nobody(tmp_path: Path) -> None:
    """A round for a contact that is not among the k closest of anything looks nothing up; one for the closest does."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "a", k=1) as a,
        running_node(world, tmp_path / "b", k=1) as b,
        client_of(world, gateway) as as_gateway,
    ):
        stored = body(gateway.signer, world.clock(), key=b.contact.node_id)
        await as_gateway.call(a.contact, [stored.store])
        a.substrate.contacts = [a.contact, b.contact]
        far = Contact(bytes(octet ^ 255 for octet in b.contact.node_id), "127.0.0.1", 1)
        done = await a.node._repair.round(Change([far], [*a.substrate.contacts, far]))
        assert (done.compared, done.lookups, done.passed_on) == (0, 0, 0)
        done = await a.node._repair.round(Change([b.contact], a.substrate.contacts))
        assert (done.compared, done.passed_on) == (1, 1)
        assert b.node.counts().objects == 1


async def test_with_another_k_everything_is_compared_at_the_next_change(tmp_path: Path) -> None:
    """When k has changed, who came or went does not say what concerns it: all is compared, whatever has changed."""
    world = World()
    gateway = world.gateway()
    history: list[tuple[Replication, ...]] = [(Replication(since=0, k=1, w=1),)]
    async with (
        running_node(world, tmp_path / "a", k=1) as a,
        running_node(world, tmp_path / "b", k=1) as b,
        client_of(world, gateway) as as_gateway,
    ):
        a.node._repair._replication = lambda: history[0]
        await as_gateway.call(a.contact, [body(gateway.signer, world.clock(), key=a.contact.node_id).store])
        a.substrate.contacts = [a.contact, b.contact]
        nothing = Change([], a.substrate.contacts)
        assert (await a.node._repair.round(nothing)).compared == 0
        history[0] = (Replication(since=0, k=1, w=1), Replication(since=1, k=2, w=1))
        assert (await a.node._repair.round(nothing)).passed_on == 1


async def test_a_peer_that_did_not_answer_is_compared_with_again_at_the_next_change(tmp_path: Path) -> None:
    """Nothing is missed because one request failed: the next change has its keys compared, too."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "a") as a,
        client_of(world, gateway) as as_gateway,
    ):
        member = world.node()
        async with running_node(world, tmp_path / "b", member=member) as b:
            gone = b.contact
        await as_gateway.call(a.contact, [body(gateway.signer, world.clock()).store])
        a.substrate.contacts = [a.contact, gone]
        assert (await a.node.repair()).silent == {gone}
        async with running_node(world, tmp_path / "b", member=member, port=gone.port) as b:
            change = a.node._repair._changes.take()
            assert change is not None
            assert (await a.node._repair.round(change)).passed_on == 1
            assert b.node.counts().objects == 1


async def test_heads_spread_between_nodes(tmp_path: Path) -> None:
    """A node takes the head that another node's reply carried."""
    world = World()
    directory, gateway = world.directory(), world.gateway()
    async with (
        running_node(world, tmp_path / "a") as a,
        running_node(world, tmp_path / "b") as b,
        client_of(world, directory) as as_directory,
        client_of(world, gateway) as as_gateway,
    ):
        b.trust.add(directory.certificate.der)
        signed = head(world, directory)
        await as_directory.call(a.contact, [Publish(PublishedVersion(signed, b""))])
        await as_gateway.call(b.contact, [body(gateway.signer, world.clock()).store])
        b.substrate.contacts = [a.contact]
        await b.node.repair()
        heads: list[tuple[SignedStatement, ...]] = []
        as_gateway.on_heads(heads.append)
        async with asyncio.timeout(10):
            while heads != [(signed,)]:
                heads.clear()
                await as_gateway.call(b.contact, [])
