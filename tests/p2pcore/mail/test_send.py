"""p2pcore.mail.injection and p2pcore.mail.send: one body and every recipient's entry on w nodes."""

import asyncio
import hashlib
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.replicas import Replicas, Written
from p2pcore.crypto.sealing import open_notification
from p2pcore.errors import InboxFull, Malformed, NoQuorum, TooLarge
from p2pcore.mail.injection import Injection, prepare
from p2pcore.mail.send import Sender
from p2pcore.records import (
    Append,
    AppendAfter,
    EntryStatement,
    ObjectStatement,
    SealedNotification,
    Store,
    Verdicts,
    decode,
    encode,
)
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.client.memory_network import MemoryNetwork, entries_of
from tests.p2pcore.mail.bench import Domain, part, replicas_over, seal
from tests.support.identities import START, Member


def prepared(domain: Domain, content: bytes = b"Subject: x\r\n\r\nhello\r\n", path: Path | None = None) -> Injection:
    """A message of the gateway for alice and bob."""
    parts = [part(domain.alice), part(domain.bob)]
    return prepare(seal(content, path), parts, Verdicts(spf="pass"), domain.gateway.signer, START)


def test_a_recipient_finds_in_her_entry_all_that_she_needs(domain: Domain) -> None:
    """Envelope, trace, verdicts, where the body is, what opens and what deletes it; hers alone."""
    injection = prepared(domain)
    entry = injection.entries[1].statement
    assert isinstance(entry, EntryStatement)
    signer = domain.gateway.signer.fingerprint
    keys = [domain.bob.hpke_key]
    notification = open_notification(entry.notification, keys, domain.bob.certificate.inbox_key, signer)
    body = injection.body_statement
    assert hashlib.sha256(notification.body_identifier.encode()).digest() == body.object_key
    assert notification.digest == body.digest == hashlib.sha256(bytes(injection.body)).digest()
    assert hashlib.sha256(notification.delete_secret).digest() == body.delete_rights[1]
    assert (notification.forward_path, notification.verdicts.spf) == ("bob@example.org", "pass")
    assert body.expires == START + params.OBJECT_LIFETIME


def test_one_signature_covers_body_and_entries(domain: Domain) -> None:
    """Each statement is forwardable on its own all the same."""
    injection = prepared(domain)
    signatures = {signed.proof.signature for signed in (injection.object, *injection.entries)}
    assert len(signatures) == 1
    verifier = domain.world.verifier(domain.gateway)
    for signed in (injection.object, *injection.entries):
        verifier.verify(signed, direct=True)


def test_a_durable_queue_repeats_the_very_same_statements(domain: Domain) -> None:
    """What was encoded comes back equal; something else is Malformed."""
    injection = prepared(domain)
    assert Injection.restore(injection.encode(), injection.body) == injection
    with pytest.raises(Malformed):
        Injection.restore(encode(injection.object), b"")


def test_more_recipients_than_delete_rights_are_refused(domain: Domain) -> None:
    """A body has at most MAX_DELETE_RIGHTS of them; none at all is no message either."""
    for count in (0, params.MAX_DELETE_RIGHTS + 1):
        with pytest.raises(TooLarge):
            prepare(seal(b"x"), [part(domain.alice)] * count, Verdicts(), domain.gateway.signer, START)


async def test_body_and_entries_for_a_node_travel_in_one_request(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """Each node gets one request, with all that is meant for it, the body before the entries."""
    injection = prepared(domain)
    sender = Sender(replicas, domain.gateway.signer, domain.world.clock)
    stored = await sender.inject(injection)
    assert stored.nodes >= 2
    assert stored.k == 3
    await replicas.stop()
    assert all(len(node.batches) <= 1 for node in network.nodes)
    for node in network.nodes:
        kinds = [type(operation) for batch in node.batches for operation in batch]
        assert kinds == sorted(kinds, key=[Store, AppendAfter, Append].index)
        assert {Store, Append} - set(kinds), "with the body an entry goes on its condition"
    body = injection.body_statement
    assert sum(body.object_key in node.objects for node in network.nodes) == 3
    for member in (domain.alice, domain.bob):
        held = [
            node for node in network.nodes if any(e.inbox_key == member.certificate.inbox_key for e in entries_of(node))
        ]
        assert sorted(node.contact.node_id for node in held) == sorted(
            node.contact.node_id for node in network.closest(member.certificate.inbox_key)[:3]
        )


async def test_repeating_an_injection_changes_nothing(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """After a lost answer the same statements are sent again: one entry each."""
    injection = prepared(domain)
    sender = Sender(replicas, domain.gateway.signer, domain.world.clock)
    await sender.inject(injection)
    await sender.inject(Injection.restore(injection.encode(), injection.body))
    await replicas.stop()
    for node in network.nodes:
        assert len(node.entries) == len({entry.inbox_key for entry in entries_of(node)})


async def test_a_large_body_is_stored_before_any_entry(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """While its nodes do not answer, no inbox has news; the file may go as soon as inject returns."""
    path = tmp_path / "body"
    injection = prepared(domain, bytes(2 << 20), path)
    gate = asyncio.Event()
    for node in network.nodes:
        node.gate = gate
    sender = Sender(replicas, domain.gateway.signer, domain.world.clock)
    sending = asyncio.create_task(sender.inject(injection))
    await asyncio.wait([sending], timeout=0.05)
    assert not any(node.entries or node.batches for node in network.nodes)
    slow = network.closest(injection.body_statement.object_key)[2]
    slow.gate = asyncio.Event()
    gate.set()
    await sending
    path.unlink()
    slow.gate.set()
    await replicas.stop()
    assert sum(injection.body_statement.object_key in node.objects for node in network.nodes) == 3


async def test_a_large_body_without_quorum_leaves_no_entries(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """Nobody is told of a body that she could not fetch."""
    injection = prepared(domain, bytes(2 << 20), tmp_path / "body")
    for node in network.nodes:
        node.down = True
    with pytest.raises(NoQuorum):
        await Sender(replicas, domain.gateway.signer, domain.world.clock).inject(injection)
    assert not any(node.entries for node in network.nodes)


async def test_each_recipients_outcome_is_known(domain: Domain, network: MemoryNetwork, replicas: Replicas) -> None:
    """Bob's inbox is full, alice's is not; as a whole the injection fails with InboxFull."""

    def bobs_is_full(operation: object) -> InboxFull | None:
        statement = operation.entry.statement if isinstance(operation, Append) else None
        is_bobs = isinstance(statement, EntryStatement) and statement.inbox_key == domain.bob.certificate.inbox_key
        return InboxFull("full") if is_bobs else None

    for node in network.nodes:
        node.refuse = bobs_is_full
    sender = Sender(replicas, domain.gateway.signer, domain.world.clock)
    outcome = await sender.inject_each(prepared(domain))
    assert isinstance(outcome.body, Written)
    assert [type(each) for each in outcome.entries] == [Written, InboxFull]
    with pytest.raises(InboxFull):
        await sender.inject(prepared(domain))


async def test_concurrent_messages_share_a_signature(domain: Domain, replicas: Replicas) -> None:
    """What arrives while a signing round is under way is signed together, and each message is its own."""
    sender = Sender(replicas, domain.gateway.signer, domain.world.clock)
    orders = [sender.prepare(seal(b"%d" % number), [part(domain.alice)], Verdicts()) for number in range(10)]
    injections = await asyncio.gather(*orders)
    assert len({injection.object.proof.signature for injection in injections}) < 10
    statements = [injection.object.statement for injection in injections]
    keys = {statement.object_key for statement in statements if isinstance(statement, ObjectStatement)}
    assert len(keys) == 10
    await sender.stop()


def _key(injection: Injection) -> bytes:
    statement = injection.entries[0].statement
    assert isinstance(statement, EntryStatement)
    return decode(SealedNotification, statement.notification).key.ciphertext


@pytest.fixture
def sender(domain: Domain, network: MemoryNetwork, tmp_path: Path) -> Sender:
    """For virtual time: what only prepares needs no node."""
    replicas = replicas_over(domain, network, tmp_path, domain.world.trust())
    return Sender(replicas, domain.gateway.signer, domain.world.clock)


async def key_for(sender: Sender, member: Member) -> bytes:
    """The sealed key of a notification sealed now."""
    return _key(await sender.prepare(seal(b"x"), [part(member)], Verdicts()))


def test_messages_of_one_moment_share_the_key_of_their_notifications(sender: Sender, domain: Domain) -> None:
    """One encapsulation for each recipient, whether they are signed together or not."""

    async def run() -> None:
        alices, again, bobs = [await key_for(sender, member) for member in (domain.alice, domain.alice, domain.bob)]
        assert alices == again != bobs

    run_virtually(run())


def test_the_keys_are_forgotten(sender: Sender, domain: Domain) -> None:
    """What the gateway has in memory opens what it sealed within the last second, and nothing before."""

    async def run() -> None:
        first = await key_for(sender, domain.alice)
        await asyncio.sleep(0.99)
        assert await key_for(sender, domain.alice) == first
        await asyncio.sleep(0.02)
        second = await key_for(sender, domain.alice)
        await asyncio.sleep(1.01)
        assert len({first, second, await key_for(sender, domain.alice)}) == 3

    run_virtually(run())


def test_the_keys_of_a_late_round_are_forgotten(
    sender: Sender, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that waits longer than a second to be sealed leaves no key behind either, also where nobody waits."""
    monkeypatch.setattr(sender._rounds, "_patience", 1.5)

    async def run() -> None:
        with ExitStack() as stored:
            for _ in range(3):
                stored.enter_context(sender._rounds.following())
            late = asyncio.create_task(key_for(sender, domain.alice))
            gone = asyncio.create_task(key_for(sender, domain.alice))
            await asyncio.sleep(0.1)
            gone.cancel()
            key = await late
        assert asyncio.get_running_loop().time() == pytest.approx(1.5)
        await asyncio.sleep(1.01)
        assert await key_for(sender, domain.alice) != key

    run_virtually(run())


def test_a_stopped_sender_forgets_its_keys_too(sender: Sender, domain: Domain) -> None:
    """Whoever keeps the object keeps no key."""

    async def run() -> None:
        first = await key_for(sender, domain.alice)
        await sender.stop()
        await asyncio.sleep(1.01)
        assert await key_for(sender, domain.alice) != first

    run_virtually(run())
