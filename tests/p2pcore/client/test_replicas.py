"""p2pcore.client.replicas: quorum writes, hedged reads, deletes and acknowledgements everywhere."""

import asyncio
import gc
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore import names, params
from p2pcore.client.batching import Batcher
from p2pcore.client.held_file import HeldFile
from p2pcore.client.reads import Asked
from p2pcore.client.replicas import Addressed, Replicas
from p2pcore.client.versions import VersionChecker, version_of
from p2pcore.client.writes import Upload
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.errors import CannotKnow, InboxFull, NodeFull, NoQuorum, Superseded, Unreachable
from p2pcore.records import (
    Append,
    AskInbox,
    Delete,
    Deletion,
    ObjectStatement,
    PublishedVersion,
    Replication,
    SignedStatement,
    Store,
    VersionStatement,
)
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.support.identities import START, Member, World, entry_statement

KEY = hashlib.sha256(b"key").digest()


@dataclass
class Bench:
    """A network, k = 3 and w = 2 (k = 5 before START), and the replicas over it."""

    world: World
    network: MemoryNetwork
    replicas: Replicas
    gateway: Member

    def body(self, octets: bytes) -> tuple[SignedStatement, ObjectStatement]:
        statement = ObjectStatement(
            KEY,
            hashlib.sha256(octets).digest(),
            len(octets),
            START,
            START + params.DAY,
            (bytes(32),),
            self.gateway.signer.fingerprint,
        )
        (signed,) = self.gateway.signer.sign([statement])
        return signed, statement

    def store(self, octets: bytes) -> Store:
        return Store(self.body(octets)[0], octets)

    def entry(self) -> Append:
        return Append(self.gateway.signer.sign([entry_statement(self.gateway.signer, KEY, START)])[0])

    def holders(self) -> list[int]:
        """Places (0 = nearest to KEY) of the nodes that hold the body."""
        return [place for place, node in enumerate(self.network.closest(KEY)) if KEY in node.objects]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    world = World()
    gateway = world.gateway()
    network = MemoryNetwork(8)
    batcher = Batcher(network)
    trust = world.trust(gateway)
    history = (Replication(START - params.DAY, 5, 3), Replication(START, 3, 2))
    replicas = Replicas(
        network,
        network,
        batcher,
        lambda: history,
        world.clock,
        checker=VersionChecker(trust, StatementVerifier(trust, world.clock)),
        directory=tmp_path,
    )
    yield Bench(world, network, replicas, gateway)
    await replicas.stop()
    await batcher.stop()


async def test_a_large_network_is_asked_for_the_closest(bench: Bench) -> None:
    """Where the closest nodes are not known without asking, they are looked up, and hold the body then."""
    bench.network.large = True
    written = await bench.replicas.write(KEY, bench.store(b"body"))
    assert bench.network.lookups == [(KEY, 3)]
    assert len(written.nodes) >= 2
    await bench.replicas.stop()
    assert bench.holders() == [0, 1, 2]


async def test_success_comes_at_w_and_the_rest_follows(bench: Bench) -> None:
    """With the third node slow, a write returns with two confirmations; the third completes in the background."""
    slow = bench.network.closest(KEY)[2]
    slow.gate = asyncio.Event()
    written = await bench.replicas.write(KEY, bench.store(b"body"))
    assert len(written.nodes) == 2
    assert written.k == 3
    assert bench.holders() == [0, 1]
    slow.gate.set()
    await bench.replicas.stop()
    assert bench.holders() == [0, 1, 2]


async def test_a_dead_node_is_replaced_by_the_next_closest(bench: Bench) -> None:
    """k copies exist in the end, and the substrate has learnt who is dead."""
    dead = bench.network.closest(KEY)[1]
    dead.down = True
    await bench.replicas.write(KEY, bench.store(b"body"))
    await bench.replicas.stop()
    assert bench.holders() == [0, 2, 3]
    assert bench.network.dead == {dead.contact.node_id}


async def test_at_most_twice_k_nodes_are_asked(bench: Bench) -> None:
    """With all nodes dead, 2 k are tried and the answer is temporary, caused by what the nodes said."""
    for node in bench.network.nodes:
        node.down = True
    with pytest.raises(NoQuorum) as caught:
        await bench.replicas.write(KEY, bench.store(b"body"))
    assert caught.value.temporary
    assert isinstance(caught.value.__cause__, Unreachable)
    assert sum(len(node.batches) for node in bench.network.nodes) == 6


async def test_too_few_nodes_fail_at_once_and_w_is_not_lowered(bench: Bench) -> None:
    """One node known with w = 2: nothing is written."""
    bench.network.dead = {node.contact.node_id for node in bench.network.nodes[1:]}
    with pytest.raises(NoQuorum):
        await bench.replicas.write(KEY, bench.store(b"body"))
    assert bench.network.nodes[0].batches == []


async def test_full_inboxes_are_said_and_not_bypassed(bench: Bench) -> None:
    """InboxFull on two of three nodes is InboxFull; no entry is put aside on a fourth node."""
    for node in bench.network.closest(KEY)[:2]:
        node.refuse = lambda operation: InboxFull("full") if isinstance(operation, Append) else None
    with pytest.raises(InboxFull):
        await bench.replicas.write(KEY, bench.entry())
    assert [len(node.entries) for node in bench.network.closest(KEY)] == [0, 0, 1, 0, 0, 0, 0, 0]


async def test_a_full_node_is_replaced(bench: Bench) -> None:
    """NodeFull is one node's trouble."""
    bench.network.closest(KEY)[0].refuse = lambda _operation: NodeFull("full")
    await bench.replicas.write(KEY, bench.store(b"body"))
    await bench.replicas.stop()
    assert bench.holders() == [1, 2, 3]


async def test_the_deadline_ends_waiting_for_a_quorum(bench: Bench) -> None:
    """Nodes that never answer do not hold a write up for ever."""
    gate = asyncio.Event()
    for node in bench.network.nodes:
        node.gate = gate
    bench.replicas._deadline = 10
    with pytest.raises(NoQuorum):
        await bench.replicas.write(KEY, bench.store(b"body"))
    gate.set()


async def test_a_large_body_is_uploaded_once_per_node_from_its_file(bench: Bench, tmp_path: Path) -> None:
    """Each of the k nodes gets the file's octets by a PUT."""
    octets = bytes(range(256)) * 5_000
    path = tmp_path / "body"
    path.write_bytes(octets)
    await bench.replicas.write(KEY, Upload(bench.body(octets)[0], path))
    await bench.replicas.stop()
    assert bench.holders() == [0, 1, 2]


async def test_the_node_that_reported_the_entry_is_asked_first(bench: Bench) -> None:
    """It most likely has the body, also when it is not among the k closest."""
    await bench.replicas.write(KEY, bench.store(b"body"))
    await bench.replicas.stop()
    hint = bench.network.closest(KEY)[2]
    fetched = await bench.replicas.fetch(KEY, hashlib.sha256(b"body").digest(), 4, since=START, first=hint.contact)
    assert fetched.body == b"body"
    assert fetched.node == hint.contact
    assert [node.fetches for node in bench.network.closest(KEY)] == [0, 0, 1, 0, 0, 0, 0, 0]


async def test_missing_and_tampered_replicas_never_end_the_attempt(bench: Bench) -> None:
    """The nearest has nothing, the second a changed body, the third is down: a node past k has the good one."""
    good = bench.store(b"body")
    none, tampered, down, _fourth, fifth, *_ = bench.network.closest(KEY)
    tampered.objects[KEY] = (good.object, b"bodY")
    down.down = True
    fifth.objects[KEY] = (good.object, b"body")
    fetched = await bench.replicas.fetch(KEY, hashlib.sha256(b"body").digest(), 4, since=START)
    assert fetched.node == fifth.contact
    assert none.fetches == 1
    assert tampered.fetches == 1


async def test_a_slow_replica_is_hedged(bench: Bench) -> None:
    """After HEDGE_DELAY the next replica is asked; its answer is used and the slow one is not waited for."""
    await bench.replicas.write(KEY, bench.store(b"body"))
    await bench.replicas.stop()
    slow, second, *_ = bench.network.closest(KEY)
    slow.gate = asyncio.Event()
    fetched = await bench.replicas.fetch(KEY, hashlib.sha256(b"body").digest(), 4, since=START)
    assert fetched.node == second.contact
    slow.gate.set()


async def test_a_slow_replica_may_fail_when_nobody_waits_for_it_any_more(bench: Bench) -> None:
    """It had been asked already; another has given the body, so its failure is not reported as one nobody saw."""
    loop = asyncio.get_running_loop()
    reported: list[object] = []
    loop.set_exception_handler(lambda _loop, context: reported.append(context["message"]))
    await bench.replicas.write(KEY, bench.store(b"body"))
    await bench.replicas.stop()
    slow, second, *_ = [node.contact for node in bench.network.closest(KEY)]
    asked = Asked(loop.create_future(), 0, since=loop.time() - 60)
    digest = hashlib.sha256(b"body").digest()
    fetched = await bench.replicas.fetch(KEY, digest, 4, since=START, first=slow, asked=asked)
    assert fetched.node == second
    asked.answers.set_exception(Unreachable("timeout"))
    del asked
    await asyncio.sleep(0)
    gc.collect()
    assert reported == []


async def test_no_replica_found_proves_nothing(bench: Bench) -> None:
    """The body may exist on a node that is down: temporary, after 2 k nodes were asked."""
    with pytest.raises(CannotKnow) as caught:
        await bench.replicas.fetch(KEY, bytes(32), 4, since=START)
    assert caught.value.temporary
    assert sum(node.fetches for node in bench.network.nodes) == 6


async def test_a_large_body_is_fetched_into_a_file_without_a_name(bench: Bench, tmp_path: Path) -> None:
    """A replica with a wrong statement is passed over; nothing is left in the directory."""
    octets = bytes(3 << 20)
    signed, statement = bench.body(octets)
    other, _ = bench.body(b"other")
    bench.network.closest(KEY)[0].objects[KEY] = (other, octets)
    bench.network.closest(KEY)[1].objects[KEY] = (signed, octets)
    fetched = await bench.replicas.fetch(KEY, statement.digest, len(octets), since=START)
    assert isinstance(fetched.body, HeldFile)
    assert fetched.body.path.read_bytes() == octets
    assert os.listdir(tmp_path) == []
    fetched.close()


async def test_deletes_go_to_all_of_the_largest_k_since_the_issue_and_past_it(bench: Bench) -> None:
    """What was issued when k was 5 may be on 5 nodes and more: all 8 learn it (2 x 5, and there are 8)."""
    signed, _ = bench.body(b"body")
    delete = Delete(Deletion(signed, bytes(32)))
    old, new = await bench.replicas.everywhere_many(
        [Addressed(KEY, delete, START - params.HOUR), Addressed(KEY, delete, START)]
    )
    assert len(old.confirmed) == 8
    assert old.done
    assert new.done
    assert all(len(node.batches) <= 1 for node in bench.network.nodes)  # both in one request per node


async def test_deletes_say_who_did_not_confirm(bench: Bench) -> None:
    """A node that is down is named, not waited for; the caller repeats the delete."""
    down = bench.network.closest(KEY)[1]
    down.down = True
    signed, _ = bench.body(b"body")
    outcome = await bench.replicas.everywhere(KEY, Delete(Deletion(signed, bytes(32))), START)
    assert not outcome.done
    assert [contact for contact, _ in outcome.failed] == [down.contact]
    assert len(outcome.confirmed) == 5
    again = await bench.replicas.everywhere(KEY, Delete(Deletion(signed, bytes(32))), START)
    assert again.done  # the substrate knows by now, and repair will tell it when it is back


async def test_everybody_is_asked_and_each_answers_for_itself(bench: Bench) -> None:
    """ask_all keeps the order of the contacts."""
    bench.network.nodes[1].down = True
    contacts = [node.contact for node in bench.network.nodes[:3]]
    answers = await bench.replicas.ask_all(contacts, AskInbox(KEY))
    assert [isinstance(answer, Unreachable) for answer in answers] == [False, True, False]


class Versions:
    """Certificates of one user at several times."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.identifier = names.certificate_identifier("alice@example.org")
        self.key = names.key_of(self.identifier)

    def published(self, now: int) -> PublishedVersion:
        member = self.bench.world.user("alice", now=now)
        certificate = self.bench.replicas.checker.trust.add(member.certificate.der)
        statement = VersionStatement(
            kind="certificate",
            identifier=self.identifier,
            epoch=0,
            time=certificate.not_before,
            digest=certificate.fingerprint,
            size=len(certificate.der),
            issued=START,
            expires=START + params.DAY,
            signer=member.signer.fingerprint,
        )
        return PublishedVersion(member.signer.sign([statement])[0], certificate.der)


@pytest.fixture
def versions(bench: Bench) -> Versions:
    return Versions(bench)


async def test_the_highest_version_that_verifies_wins(bench: Bench, versions: Versions) -> None:
    """An old version on most nodes and a damaged newer one do not hide the newest good one."""
    old, new, forged = (versions.published(START - days * params.DAY) for days in (9, 5, 2))
    for node in bench.network.nodes:
        node.versions[versions.identifier] = old
    bench.network.nodes[3].versions[versions.identifier] = PublishedVersion(forged.version, new.content)
    for node in bench.network.nodes[4:]:
        node.versions[versions.identifier] = new
    resolved = await bench.replicas.resolve("certificate", versions.identifier)
    assert resolved is not None
    assert version_of(resolved) == version_of(new)


async def test_a_majority_that_knows_nothing_is_an_answer_and_a_minority_is_none(
    bench: Bench, versions: Versions
) -> None:
    """5 of 8 say there is none: None. With 4 of 8 down nothing is known."""
    for node in bench.network.nodes[:3]:
        node.down = True
    assert await bench.replicas.resolve("certificate", versions.identifier) is None
    bench.network.dead.clear()
    bench.network.nodes[3].down = True
    with pytest.raises(CannotKnow):
        await bench.replicas.resolve("certificate", versions.identifier)


async def test_publishing_needs_a_majority(bench: Bench, versions: Versions) -> None:
    """A version goes to all 8 there are (20 closest); superseded everywhere is said so."""
    published = versions.published(START)
    written = await bench.replicas.publish(published)
    assert len(written.nodes) >= 5
    await bench.replicas.stop()
    assert all(versions.identifier in node.versions for node in bench.network.nodes)
    for node in bench.network.nodes:
        node.refuse = lambda _operation: Superseded("newer")
    with pytest.raises(Superseded):
        await bench.replicas.publish(published)
