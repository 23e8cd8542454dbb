"""p2pcore.mail.retrieve and p2pcore.mail.finish: a message from the network and out of it."""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from p2pcore import params
from p2pcore.client.reads import Asked
from p2pcore.client.replicas import Replicas
from p2pcore.crypto.sealing import open_notification
from p2pcore.errors import CannotKnow, Expired, NodeFull, NoGoodCopy, NotAuthorised, Tampered
from p2pcore.mail.finish import Finisher
from p2pcore.mail.injection import Injection, prepare
from p2pcore.mail.retrieve import Retrieved, Retriever
from p2pcore.mail.send import Sender
from p2pcore.names import key_of
from p2pcore.records import CleanupTask, Delete, EntryStatement, Notification, Verdicts, identity
from tests.p2pcore.client.memory_network import MemoryNetwork, MemoryNode, acknowledged_by
from tests.p2pcore.mail.bench import Domain, part, seal
from tests.support.identities import START, entry_statement


async def injected(domain: Domain, replicas: Replicas, content: bytes) -> tuple[Injection, Notification]:
    """`content` stored for alice, and her notification."""
    injection = prepare(seal(content), [part(domain.alice)], Verdicts(), domain.gateway.signer, START)
    await Sender(replicas, domain.gateway.signer, domain.world.clock).inject(injection)
    await replicas.stop()
    entry = injection.entries[0].statement
    assert isinstance(entry, EntryStatement)
    keys = [domain.alice.hpke_key]
    return injection, open_notification(entry.notification, keys, entry.inbox_key, entry.signer)


@pytest.mark.parametrize("size", [0, 1, 100_000, 3_000_000])
async def test_content_comes_back_octet_for_octet(
    domain: Domain, replicas: Replicas, tmp_path: Path, size: int
) -> None:
    """In memory or by a file without a name, which is gone after close."""
    content = os.urandom(size)
    injection, notification = await injected(domain, replicas, content)
    retrieved = await Retriever(replicas, tmp_path).retrieve(notification)
    got = retrieved.content
    assert isinstance(got, bytes) == (size < params.INLINE_BODY)
    assert (got if isinstance(got, bytes) else got.read_bytes()) == content
    assert retrieved.content_digest == hashlib.sha256(content).digest()
    assert retrieved.object == injection.object
    assert os.listdir(tmp_path) == []
    retrieved.close()
    assert isinstance(got, bytes) or not got.exists()


@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_a_tampered_replica_never_ends_the_attempt(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, size: int
) -> None:
    """Two of three replicas are altered; the one that reported the entry is asked first, and is one of them."""
    content = os.urandom(size)
    injection, notification = await injected(domain, replicas, content)
    key = injection.body_statement.object_key
    bad = network.closest(key)[1:3]
    for node in bad:
        signed, octets = node.objects[key]
        node.objects[key] = (signed, octets[:-1] + bytes([octets[-1] ^ 1]))
    retrieved = await Retriever(replicas, tmp_path).retrieve(notification, bad[0].contact)
    assert retrieved.content_digest == hashlib.sha256(content).digest()
    retrieved.close()


@pytest.mark.parametrize("size", [1_000, 3_000_000])
@pytest.mark.parametrize("forged", ["signature", "rights", "signer"])
async def test_a_statement_that_could_not_be_deleted_by_is_left_for_the_true_one(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, size: int, forged: str
) -> None:
    """One replica gives the right octets under a statement that honest nodes would refuse a deletion of."""
    injection, notification = await injected(domain, replicas, os.urandom(size))
    statement = injection.body_statement
    true = injection.object
    if forged == "signature":
        false = msgspec.structs.replace(true, proof=msgspec.structs.replace(true.proof, signature=bytes(64)))
    elif forged == "rights":
        [false] = domain.gateway.signer.sign([msgspec.structs.replace(statement, delete_rights=(bytes(32),))])
    else:
        [false] = domain.bob.signer.sign([msgspec.structs.replace(statement, signer=domain.bob.signer.fingerprint)])
    bad = network.closest(statement.object_key)[0]
    bad.objects[statement.object_key] = (false, bad.objects[statement.object_key][1])
    retrieved = await Retriever(replicas, tmp_path).retrieve(notification, bad.contact)
    assert retrieved.object == true
    retrieved.close()


async def several(domain: Domain, replicas: Replicas, contents: Sequence[bytes]) -> list[Notification]:
    """All of `contents` stored for alice, and her notifications; their signer is known to her."""
    notifications = [(await injected(domain, replicas, content))[1] for content in contents]
    await Retriever(replicas, Path("/nowhere")).retrieve(notifications[0])
    return notifications


def content_of(_index: int, retrieved: Retrieved) -> bytes:
    assert isinstance(retrieved.content, bytes)
    assert retrieved.content_digest == hashlib.sha256(retrieved.content).digest()
    return retrieved.content


@pytest.mark.parametrize("size", [10, 50_000])
async def test_what_one_node_reported_is_had_in_one_request(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, size: int
) -> None:
    """In the order asked for, on the event loop or in a thread."""
    contents = [os.urandom(size) for _ in range(5)]
    notifications = await several(domain, replicas, contents)
    node = hold_all(network)
    before = len(node.batches)
    assert await Retriever(replicas, tmp_path).retrieve_together(node.contact, notifications, content_of) == contents
    assert [len(batch) for batch in node.batches[before:]] == [5]


@pytest.mark.parametrize("size", [10, 50_000])
@pytest.mark.parametrize("wrong", ["missing", "octets", "statement", "sealed"])
async def test_what_is_not_good_at_once_is_had_from_another_node(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, size: int, wrong: str
) -> None:
    """The rest is had all the same, and the node that gave it badly is not asked a second time."""
    contents = [os.urandom(size) for _ in range(3)]
    notifications = await several(domain, replicas, contents)
    node = hold_all(network)
    key = key_of(notifications[1].body_identifier)
    signed, octets = node.objects.pop(key)
    if wrong == "octets":
        node.objects[key] = (signed, octets[:-1] + bytes([octets[-1] ^ 1]))
    elif wrong == "statement":
        proof = msgspec.structs.replace(signed.proof, signature=bytes(64))
        node.objects[key] = (msgspec.structs.replace(signed, proof=proof), octets)
    elif wrong == "sealed":  # by its own gateway: no replica will do
        node.objects[key] = (signed, octets)
        notifications[1] = msgspec.structs.replace(notifications[1], session_key=bytes(32))
    retriever = Retriever(replicas, tmp_path)
    first, asked, last = await retriever.retrieve_together(node.contact, notifications, content_of)
    assert (first, last) == (contents[0], contents[2])
    assert isinstance(asked, Asked)
    requests = len(node.batches)
    if wrong == "sealed":
        with pytest.raises(Tampered):
            await retriever.retrieve(notifications[1], node.contact, asked)
    else:
        assert (await retriever.retrieve(notifications[1], node.contact, asked)).content == contents[1]
    assert len(node.batches) == requests


async def test_a_node_that_is_slow_is_waited_for_beside_the_others(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """After HEDGE_DELAY the others are asked; where none of them has it the slow node's answer still counts."""
    notifications = await several(domain, replicas, [b"on all", b"on one"])
    node = hold_all(network)
    for other in network.nodes:
        if other is not node:
            other.objects.pop(key_of(notifications[1].body_identifier), None)
    node.gate = asyncio.Event()
    retriever = Retriever(replicas, tmp_path)
    outcomes = await retriever.retrieve_together(node.contact, notifications, content_of)
    assert all(isinstance(each, Asked) for each in outcomes)
    one, two = (each for each in outcomes if isinstance(each, Asked))
    assert (await retriever.retrieve(notifications[0], node.contact, one)).content == b"on all"
    waiting = asyncio.create_task(retriever.retrieve(notifications[1], node.contact, two))
    await asyncio.sleep(0)
    requests = len(node.batches)
    node.gate.set()
    assert (await waiting).content == b"on one"
    assert len(node.batches) == requests


async def test_what_a_node_that_is_gone_reported_is_had_elsewhere(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """Each of them goes on alone."""
    notifications = await several(domain, replicas, [b"a", b"b"])
    node = hold_all(network)
    node.down = True
    retriever = Retriever(replicas, tmp_path)
    outcomes = await retriever.retrieve_together(node.contact, notifications, content_of)
    for notification, asked, content in zip(notifications, outcomes, (b"a", b"b"), strict=True):
        assert isinstance(asked, Asked)
        assert (await retriever.retrieve(notification, node.contact, asked)).content == content


def hold_all(network: MemoryNetwork) -> MemoryNode:
    """Let one node hold every object there is."""
    for node in network.nodes[1:]:
        network.nodes[0].objects.update(node.objects)
    return network.nodes[0]


async def test_a_body_that_no_node_gives_may_come_later(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """Temporary."""
    _, notification = await injected(domain, replicas, b"x")
    for node in network.nodes:
        node.objects.clear()
    with pytest.raises(CannotKnow) as caught:
        await Retriever(replicas, tmp_path).retrieve(notification)
    assert not isinstance(caught.value, NoGoodCopy)


@pytest.mark.parametrize("size", [1_000, 3_000_000])
@pytest.mark.parametrize("damaged", ["octets", "statement"])
async def test_that_only_bad_copies_were_given_is_said_and_is_temporary(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, size: int, damaged: str
) -> None:
    """One node gives another body or another's statement, the rest have none: how many lied is said, no more."""
    injection, notification = await injected(domain, replicas, os.urandom(size))
    key = injection.body_statement.object_key
    bad = network.closest(key)[1]
    for node in network.nodes:
        signed, octets = node.objects.pop(key, (injection.object, b""))
        if node is bad and damaged == "octets":
            node.objects[key] = (signed, octets[:-1] + bytes([octets[-1] ^ 1]))
        elif node is bad:
            node.objects[key] = (
                msgspec.structs.replace(signed, proof=msgspec.structs.replace(signed.proof, signature=bytes(64))),
                octets,
            )
    with pytest.raises(NoGoodCopy, match="1 of 5 nodes gave a bad copy") as caught:
        await Retriever(replicas, tmp_path).retrieve(notification)
    assert isinstance(caught.value, CannotKnow)
    assert str(bad.contact.endpoint) in str(caught.value)


async def test_acknowledging_and_deleting_reach_all_holders(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """All five nodes (2 k = 6, there are five) have the acknowledgement and the revealed secret."""
    injection, notification = await injected(domain, replicas, b"x")
    entry = injection.entries[0].statement
    assert isinstance(entry, EntryStatement)
    finisher = Finisher(replicas, domain.alice.signer, bytes(16), domain.world.clock)
    secret = notification.delete_secret
    task = CleanupTask(identity(entry), entry.expires, notification.received, injection.object, secret)
    assert await finisher.finish([task]) == [True]
    for node in network.nodes:
        assert [acknowledged_by(signed) for signed in node.acknowledged] == [(identity(entry),)]
        assert tuple(node.deleted) == injection.body_statement.delete_rights


async def test_what_has_expired_needs_no_deletion(domain: Domain, network: MemoryNetwork, replicas: Replicas) -> None:
    """A node that has forgotten an expired object refuses its statement: there is nothing left to tell it."""
    injection, notification = await injected(domain, replicas, b"x")
    entry = injection.entries[0].statement
    assert isinstance(entry, EntryStatement)
    finisher = Finisher(replicas, domain.alice.signer, bytes(16), domain.world.clock)
    task = CleanupTask(
        identity(entry), entry.expires, notification.received, injection.object, notification.delete_secret
    )
    for failure, done in ((Expired("gone"), True), (NotAuthorised("no"), False)):
        network.nodes[0].refuse = lambda operation, failure=failure: failure if isinstance(operation, Delete) else None  # type: ignore[misc]
        assert await finisher.finish([task]) == [done]


async def test_a_repeated_clean_up_repeats_its_acknowledgement(
    domain: Domain, network: MemoryNetwork, replicas: Replicas
) -> None:
    """While one node does not confirm, hours of retries leave one statement on the others and not one for each."""
    entries = [entry_statement(domain.gateway.signer, bytes(32), START, text) for text in (b"a", b"b")]
    tasks = [CleanupTask(identity(entry), entry.expires, START, None, b"") for entry in entries]
    finisher = Finisher(replicas, domain.alice.signer, bytes(16), domain.world.clock)
    network.nodes[0].refuse = lambda _operation: NodeFull("full")
    for _ in range(3):
        assert await finisher.finish(tasks) == [False, False]
        domain.world.clock.advance(params.HOUR)
    assert len(set(network.nodes[1].acknowledged)) == 1
    assert await finisher.finish(tasks[:1]) == [False]
    assert len(set(network.nodes[1].acknowledged)) == 2
