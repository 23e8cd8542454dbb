"""A message's way through real nodes: published names, injection, reading, retrieval, clean-up (docs/flow.md)."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pcore import names, params
from p2pcore.client.batching import Batcher
from p2pcore.client.primitives import PeerClient
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.crypto.sealing import open_notification
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.errors import NoQuorum
from p2pcore.mail.finish import Finisher
from p2pcore.mail.injection import Injection
from p2pcore.mail.names import DomainNames
from p2pcore.mail.read import InboxReader
from p2pcore.mail.retrieve import Retriever
from p2pcore.mail.send import Sender
from p2pcore.records import CleanupTask, Notification, Replication, Verdicts
from tests.p2pcore.mail.bench import Domain, part, seal
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import START, Member
from tests.support.nodes import Running, client_of, running_node

INSTANCE = b"alice's instance"


@dataclass
class Side:
    """One member's process: it knows the authority and the nodes' addresses only."""

    peers: PeerClient
    replicas: Replicas

    async def stop(self) -> None:
        await self.replicas.stop()
        await self.replicas.batcher.stop()


@dataclass
class Journey:
    """Four nodes, k = 3, w = 2; a directory, a gateway and alice's agent."""

    domain: Domain
    nodes: list[Running]
    substrate: FixedSubstrate
    directory: Side
    gateway: Side
    alice: Side
    names: DomainNames
    sender: Sender
    reader: InboxReader
    retriever: Retriever
    finisher: Finisher

    async def inject(self, content: bytes, path: Path | None = None) -> Injection:
        recipients = await self.names.recipient("alice@example.org")
        assert recipients.certificates == (self.domain.alice.certificate,)
        injection = await self.sender.prepare(seal(content, path), [part(self.domain.alice)], Verdicts(spf="pass"))
        stored = await self.sender.inject(injection)
        assert stored.nodes >= 2
        return injection

    async def receive(self, content: bytes) -> bool:
        """Read one entry, retrieve `content`, acknowledge and delete; return whether all its holders confirmed."""
        async with asyncio.timeout(20):
            (entry,) = await self.reader.next_batch()
        keys, statement = [self.domain.alice.hpke_key], entry.statement
        notification: Notification = open_notification(
            statement.notification, keys, statement.inbox_key, statement.signer
        )
        retrieved = await self.retriever.retrieve(notification, entry.node)
        assert retrieved.content_digest == hashlib.sha256(content).digest()
        got = retrieved.content
        assert (got if isinstance(got, bytes) else got.read_bytes()) == content
        secret = notification.delete_secret
        task = CleanupTask(entry.identity, statement.expires, notification.received, retrieved.object, secret)
        retrieved.close()
        return await self.finisher.finish([task]) == [True]

    def held(self) -> list[tuple[int, int]]:
        """(objects, entries) of each node."""
        counts = [running.node.counts() for running in self.nodes if running.node.port]
        return [(count.objects, count.entries) for count in counts]


@pytest.fixture
async def journey(tmp_path: Path) -> AsyncIterator[Journey]:
    domain = Domain.new()
    clock = domain.world.clock
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(domain.world, tmp_path / f"node{number}"))
            for number in range(4)
        ]
        substrate = FixedSubstrate([running.contact for running in nodes])

        async def side(member: Member) -> Side:
            peers = await stack.enter_async_context(client_of(domain.world, member))
            trust = domain.world.trust(member)
            checker = VersionChecker(trust, StatementVerifier(trust, clock))
            replicas = Replicas(
                substrate,
                peers,
                Batcher(peers),
                lambda: (Replication(START - params.DAY, 3, 2),),
                clock,
                checker=checker,
                directory=tmp_path,
            )
            made = Side(peers, replicas)
            stack.push_async_callback(made.stop)
            return made

        directory, gateway, alice = [await side(each) for each in (domain.directory, domain.gateway, domain.alice)]
        for published in (domain.certificate(domain.alice), domain.certificate(domain.bob), domain.record()):
            await directory.replicas.publish(published)
        domain_names = DomainNames(
            gateway.replicas,
            gateway.replicas.checker.trust,
            clock,
            tmp_path,
            "example.org",
            [domain.gateway.hpke_key],
        )
        gateway.peers.on_heads(domain_names.heard)
        stack.push_async_callback(domain_names.stop)
        await domain_names.refresh()
        sender = Sender(gateway.replicas, domain.gateway.signer, clock)
        stack.push_async_callback(sender.stop)
        inbox_key = domain.alice.certificate.inbox_key
        reader = InboxReader(alice.replicas, alice.peers, inbox_key, INSTANCE, clock, foreign=lambda _instance: None)
        stack.push_async_callback(reader.stop)
        retriever = Retriever(alice.replicas, tmp_path)
        finisher = Finisher(alice.replicas, domain.alice.signer, INSTANCE, clock)
        yield Journey(
            domain, nodes, substrate, directory, gateway, alice, domain_names, sender, reader, retriever, finisher
        )


@pytest.mark.parametrize("size", [50, 200_000, 3_000_000])
async def test_a_message_is_sent_read_and_gone(journey: Journey, tmp_path: Path, size: int) -> None:
    """Octet for octet, small in a batch or large in PUTs; afterwards no node holds body or entry."""
    content = os.urandom(size)
    await journey.reader.start()
    await journey.inject(content, tmp_path / "body" if size > params.INLINE_BODY else None)
    await journey.gateway.replicas.stop()
    assert sum(objects for objects, _ in journey.held()) == 3
    assert sum(entries for _, entries in journey.held()) == 3
    assert await journey.receive(content)
    assert journey.held() == [(0, 0)] * 4


async def test_a_message_survives_the_death_of_a_holder(journey: Journey) -> None:
    """Sent while the agent is off; then one holder of the body and of the inbox each is gone before she starts."""
    content = os.urandom(5_000)
    injection = await journey.inject(content)
    await journey.gateway.replicas.stop()
    lost = (await journey.substrate.lookup(injection.body_statement.object_key, 1))[0]
    await next(running for running in journey.nodes if running.contact == lost).node.stop()
    await journey.reader.start()
    assert not await journey.receive(content)  # the dead one is still in the table
    assert journey.held() == [(0, 0)] * 3


async def test_a_node_that_dies_unnoticed_is_replaced(journey: Journey) -> None:
    """The substrate still names it; body and entry are on three others in the end."""
    inbox_key = journey.domain.alice.certificate.inbox_key
    await journey.names.recipient("alice@example.org")
    dead = (await journey.substrate.lookup(inbox_key, 1))[0]
    await next(running for running in journey.nodes if running.contact == dead).node.stop()
    await journey.inject(b"content")
    await journey.gateway.replicas.stop()
    assert sum(entries for _, entries in journey.held()) == 3
    assert (dead, False) in journey.substrate.reports


async def test_without_w_nodes_nothing_is_said_to_be_stored(journey: Journey) -> None:
    """Three of four nodes dead: temporary failure."""
    await journey.names.recipient("alice@example.org")
    for running in journey.nodes[:3]:
        await running.node.stop()
    with pytest.raises(NoQuorum):
        await journey.inject(b"content")


async def test_many_messages_arrive_once_each(journey: Journey) -> None:
    """Sixty concurrent injections, read while they are written; requests per node stay far below operations."""
    await journey.reader.start()
    recipients = await journey.names.recipient("alice@example.org")
    assert recipients.address == "alice@example.org"
    sending = asyncio.gather(*(journey.inject(b"%d" % number) for number in range(60)))
    received: list[bytes] = []
    async with asyncio.timeout(30):
        while len(received) < 60:
            received += [entry.identity for entry in await journey.reader.next_batch()]
        await sending
    assert len(set(received)) == 60


async def test_names_resolve_through_real_nodes(journey: Journey) -> None:
    """A majority of the nodes holds the record and the certificates; what nobody has is None."""
    found = await journey.alice.replicas.resolve("certificate", names.certificate_identifier("bob@example.org"))
    assert found is not None
    assert found.content == journey.domain.bob.certificate.der
    missing = await journey.alice.replicas.resolve("certificate", names.certificate_identifier("eve@example.org"))
    assert missing is None
