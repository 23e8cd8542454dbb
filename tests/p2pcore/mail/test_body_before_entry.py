"""No entry without its body: what a sender leaves on nodes that refuse the body of a small message."""

import asyncio

import pytest

from p2pcore.client.replicas import Replicas
from p2pcore.errors import BodyNotHeld, Failure, NodeFull, NoQuorum
from p2pcore.mail.injection import Injection, prepare
from p2pcore.mail.send import Sender
from p2pcore.records import Append, AppendAfter, Operation, Store, Verdicts
from tests.p2pcore.client.memory_network import MemoryNetwork, MemoryNode
from tests.p2pcore.mail.bench import Domain, part, seal
from tests.support.identities import START


def full(operation: Operation) -> Failure | None:
    """A node without room for bodies; entries are small."""
    return NodeFull("no room") if isinstance(operation, Store) else None


def prepared(domain: Domain, *, only_alice: bool = True) -> Injection:
    members = [domain.alice] if only_alice else [domain.alice, domain.bob]
    return prepare(
        seal(b"Subject: x\r\n\r\nhello\r\n"),
        [part(member) for member in members],
        Verdicts(),
        domain.gateway.signer,
        START,
    )


@pytest.fixture
def sender(domain: Domain, replicas: Replicas) -> Sender:
    return Sender(replicas, domain.gateway.signer, domain.world.clock)


def holders(network: MemoryNetwork, injection: Injection) -> tuple[list[MemoryNode], list[MemoryNode]]:
    """The nodes of the body, and those that are to have Alice's entry and not the body."""
    bodies = network.closest(injection.body_statement.object_key)[:3]
    statement = injection.entries[0].statement
    inbox = network.closest(statement.inbox_key)[:3]  # type: ignore[union-attr]
    return bodies, [node for node in inbox if node not in bodies]


def with_apart(domain: Domain, network: MemoryNetwork) -> Injection:
    """A message whose body and entry do not go to the same nodes only."""
    while True:
        injection = prepared(domain)
        if holders(network, injection)[1]:
            return injection


async def test_retries_at_full_nodes_leave_no_entries(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas
) -> None:
    """However often a sender tries while the nodes are full, no inbox gets an entry that has no body."""
    for node in network.nodes:
        node.refuse = full
    for _ in range(5):
        with pytest.raises(NodeFull):
            await sender.inject(prepared(domain, only_alice=False))
    await replicas.stop()
    assert not any(node.entries for node in network.nodes)


async def test_a_quorum_of_the_entry_alone_is_none(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas
) -> None:
    """One node of five takes the body: only there the entry is left, where its owner can fetch the body."""
    injection = prepared(domain)
    for node in network.nodes[1:]:
        node.refuse = full
    with pytest.raises(NodeFull):
        await sender.inject(injection)
    await replicas.stop()
    for node in network.nodes[1:]:
        assert not node.entries
    assert len(network.nodes[0].entries) <= len(network.nodes[0].objects)


async def test_a_full_node_gets_its_entry_when_the_body_has_its_quorum(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas
) -> None:
    """One of the body's nodes is full: the next closest takes the body, the full one the entry, and all is well."""
    injection = prepared(domain)
    inbox = network.closest(domain.alice.certificate.inbox_key)[:3]
    bodies, _apart = holders(network, injection)
    both = next(node for node in inbox if node in bodies)
    both.refuse = full
    await sender.inject(injection)
    await replicas.stop()
    assert all(len(node.entries) == 1 for node in inbox)
    assert sum(bool(node.objects) for node in network.nodes) == 3
    assert [type(each) for batch in both.batches for each in batch] == [Store, AppendAfter, Append]


async def test_nodes_of_the_entry_alone_wait_for_the_bodys_quorum(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas
) -> None:
    """While the body is on its way they hear nothing; then they get the plain entry."""
    injection = with_apart(domain, network)
    bodies, apart = holders(network, injection)
    gate = asyncio.Event()
    for node in bodies:
        node.gate = gate
    sending = asyncio.create_task(sender.inject(injection))
    await asyncio.wait([sending], timeout=0.05)
    assert not any(node.batches for node in apart)
    gate.set()
    await sending
    await replicas.stop()
    for node in apart:
        assert [type(each) for batch in node.batches for each in batch] == [Append]


async def test_what_waits_for_the_body_when_the_time_is_over_is_never_sent(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender was told of a failure, so a body that arrives later brings no entry to further nodes."""
    monkeypatch.setattr(replicas, "_deadline", 50)
    injection = with_apart(domain, network)
    bodies, apart = holders(network, injection)
    gate = asyncio.Event()
    for node in bodies:
        node.gate = gate
    with pytest.raises(NoQuorum):
        await sender.inject(injection)
    gate.set()
    await replicas.stop()
    assert sum(bool(node.objects) for node in network.nodes) == 3
    assert not any(node.batches for node in apart)


async def test_a_node_that_always_wants_the_body_is_not_asked_for_ever(
    domain: Domain, network: MemoryNetwork, sender: Sender, replicas: Replicas
) -> None:
    """A node that answers the plain entry so as well has failed; the others make the quorum."""
    injection = prepared(domain)
    liar = network.closest(domain.alice.certificate.inbox_key)[0]
    liar.refuse = lambda operation: BodyNotHeld("always") if isinstance(operation, Append) else None
    await sender.inject(injection)
    await replicas.stop()
    assert len([each for batch in liar.batches for each in batch if isinstance(each, Append)]) <= 2
