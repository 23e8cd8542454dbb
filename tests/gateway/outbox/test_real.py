"""gateway.outbox over real nodes and the real relay server: from acceptance to what the recipient reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.mail.outgoing import NewItem, Sending
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from gateway.smtp.relay import RelayServer
from gateway.smtp.settings import RelaySettings
from gateway.sync.rules import SIGNED, keywords_for
from p2pcore import params
from p2pcore.client.batching import Batcher
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.crypto.sealing import open_notification
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.endpoint import Endpoint
from p2pcore.errors import NoSuchAddress
from p2pcore.mail.names import DomainNames
from p2pcore.mail.read import InboxReader
from p2pcore.mail.retrieve import Retriever
from p2pcore.mail.send import Sender
from p2pcore.records import GatewayInfo, Replication
from tests.gateway.outbox.world import CONTENT, KEY, OUTSIDE, FakeMailbox, submission
from tests.p2pcore.mail.bench import Domain
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import START, Member
from tests.support.nodes import Running, client_of, running_node


@dataclass
class MemoryQueue:
    """Keeps what the relay server hands over; a submitter's ID once."""

    items: dict[tuple[str, str], NewItem] = field(default_factory=dict)
    repeated: int = 0

    async def knows(self, submitter: str, submission_id: str) -> bool:
        return (submitter, submission_id) in self.items

    async def accept(self, item: NewItem) -> bool:
        key = (item.submitter, item.submission_id)
        self.repeated += key in self.items
        return self.items.setdefault(key, item) is item

    async def sendings(self) -> list[Sending]:
        return []


@dataclass
class Site:
    """Four nodes (k = 3, w = 2), a directory, a gateway with its relay port, alice's outbox and bob's reader."""

    domain: Domain
    nodes: list[Running]
    substrate: FixedSubstrate
    queue: MemoryQueue
    outbox: Outbox
    mailbox: FakeMailbox
    reader: InboxReader
    retriever: Retriever

    async def settled(self) -> None:
        async with asyncio.timeout(30):
            await self.outbox.settled()

    async def bob_reads(self) -> tuple[bytes, frozenset[str]]:
        """The content of bob's one entry, and what his reader is told of it."""
        async with asyncio.timeout(20):
            (entry,) = await self.reader.next_batch()
        statement, alice = entry.statement, self.domain.alice.certificate
        keys = [self.domain.bob.hpke_key]
        notification = open_notification(statement.notification, keys, statement.inbox_key, statement.signer)
        retrieved = await self.retriever.retrieve(notification, entry.node)
        content = retrieved.content
        octets = content if isinstance(content, bytes) else await asyncio.to_thread(content.read_bytes)
        retrieved.close()
        return octets, keywords_for(notification, alice, octets, "example.org")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    domain = Domain.new()
    clock = domain.world.clock
    async with AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(running_node(domain.world, tmp_path / f"node{number}"))
            for number in range(4)
        ]
        substrate = FixedSubstrate([running.contact for running in nodes])

        async def replicas_of(member: Member) -> tuple[Replicas, InboxReader]:
            peers = await stack.enter_async_context(client_of(domain.world, member))
            trust = domain.world.trust(member)
            checker = VersionChecker(trust, StatementVerifier(trust, clock))
            history = (Replication(START - params.DAY, 3, 2),)
            replicas = Replicas(
                substrate, peers, Batcher(peers), lambda: history, clock, checker=checker, directory=tmp_path
            )
            stack.push_async_callback(replicas.batcher.stop)
            stack.push_async_callback(replicas.stop)
            inbox_key = member.certificate.inbox_key if member.certificate.role == "user" else bytes(32)
            reader = InboxReader(replicas, peers, inbox_key, bytes(16), clock, foreign=lambda _instance: None)
            return replicas, reader

        def names_of(replicas: Replicas, member: Member, *, directory: str) -> DomainNames:
            keys = [member.hpke_key] if member.certificate.role == "gateway" else []
            (tmp_path / directory).mkdir()
            known = DomainNames(replicas, replicas.checker.trust, clock, tmp_path / directory, "example.org", keys)
            stack.push_async_callback(known.stop)
            return known

        publisher, _ = await replicas_of(domain.directory)
        for published in (domain.certificate(domain.alice), domain.certificate(domain.bob), domain.record()):
            await publisher.publish(published)
        gateways, _ = await replicas_of(domain.gateway)
        gateway_names = names_of(gateways, domain.gateway, directory="gateway")
        await gateway_names.refresh()
        queue = MemoryQueue()
        settings = RelaySettings((Endpoint("127.0.0.1", 0),), "mx.example.org", tmp_path)
        trust = gateways.checker.trust
        server = RelayServer(settings, queue, gateway_names, trust, domain.gateway.identity, clock)
        await server.start()
        stack.push_async_callback(server.stop)
        port = server.listeners[0].port
        info = GatewayInfo("127.0.0.1", port, domain.gateway.certificate.fingerprint, bytes(32))

        agents, _ = await replicas_of(domain.alice)
        sender = Sender(agents, domain.alice.signer, clock)
        stack.push_async_callback(sender.stop)
        mailbox = FakeMailbox()
        outbox = Outbox(
            tmp_path / "outbox",
            KEY,
            domain.alice.identity,
            names_of(agents, domain.alice, directory="agent"),
            sender,
            lambda: [info],
            mailbox.append_sent,
            mailbox.file_report,
            clock,
            OutboxLimits(sent_grace=0),
            tmp_path,
        )
        await outbox.start()
        stack.push_async_callback(outbox.stop)
        bobs, reader = await replicas_of(domain.bob)
        stack.push_async_callback(reader.stop)
        yield Site(domain, nodes, substrate, queue, outbox, mailbox, reader, Retriever(bobs, tmp_path))


@pytest.mark.parametrize("size", [0, 3_000_000])
async def test_from_acceptance_to_the_recipients(site: Site, size: int) -> None:
    """Bob reads it as signed by alice; the stranger's copy is in the gateway's queue, as hers, octet for octet."""
    content = CONTENT + b".dots\r\n" * (size // 7)
    message_id = await site.outbox.accept(submission("bob@example.org", OUTSIDE, content=content))
    await site.settled()
    await site.reader.start()
    assert await site.bob_reads() == (content, frozenset({SIGNED}))
    ((key, item),) = site.queue.items.items()
    assert key == ("alice@example.org", message_id)
    assert (item.reverse_path, [each.forward_path for each in item.recipients]) == ("alice@example.org", [OUTSIDE])
    assert not isinstance(item.content, bytes)
    assert item.content.content_size == len(content)
    assert (await site.outbox.status()).messages == 0
    assert list(site.mailbox.sent.values()) == [content]


async def test_nodes_accept_statements_that_waited(site: Site) -> None:
    """No node answered for hours; then the very statements that were signed at first are appended and read."""
    contacts = site.substrate.contacts
    await site.outbox.check_recipient("bob@example.org")
    site.substrate.replace([])
    await site.outbox.accept(submission("bob@example.org"))
    await site.settled()
    (message,) = await site.outbox.list()
    assert (message.recipients[0].state, message.recipients[0].injection) == ("pending", 1)
    site.domain.world.clock.advance(3 * params.HOUR)
    site.substrate.replace(contacts)
    site.outbox.wake()
    await site.settled()
    assert (await site.outbox.status()).messages == 0
    await site.reader.start()
    assert (await site.bob_reads())[0] == CONTENT


async def test_the_gateway_says_who_has_no_certificate(site: Site) -> None:
    """An alias is taken and expanded there; a name that the domain does not have is refused in the words of RCPT."""
    await site.outbox.check_recipient("team@example.org")
    with pytest.raises(NoSuchAddress):
        await site.outbox.check_recipient("nobody@example.org")
    await site.outbox.accept(submission("team@example.org", "nobody@example.org"))
    await site.settled()
    (item,) = site.queue.items.values()
    assert [each.forward_path for each in item.recipients] == ["team@example.org"]
    assert "Status: 5.1.1" in site.mailbox.report()


async def test_a_from_that_is_not_hers_comes_back(site: Site) -> None:
    """The gateway refuses the content; she is told, and nothing is queued."""
    await site.outbox.accept(submission(OUTSIDE, content=CONTENT.replace(b"alice@", b"bob@")))
    await site.settled()
    assert not site.queue.items
    assert "Action: failed" in site.mailbox.report()
