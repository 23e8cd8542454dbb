"""The five primitives over real TLS: what each does, and who may."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
import msgspec
import pytest

from p2pcore import names, params
from p2pcore.client.framing import frame
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of, value_of
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.statements import Signer
from p2pcore.errors import (
    Expired,
    InboxFull,
    Malformed,
    NodeFull,
    NotAuthorised,
    NotFound,
    Tampered,
    TooLarge,
    UnknownCertificate,
)
from p2pcore.node import bodies, charges, inboxes
from p2pcore.node.settings import Limits
from p2pcore.records import (
    Acknowledge,
    Append,
    AskCertificate,
    AskInbox,
    AskSettled,
    Delete,
    Deletion,
    Fetch,
    FetchedBody,
    Greet,
    InboxStatus,
    Offer,
    Operation,
    Store,
    decode,
    encode,
    identity,
)
from tests.p2pcore.node.test_requests import Wire
from tests.p2pcore.node.test_versioned import domain_version
from tests.support.identities import Member, World
from tests.support.nodes import Running, acknowledgement, body, client_of, entry, running_node


@dataclass
class Stage:
    """One node, and clients of a gateway, a user, another user and a node."""

    world: World
    running: Running
    gateway: Member
    alice: Member
    bob: Member
    other_node: Member
    as_gateway: PeerClient
    as_alice: PeerClient
    as_bob: PeerClient
    as_node: PeerClient

    @property
    def now(self) -> int:
        return self.world.clock()

    async def one(self, client: PeerClient, operation: Operation) -> bytes:
        """The value of one operation. Raises its failure."""
        [result] = await client.call(self.running.contact, [operation])
        return value_of(result)


async def until_watched(stage: Stage, inbox_key: bytes) -> None:
    """Return once a read of this inbox waits on the node."""
    while not stage.running.node.watched(inbox_key):  # noqa: ASYNC110 - the node tells nobody
        await asyncio.sleep(0)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    gateway, alice, bob, other = world.gateway(), world.user("alice"), world.user("bob"), world.node()
    async with (
        running_node(world, tmp_path / "node", limits=Limits(inbox_entries=3)) as running,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice, gateway) as as_alice,
        client_of(world, bob) as as_bob,
        client_of(world, other, gateway, alice) as as_node,
    ):
        yield Stage(world, running, gateway, alice, bob, other, as_gateway, as_alice, as_bob, as_node)


async def test_stored_body_is_fetched_by_key_and_digest(stage: Stage) -> None:
    """A stored object is fetched by key, with or without its digest, by anybody admitted."""
    stored = body(stage.gateway.signer, stage.now)
    await stage.one(stage.as_gateway, stored.store)
    for digest in (b"", stored.statement.digest):
        value = await stage.one(stage.as_alice, Fetch(stored.statement.object_key, digest))
        assert decode(FetchedBody, value) == FetchedBody(stored.signed, stored.octets)


async def test_store_is_idempotent(stage: Stage) -> None:
    """A statement repeated has the same identity and changes nothing."""
    stored = body(stage.gateway.signer, stage.now)
    for _ in range(2):
        await stage.one(stage.as_gateway, stored.store)
    assert stage.running.node.counts().objects == 1


async def test_another_digest_under_one_key_is_kept_apart(stage: Stage) -> None:
    """An object is immutable: another digest under its key neither replaces nor hides it."""
    first = body(stage.gateway.signer, stage.now, b"first")
    second = body(stage.alice.signer, stage.now, b"second", key=first.statement.object_key)
    await stage.one(stage.as_gateway, first.store)
    await stage.one(stage.as_alice, second.store)
    for stored in (first, second):
        value = await stage.one(stage.as_bob, Fetch(stored.statement.object_key, stored.statement.digest))
        assert decode(FetchedBody, value).body == stored.octets


async def test_body_must_match_its_statement(stage: Stage) -> None:
    """A body that is not what the statement says is refused and not held."""
    stored = body(stage.gateway.signer, stage.now)
    with pytest.raises(Tampered):
        await stage.one(stage.as_gateway, Store(stored.signed, b"forged"))
    with pytest.raises(NotFound):
        await stage.one(stage.as_gateway, Fetch(stored.statement.object_key, b""))


async def test_only_the_signer_or_a_node_carries_a_statement(stage: Stage) -> None:
    """What another signed is taken from nodes (repair) only, and then with its signer's certificate."""
    stored = body(stage.gateway.signer, stage.now)
    with pytest.raises(NotAuthorised):
        await stage.one(stage.as_alice, stored.store)
    await stage.one(stage.as_node, stored.store)
    assert stage.running.node.counts().objects == 1


async def test_old_statements_are_taken_from_their_signer_and_from_nodes(stage: Stage) -> None:
    """A durable queue repeats its finished statements after hours; through repair they are judged as of their issue."""
    stored = body(stage.gateway.signer, stage.now)
    stage.world.clock.advance(params.HOUR)
    await stage.one(stage.as_gateway, stored.store)
    await stage.one(stage.as_node, stored.store)


async def test_statements_outlive_a_renewal(stage: Stage) -> None:
    """A durable queue repeats what it signed under a certificate that has been renewed for the same key since."""
    stored = body(stage.gateway.signer, stage.now)
    world, key = stage.world, stage.gateway.signer.key
    world.clock.advance(params.HOUR)
    hpke = stage.gateway.hpke_key.public_bytes
    der = world.authority.issue("gateway", ["mx.example.org"], key.public_bytes, hpke, world.clock())
    renewed = Signer(key, parse_certificate(der))
    client = PeerClient(renewed, world.trust(stage.gateway), world.clock)
    await stage.one(client, stored.store)
    await client.close()


async def test_expired_statements_are_refused(stage: Stage) -> None:
    """Nobody accepts anything past its expiry, from nodes neither."""
    stored = body(stage.gateway.signer, stage.now)
    stage.world.clock.advance(params.OBJECT_LIFETIME + params.SECOND)
    with pytest.raises(Expired):
        await stage.one(stage.as_node, stored.store)


async def test_unknown_certificate_is_asked_for(stage: Stage) -> None:
    """A node that lacks a signer's certificate says so, and keeps it once it came, as long as what it signed."""
    stored = body(stage.alice.signer, stage.now)
    stranger = stage.world.node()
    async with client_of(stage.world, stranger) as ignorant:
        with pytest.raises(UnknownCertificate):
            await stage.one(ignorant, stored.store)
    await stage.one(stage.as_node, stored.store)
    der = await stage.one(stage.as_bob, AskCertificate(stage.alice.signer.fingerprint))
    assert der == stage.alice.certificate.der
    with pytest.raises(NotFound):
        await stage.one(stage.as_bob, AskCertificate(stage.bob.signer.fingerprint))


async def test_the_last_right_frees_the_object(stage: Stage) -> None:
    """A revealed secret removes one right, the last one the object."""
    stored = body(stage.gateway.signer, stage.now, rights=2)
    await stage.one(stage.as_gateway, stored.store)
    await stage.one(stage.as_alice, Delete(stored.deletion(0)))
    await stage.one(stage.as_alice, Delete(stored.deletion(0)))
    await stage.one(stage.as_alice, Fetch(stored.statement.object_key, b""))
    await stage.one(stage.as_bob, Delete(stored.deletion(1)))
    with pytest.raises(NotFound):
        await stage.one(stage.as_alice, Fetch(stored.statement.object_key, b""))
    counts = stage.running.node.counts()
    proof = charges.of_statement(len(encode(stored.signed)), 2)
    assert (counts.objects, counts.octets, counts.tombstones) == (0, proof, 2)


async def test_tombstone_before_its_object_is_honoured(stage: Stage) -> None:
    """A deletion of an object that is not held is kept, and a later store of that object does not bring it back."""
    stored = body(stage.gateway.signer, stage.now)
    await stage.one(stage.as_node, Delete(stored.deletion()))
    await stage.one(stage.as_gateway, stored.store)
    with pytest.raises(NotFound):
        await stage.one(stage.as_gateway, Fetch(stored.statement.object_key, b""))


async def test_a_wrong_secret_deletes_nothing(stage: Stage) -> None:
    """Only the secret behind a right opens it."""
    stored = body(stage.gateway.signer, stage.now)
    await stage.one(stage.as_gateway, stored.store)
    stored.secrets[0] = bytes(32)
    with pytest.raises(NotAuthorised):
        await stage.one(stage.as_gateway, Delete(stored.deletion()))
    await stage.one(stage.as_gateway, Fetch(stored.statement.object_key, b""))


async def test_large_body_streams_both_ways(stage: Stage, tmp_path: Path) -> None:
    """A body of any size is put from a file and fetched in pieces; its file goes with its last right."""
    octets = bytes(range(256)) * (12 << 10)
    source = tmp_path / "body"
    source.write_bytes(octets)
    stored = body(stage.gateway.signer, stage.now, octets)
    await stage.as_gateway.put_body(stage.running.contact, stored.signed, source)
    received: list[bytes] = []

    async def sink(piece: bytes) -> None:
        received.append(piece)

    key, digest = stored.statement.object_key, stored.statement.digest
    assert await stage.as_alice.get_body(stage.running.contact, key, digest, sink) == stored.signed
    assert b"".join(received) == octets
    with pytest.raises(TooLarge):
        await stage.one(stage.as_alice, Fetch(key, digest))
    assert len(list((stage.running.directory / "bodies").iterdir())) == 1
    await stage.one(stage.as_alice, Delete(stored.deletion()))
    assert not list((stage.running.directory / "bodies").iterdir())


async def test_put_body_of_other_octets_leaves_nothing(stage: Stage) -> None:
    """A streamed body is checked against its statement before it counts; nothing of a bad one stays."""
    stored = body(stage.gateway.signer, stage.now, bytes(200_000))
    with pytest.raises(Tampered):
        await stage.as_gateway.put_body(stage.running.contact, stored.signed, b"x" * 200_000)
    assert not list((stage.running.directory / "bodies").iterdir())
    assert not list((stage.running.directory / "incoming").iterdir())


async def test_body_between_row_and_request_size_travels_in_a_batch(stage: Stage) -> None:
    """A body of a batch that is too large for a row becomes a file all the same."""
    stored = body(stage.gateway.signer, stage.now, bytes(300_000))
    await stage.one(stage.as_gateway, stored.store)
    await stage.one(stage.as_gateway, stored.store)
    assert len(list((stage.running.directory / "bodies").iterdir())) == 1
    value = await stage.one(stage.as_gateway, Fetch(stored.statement.object_key, b""))
    assert decode(FetchedBody, value).body == stored.octets


async def test_get_of_a_small_body(stage: Stage) -> None:
    """GET of a key nobody stored is NotFound; small bodies are served by GET and taken by PUT too."""
    stored = body(stage.gateway.signer, stage.now, b"small")

    async def sink(piece: bytes) -> None:
        assert piece == b"small"

    with pytest.raises(NotFound):
        await stage.as_gateway.get_body(stage.running.contact, stored.statement.object_key, b"", sink)
    await stage.as_gateway.put_body(stage.running.contact, stored.signed, stored.octets)
    await stage.as_gateway.get_body(stage.running.contact, stored.statement.object_key, b"", sink)


async def test_owner_reads_what_was_appended(stage: Stage) -> None:
    """read-inbox gives the owner the entries after a cursor, once each."""
    inbox = stage.alice.certificate.inbox_key
    entries = [entry(stage.gateway.signer, inbox, stage.now) for _ in range(2)]
    await stage.one(stage.as_gateway, Append(entries[0]))
    await stage.as_gateway.append_inbox(stage.running.contact, entries[1])
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    assert list(page.entries) == entries
    again = await stage.as_alice.read_inbox(stage.running.contact, inbox, page.incarnation, page.cursor, 0)
    assert not again.entries
    assert again.cursor == page.cursor


async def test_nobody_else_reads_an_inbox(stage: Stage) -> None:
    """Only the user whose inbox it is may read it: no other user, no gateway, no node."""
    inbox = stage.alice.certificate.inbox_key
    for client in (stage.as_bob, stage.as_gateway, stage.as_node):
        with pytest.raises(NotAuthorised):
            await client.read_inbox(stage.running.contact, inbox, b"", 0, 0)


async def test_unknown_incarnation_reads_from_the_beginning(stage: Stage) -> None:
    """A cursor counts in the incarnation it came from; with another one everything is read again."""
    inbox = stage.alice.certificate.inbox_key
    await stage.one(stage.as_gateway, Append(entry(stage.gateway.signer, inbox, stage.now)))
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, bytes(16), 10_000, 0)
    assert len(page.entries) == 1


async def test_acknowledged_entries_leave_and_are_named(stage: Stage) -> None:
    """An acknowledgement frees the entry's octets and shows up after the cursor; a repeated append changes nothing."""
    inbox = stage.alice.certificate.inbox_key
    signed = entry(stage.gateway.signer, inbox, stage.now)
    await stage.one(stage.as_gateway, Append(signed))
    seen = identity(signed.statement)
    done = acknowledgement(stage.alice.signer, inbox, stage.now, [seen])
    await stage.one(stage.as_alice, Acknowledge(done))
    await stage.one(stage.as_gateway, Append(signed))
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    assert not page.entries
    assert list(page.acknowledged) == [done]
    assert stage.running.node.counts().octets == charges.of_acknowledgement(len(encode(done)))


async def test_acknowledgement_before_its_entry(stage: Stage) -> None:
    """An entry that arrives after its acknowledgement, by repair, is acknowledged already."""
    inbox = stage.alice.certificate.inbox_key
    signed = entry(stage.gateway.signer, inbox, stage.now)
    done = acknowledgement(stage.alice.signer, inbox, stage.now, [identity(signed.statement)])
    await stage.one(stage.as_alice, Acknowledge(done))
    await stage.one(stage.as_node, Append(signed))
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    assert not page.entries


async def test_nobody_acknowledges_for_another(stage: Stage) -> None:
    """An acknowledgement speaks of its signer's inbox only, even where it names another's entry."""
    inbox = stage.alice.certificate.inbox_key
    signed = entry(stage.gateway.signer, inbox, stage.now)
    foreign = acknowledgement(stage.bob.signer, inbox, stage.now, [identity(signed.statement)])
    with pytest.raises(NotAuthorised):
        await stage.one(stage.as_bob, Acknowledge(foreign))
    own = acknowledgement(stage.bob.signer, stage.bob.certificate.inbox_key, stage.now, [identity(signed.statement)])
    await stage.one(stage.as_bob, Acknowledge(own))
    await stage.one(stage.as_gateway, Append(signed))
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    assert list(page.entries) == [signed]


async def test_a_full_inbox_refuses(stage: Stage) -> None:
    """An inbox at its limit answers InboxFull, its status says so, and an acknowledgement makes room."""
    inbox = stage.alice.certificate.inbox_key
    entries = [entry(stage.gateway.signer, inbox, stage.now) for _ in range(4)]
    results = await stage.as_gateway.call(stage.running.contact, [Append(signed) for signed in entries])
    assert [result.status for result in results[:3]] == [200, 200, 200]
    assert isinstance(failure_of(results[3]), InboxFull)
    status = decode(InboxStatus, await stage.one(stage.as_gateway, AskInbox(inbox)))
    assert (status.entries, status.room, status.last_read) == (3, False, 0)
    first = identity(entries[0].statement)
    await stage.one(stage.as_alice, Acknowledge(acknowledgement(stage.alice.signer, inbox, stage.now, [first])))
    await stage.one(stage.as_gateway, Append(entries[3]))


async def test_what_is_held_is_confirmed_again_where_there_is_no_room(stage: Stage) -> None:
    """An entry that a full inbox holds, and one that was acknowledged there, are no refusal: they need no room."""
    inbox = stage.alice.certificate.inbox_key
    entries = [entry(stage.gateway.signer, inbox, stage.now) for _ in range(4)]
    first = identity(entries[0].statement)
    await stage.one(stage.as_gateway, Append(entries[0]))
    await stage.one(stage.as_alice, Acknowledge(acknowledgement(stage.alice.signer, inbox, stage.now, [first])))
    results = await stage.as_gateway.call(stage.running.contact, [Append(signed) for signed in entries[1:]])
    assert [result.status for result in results] == [200, 200, 200]
    results = await stage.as_gateway.call(stage.running.contact, [Append(signed) for signed in entries])
    assert [result.status for result in results] == [200, 200, 200, 200]
    assert stage.running.node.counts().entries == 3


async def test_a_status_counts_what_its_own_batch_has_changed(stage: Stage) -> None:
    """What a batch asks about an inbox is answered as of the operations before it."""
    inbox = stage.alice.certificate.inbox_key
    operations: list[Operation] = []
    for _ in range(2):
        operations += [Append(entry(stage.gateway.signer, inbox, stage.now)), AskInbox(inbox)]
    results = await stage.as_gateway.call(stage.running.contact, operations)
    assert [decode(InboxStatus, result.value).entries for result in results[1::2]] == [1, 2]


async def test_an_acknowledgement_may_name_an_entry_twice(stage: Stage) -> None:
    """It counts once, and one that lives longer takes its place."""
    inbox = stage.alice.certificate.inbox_key
    signed, other = (entry(stage.gateway.signer, inbox, stage.now) for _ in range(2))
    await stage.as_gateway.call(stage.running.contact, [Append(signed), Append(other)])
    seen = identity(signed.statement)
    for _ in range(2):
        done = acknowledgement(stage.alice.signer, inbox, stage.now, [seen, seen])
        await stage.one(stage.as_alice, Acknowledge(done))
        stage.world.clock.advance(params.SECOND)
    assert stage.running.node.counts().entries == 1
    status = decode(InboxStatus, await stage.one(stage.as_gateway, AskInbox(inbox)))
    assert (status.entries, status.octets) == (1, len(encode(other)))


async def test_status_says_when_the_owner_last_read(stage: Stage) -> None:
    """last_read is when the owner read, at once."""
    inbox = stage.alice.certificate.inbox_key
    await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    status = decode(InboxStatus, await stage.one(stage.as_gateway, AskInbox(inbox)))
    assert status.last_read == stage.now
    assert status.room


async def test_long_poll_wakes_at_an_append(stage: Stage) -> None:
    """A read that waits is answered by the append itself, long before its time is over."""
    inbox = stage.alice.certificate.inbox_key
    page = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)
    waiting = asyncio.create_task(
        stage.as_alice.read_inbox(stage.running.contact, inbox, page.incarnation, page.cursor, params.WATCH_WAIT)
    )
    await until_watched(stage, inbox)
    signed = entry(stage.gateway.signer, inbox, stage.now)
    await stage.one(stage.as_gateway, Append(signed))
    async with asyncio.timeout(params.WATCH_WAIT / params.SECOND / 2):
        woken = await waiting
    assert list(woken.entries) == [signed]


async def test_long_poll_does_not_wake_at_an_acknowledgement(stage: Stage) -> None:
    """An acknowledgement is no news to the owner who made it: it comes with the next entry, or from the beginning."""
    inbox = stage.alice.certificate.inbox_key
    waiting = asyncio.create_task(stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, params.WATCH_WAIT))
    await until_watched(stage, inbox)
    done = acknowledgement(stage.alice.signer, inbox, stage.now, [bytes(32)])
    await stage.one(stage.as_alice, Acknowledge(done))
    assert not waiting.done()
    async with asyncio.timeout(params.WATCH_WAIT / params.SECOND / 2):
        afresh = await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, params.WATCH_WAIT)
        assert afresh.acknowledged == (done,)
        signed = entry(stage.gateway.signer, inbox, stage.now)
        await stage.one(stage.as_gateway, Append(signed))
        page = await waiting
    assert (page.acknowledged, page.entries) == ((done,), (signed,))


async def test_pages_are_bounded_in_octets_whatever_is_in_them(stage: Stage) -> None:
    """Acknowledgements that name many entries fill pages as entries do; every one of them comes, in order."""
    inbox = stage.alice.certificate.inbox_key
    given = []
    for number in range(150):
        named = [hashlib.sha256(b"%d %d" % (number, index)).digest() for index in range(params.MAX_ACKNOWLEDGED)]
        given.append(acknowledgement(stage.alice.signer, inbox, stage.now, named))
    for start in range(0, len(given), 10):
        operations = [Acknowledge(signed) for signed in given[start : start + 10]]
        results = await stage.as_alice.call(stage.running.contact, operations)
        assert {result.status for result in results} == {200}
    pages = [await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0)]
    while pages[-1].more:
        last = pages[-1]
        pages.append(await stage.as_alice.read_inbox(stage.running.contact, inbox, last.incarnation, last.cursor, 0))
    assert [signed for page in pages for signed in page.acknowledged] == given
    assert len(pages) == 2
    assert all(len(encode(page)) < params.PAGE_OCTETS + params.MAX_NOTIFICATION for page in pages)


async def test_only_nodes_offer(stage: Stage) -> None:
    """Offers and questions about what is settled are repair, so nodes only."""
    for operation in (Offer("object", (bytes(32),)), AskSettled("object", b"", (bytes(32),))):
        await stage.one(stage.as_node, operation)
        with pytest.raises(NotAuthorised):
            await stage.one(stage.as_gateway, operation)


async def test_questions_of_repair_hold_nobody_up(stage: Stage) -> None:
    """They come in batches of their own, so never in a transaction that writes, and ask for so many items at most."""
    few, many = (tuple(os.urandom(32) for _ in range(count)) for count in (10, 9_991))
    questions: list[Operation] = [Offer("object", few), AskSettled("entry", bytes(32), many)]
    results = await stage.as_node.call(stage.running.contact, [Offer("entry", few), *questions[:1]])
    assert {result.status for result in results} == {200}
    results = await stage.as_node.call(stage.running.contact, questions)
    assert {result.reason for result in results} == {"TooLarge: a batch asks for 10001 items, over 10000"}
    for question in questions:
        refused, greeted = await stage.as_node.call(stage.running.contact, [question, Greet()])
        assert isinstance(failure_of(refused), Malformed)
        assert greeted.status == 200


async def test_each_operation_has_its_own_result(stage: Stage) -> None:
    """One bad operation of a batch spoils no other, and order is kept."""
    good, bad = body(stage.gateway.signer, stage.now), body(stage.gateway.signer, stage.now)
    results = await stage.as_gateway.call(
        stage.running.contact,
        [Store(bad.signed, b"forged"), good.store, Fetch(good.statement.object_key, b""), AskCertificate(bytes(32))],
    )
    assert [result.status for result in results] == [422, 200, 200, 404]
    assert decode(FetchedBody, results[2].value).body == good.octets


async def test_the_path_names_the_statements_key(stage: Stage) -> None:
    """A statement under another key than its own is Malformed, and nothing of it is taken; under its own it is."""
    gateway, directory = stage.gateway, stage.world.directory()
    small, large = (body(gateway.signer, stage.now, os.urandom(size)) for size in (100, 100_000))
    inbox = stage.alice.certificate.inbox_key
    version = domain_version(stage.world, directory, stage.now)
    record_key = names.key_of(names.domain_identifier(stage.world.domain))
    requests = [
        (gateway, "PUT", small.statement.object_key, "", frame(small.signed) + small.octets),
        (gateway, "PUT", large.statement.object_key, "", frame(large.signed) + large.octets),
        (gateway, "PUT", inbox, "append-inbox", frame(entry(gateway.signer, inbox, stage.now))),
        (directory, "PUT", record_key, "", frame(version.version) + version.content),
        (gateway, "DELETE", small.statement.object_key, "", encode(small.deletion())),
    ]

    async def send_all(*, elsewhere: bool) -> set[tuple[int, str]]:
        async with aiohttp.ClientSession() as session:
            wire = Wire(stage.world, stage.running, session)
            answers = set()
            for member, method, key, pragma, octets in requests:
                path = f"/v1/{(os.urandom(32) if elsewhere else key).hex()}"
                headers = wire.signed(member, method, path, octets, pragma=pragma)
                answers.add((await wire.send(headers, method, path, octets))[:2])
            return answers

    def held() -> tuple[int, int, int, int]:
        counts = stage.running.node.counts()
        return counts.objects, counts.entries, counts.versions, counts.tombstones

    assert await send_all(elsewhere=True) == {(400, "Malformed")}
    assert held() == (0, 0, 0, 0)
    assert await send_all(elsewhere=False) == {(200, "")}
    assert held() == (1, 1, 1, 1)


async def test_an_append_of_what_is_no_entry_is_refused(stage: Stage) -> None:
    """The statement of an append must be what the request's kind says."""
    stored = body(stage.gateway.signer, stage.now)
    with pytest.raises(Malformed):
        await stage.as_gateway.append_inbox(stage.running.contact, stored.signed)


async def test_a_full_node_refuses(tmp_path: Path) -> None:
    """Beyond its quota a node answers NodeFull, and one user fills at most her share of it."""
    world = World()
    gateway, alice = world.gateway(), world.user("alice")
    async with (
        running_node(world, tmp_path / "node", quota=100_000) as running,
        client_of(world, gateway) as as_gateway,
        client_of(world, alice) as as_alice,
    ):
        [result] = await as_alice.call(running.contact, [body(alice.signer, world.clock(), bytes(26_000)).store])
        assert isinstance(failure_of(result), NodeFull)
        bodies = [body(gateway.signer, world.clock(), bytes(60_000)) for _ in range(2)]
        results = await as_gateway.call(running.contact, [stored.store for stored in bodies])
        assert results[0].status == 200
        assert isinstance(failure_of(results[1]), NodeFull)
        large = body(gateway.signer, world.clock(), bytes(90_000))
        with pytest.raises(NodeFull):
            await as_gateway.put_body(running.contact, large.signed, large.octets)
        assert not list((running.directory / "bodies").iterdir())


async def test_a_large_body_that_does_not_fit_is_refused_before_it_takes_disk(tmp_path: Path) -> None:
    """A full node answers NodeFull to a body of any size and takes nothing of it; what it holds is confirmed again."""
    world = World()
    gateway = world.gateway()
    source = tmp_path / "body"
    source.write_bytes(bytes(20 << 20))
    async with (
        running_node(world, tmp_path / "node", quota=1 << 20) as running,
        client_of(world, gateway) as as_gateway,
    ):
        fits = body(gateway.signer, world.clock(), os.urandom(700_000))
        large = body(gateway.signer, world.clock(), source.read_bytes())
        for _ in range(2):
            await as_gateway.put_body(running.contact, fits.signed, fits.octets)
        for _ in range(5):
            with pytest.raises(NodeFull):
                await as_gateway.put_body(running.contact, large.signed, source)
        assert len(list((running.directory / "bodies").iterdir())) == 1


async def test_bodies_that_arrive_at_the_same_time_fit_together(tmp_path: Path) -> None:
    """Room is set aside while a body arrives, so that many at once do not fill the disk beyond the quota."""
    world = World()
    gateway = world.gateway()
    async with (
        running_node(world, tmp_path / "node", quota=1 << 20) as running,
        client_of(world, gateway) as as_gateway,
    ):
        service = running.node._service
        stored, other = body(gateway.signer, world.clock(), os.urandom(700_000)), world.gateway()
        with service.room(400_000, other.certificate), pytest.raises(NodeFull):
            await as_gateway.put_body(running.contact, stored.signed, stored.octets)
        await as_gateway.put_body(running.contact, stored.signed, stored.octets)
        with pytest.raises(NodeFull), service.room(400_000, other.certificate):
            pass


async def test_an_agent_need_not_read_its_own_acknowledgements(stage: Stage) -> None:
    """With its instance in the request an agent is given others' acknowledgements only; the cursor passes its own."""
    inbox = stage.alice.certificate.inbox_key
    own = [acknowledgement(stage.alice.signer, inbox, stage.now, [os.urandom(32)], b"a" * 16) for _ in range(600)]
    other = acknowledgement(stage.alice.signer, inbox, stage.now, [os.urandom(32)], b"b" * 16)
    results = await stage.as_alice.call(stage.running.contact, [Acknowledge(signed) for signed in [*own, other]])
    assert {result.status for result in results} == {200}
    contact = stage.running.contact
    page = await stage.as_alice.read_inbox(contact, inbox, b"", 0, 0, b"a" * 16)
    assert (page.acknowledged, page.more) == ((other,), False)
    again = await stage.as_alice.read_inbox(contact, inbox, page.incarnation, page.cursor, 0, b"a" * 16)
    assert (again.acknowledged, again.cursor) == ((), page.cursor)
    signed = entry(stage.gateway.signer, inbox, stage.now)
    await stage.one(stage.as_gateway, Append(signed))
    after = await stage.as_alice.read_inbox(contact, inbox, page.incarnation, page.cursor, 0, b"a" * 16)
    assert after.entries == (signed,)
    whole = await stage.as_alice.read_inbox(contact, inbox, b"", 0, 0)
    assert len(whole.acknowledged) == params.PAGE_ENTRIES
    assert whole.more


@pytest.mark.parametrize("writing", [False, True])
async def test_bodies_beyond_the_answers_bound_are_not_read(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, writing: bool
) -> None:
    """A batch that fetches more than one answer may hold costs the disk no more than that, also in a transaction."""
    stored = body(stage.gateway.signer, stage.now, os.urandom(params.INLINE_BODY))
    await stage.one(stage.as_gateway, stored.store)
    read: list[Path] = []
    genuine = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        read.append(path)
        return genuine(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    first: list[Operation] = [Append(entry(stage.gateway.signer, bytes(32), stage.now))] if writing else []
    fetches = [Fetch(stored.statement.object_key, b"") for _ in range(40)]
    results = (await stage.as_gateway.call(stage.running.contact, [*first, *fetches]))[len(first) :]
    assert [result.status for result in results] == [200] * 7 + [413] * 33
    assert len(read) == 7


async def test_a_large_body_that_is_held_takes_no_disk_when_it_comes_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is compared with its digest and confirmed, also once it is deleted, and no file is made for that."""
    large = body(stage.gateway.signer, stage.now, os.urandom(200_000))
    files: list[Path] = []
    genuine = bodies._create

    def create(path: Path) -> BinaryIO:
        files.append(path)
        return genuine(path)

    monkeypatch.setattr(bodies, "_create", create)
    for _ in range(3):
        await stage.as_gateway.put_body(stage.running.contact, large.signed, large.octets)
    assert len(files) == 1
    with pytest.raises(Tampered):
        await stage.as_gateway.put_body(stage.running.contact, large.signed, os.urandom(200_000))
    await stage.one(stage.as_gateway, Delete(large.deletion()))
    await stage.as_gateway.put_body(stage.running.contact, large.signed, large.octets)
    assert len(files) == 1
    assert stage.running.node.counts().objects == 0


async def test_a_large_body_that_is_held_is_confirmed_where_there_is_no_room(tmp_path: Path) -> None:
    """A quota that was lowered is no reason to say of what is held that it is not."""
    world = World()
    gateway, member = world.gateway(), world.node()
    large = body(gateway.signer, world.clock(), os.urandom(200_000))
    async with client_of(world, gateway) as client:
        for quota in (1 << 20, 100_000):
            async with running_node(world, tmp_path / "node", member=member, quota=quota) as running:
                await client.put_body(running.contact, large.signed, large.octets)
                assert running.node.counts().objects == 1


async def test_an_object_over_the_largest_size_is_refused(stage: Stage) -> None:
    """What its statement says is enough for that: nothing of it need arrive. The same goes for its deletion."""
    drafted = body(stage.gateway.signer, stage.now)
    statement = msgspec.structs.replace(drafted.statement, size=params.MAX_BODY + 1)
    [signed] = stage.gateway.signer.sign([statement])
    for operation in (Store(signed, drafted.octets), Delete(Deletion(signed, drafted.secrets[0]))):
        with pytest.raises(TooLarge):
            await stage.one(stage.as_gateway, operation)


async def test_an_inbox_is_bounded_in_octets(tmp_path: Path) -> None:
    """Few large entries fill an inbox as many small ones do: the next is refused, a smaller one that fits is not."""
    world = World()
    gateway, inbox = world.gateway(), os.urandom(32)
    entries = [entry(gateway.signer, inbox, world.clock(), os.urandom(size)) for size in (20_000, 20_000, 1_000)]
    async with (
        running_node(world, tmp_path / "node", limits=Limits(inbox_octets=30_000)) as running,
        client_of(world, gateway) as client,
    ):
        results = await client.call(running.contact, [*(Append(signed) for signed in entries), AskInbox(inbox)])
        assert [result.status for result in results] == [200, InboxFull.http_status, 200, 200]
        status = decode(InboxStatus, results[3].value)
        assert (status.entries, status.octets, status.room) == (
            2,
            len(encode(entries[0])) + len(encode(entries[2])),
            False,
        )


async def test_a_page_passes_over_a_bounded_number(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's own acknowledgements are left out, some at a time; what is behind them comes on a later page."""
    monkeypatch.setattr(inboxes, "_LEFT_OUT", 3)
    inbox, own = stage.alice.certificate.inbox_key, b"a" * 16
    done = [acknowledgement(stage.alice.signer, inbox, stage.now, [os.urandom(32)], own) for _ in range(8)]
    await stage.as_alice.call(stage.running.contact, [Acknowledge(signed) for signed in done])
    signed = entry(stage.gateway.signer, inbox, stage.now)
    await stage.one(stage.as_gateway, Append(signed))
    pages = [await stage.as_alice.read_inbox(stage.running.contact, inbox, b"", 0, 0, own)]
    while pages[-1].more:
        last = pages[-1]
        pages.append(
            await stage.as_alice.read_inbox(stage.running.contact, inbox, last.incarnation, last.cursor, 0, own)
        )
    assert [page.entries for page in pages] == [(), (), (signed,)]
    assert not any(page.acknowledged for page in pages)
