"""The machines of a fault run: each starts its real parts from its directory, and starts them again after its death."""

import asyncio
import contextvars
import queue
import shutil
from abc import ABC, abstractmethod
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.agents import FIRST_PAUSE, LAST_PAUSE
from gateway.mailbox import incoming, mailboxes, messages
from gateway.mailbox.store import MailStore
from gateway.maillog import MailLog
from gateway.network import Member as Access
from gateway.network import Network, Signers
from gateway.smtp.server import GatewaySmtp
from gateway.smtp.settings import SmtpSettings
from gateway.sync.agent import Agent, instance_of
from gateway.sync.cleanup import Cleanup
from gateway.sync.ingest import Ingest
from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.dht.contact import Contact
from p2pcore.endpoint import Endpoint
from p2pcore.mail.finish import Finisher
from p2pcore.mail.names import DomainNames
from p2pcore.mail.read import InboxReader
from p2pcore.mail.retrieve import Retriever
from p2pcore.mail.send import Sender
from p2pcore.node.node import Node
from p2pcore.node.settings import Limits, NodeSettings
from p2pcore.node.storage import Storage, _settle, _Waiting
from p2pcore.records import Replication
from tests.faults.disk import limited
from tests.faults.process import OWNER, Process
from tests.gateway.smtp.world import FakeDns
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import Member, World

QUOTA = 1 << 30
KEY = bytes(range(32))  # of the mailbox


@dataclass(frozen=True)
class Surroundings:
    """What every machine of a run shares; `contacts` are the nodes."""

    world: World
    history: tuple[Replication, ...]
    clock: Clock
    contacts: tuple[Contact, ...]


class Machine(ABC):
    """A place with a disk; `process` is its current life."""

    def __init__(
        self, name: str, directory: Path, member: Member, surroundings: Surroundings, listen: Endpoint
    ) -> None:
        self.name = name
        self.member = member
        self.listen = listen
        self.surroundings = surroundings
        self.process = Process(name, directory)
        self.lives = [self.process]

    async def start(self) -> None:
        """Start its parts in a process of their own; returns when they serve."""
        context = contextvars.copy_context()
        context.run(OWNER.set, self.process)
        self.process.directory.mkdir(exist_ok=True)
        await asyncio.get_running_loop().create_task(self.build(), context=context, name=f"start of {self.name}")

    def kill(self) -> None:
        """End the process as SIGKILL does; what a next one finds is the disk as it is now."""
        directory = self.process.directory
        self.process.kill()
        following = directory.with_name(f"{self.name} {len(self.lives)}")
        shutil.copytree(directory, following)
        self.process = Process(self.name, following)
        self.lives.append(self.process)

    @abstractmethod
    async def build(self) -> None:
        """Make the parts; runs in the process."""


class NodeMachine(Machine):
    """A real node with its real server."""

    node: Node

    async def build(self) -> None:
        shared = self.surroundings
        settings = NodeSettings(self.process.directory, self.listen, QUOTA, Limits())
        substrate = FixedSubstrate(shared.contacts)
        trust = shared.world.trust(self.member)
        node = Node(
            settings,
            self.member.identity,
            self.member.signer,
            trust,
            substrate,
            shared.clock,
            lambda: shared.history,
            repair_settling=0,
        )
        _without_thread(node._storage, self.process)
        await node.start()
        self.node = node

    def left(self) -> int:
        """Return how many bodies and entries it holds."""
        counts = self.node.counts()
        return counts.objects + counts.entries


class _Turns(queue.SimpleQueue[Any]):
    """Stands for the queue to a storage's thread: what is put in is done in a later turn of the loop."""

    def __init__(self, storage: Storage, process: Process) -> None:
        self._storage = storage
        self._process = process

    def put(self, item: _Waiting[Any] | None, block: bool = True, timeout: float | None = None) -> None:
        if item is not None:
            asyncio.get_running_loop().call_soon(self._execute, item)

    def _execute(self, item: _Waiting[Any]) -> None:
        if not self._process.alive:
            return
        with limited(self._process):
            self._storage._execute([item])
        _settle([item])


class _NoThread:
    def start(self) -> None:
        """There is nothing to start."""

    def join(self) -> None:
        """There is nothing to wait for."""

    def is_alive(self) -> bool:
        return True


def _without_thread(storage: Storage, process: Process) -> None:
    """Have `storage` write on the event loop: one interpreter, one order of steps, and each can be lost."""
    process.closers.append(lambda: _close(storage))
    storage._queue = _Turns(storage, process)
    storage._thread = _NoThread()  # type: ignore[assignment]


def _close(storage: Storage) -> None:
    for database in (*storage._open_readers, storage._db):
        database.close()


def network_of(member: Member, machine: Machine) -> Network:
    """Return the access to the nodes of `member` on `machine`."""
    shared = machine.surroundings
    trust = shared.world.trust(member)
    substrate = FixedSubstrate(shared.contacts)
    return Network(trust, Signers(trust), substrate, shared.clock, machine.process.directory)


class _Client(Machine):
    """A machine that is no node; `names` is the domain as it knows it."""

    names: DomainNames

    async def join(self) -> tuple[Network, Access]:
        """Return its access to the nodes, with the domain record being followed."""
        network = network_of(self.member, self)
        access = await AsyncExitStack().enter_async_context(network.member(self.member.identity))
        keys = [self.member.hpke_key] if self.member.identity.role == "gateway" else []
        self.names = network.names = DomainNames(
            access.replicas,
            network.trust,
            self.surroundings.clock,
            self.process.directory,
            self.surroundings.world.domain,
            keys,
        )
        await self.names.start()
        return network, access


class GatewayMachine(_Client):
    """A real SMTP server over real access to the nodes; SPF, DKIM and DMARC are checked against a DNS of nothing."""

    async def build(self) -> None:
        await self.serve()

    async def serve(self) -> tuple[Network, Sender]:
        """Listen for outside MTAs; return what else uses the network."""
        network, access = await self.join()
        temporary = self.process.directory / "temporary"
        temporary.mkdir(exist_ok=True)
        settings = SmtpSettings((self.listen,), self.member.certificate.name, temporary, verify="on")
        sender = Sender(access.replicas, access.signer, network.clock)
        smtp = GatewaySmtp(settings, self.names, sender, None, FakeDns(), network.clock, MailLog())
        await smtp.start()
        return network, sender


class AgentMachine(_Client):
    """Alice's agent, begun again after a fault in it as gateway.agents does."""

    store: MailStore
    _of: Process  # whose `store` that is

    def shown(self) -> list[bytes]:
        """Return every message of INBOX, whole; none while the agent is not running."""
        if self._of is not self.process:
            return []
        database = self.store._database
        with database.reading():
            inbox = mailboxes.by_name(database, "INBOX")
            listed = messages.snapshot(database, "INBOX").messages
            return [messages.read(database, inbox.id, each.uid, 0, None) for each in listed]

    def owed(self) -> int:
        """Return how many clean-up tasks are left."""
        return len(incoming.pending_cleanup(self.store._database, 10, 0))

    async def build(self) -> None:
        network, access = await self.join()
        clock = network.clock
        store = await MailStore.open(self.process.directory / "mailbox", KEY, clock=lambda: clock() / params.SECOND)
        self.process.closers.append(store._database.close)
        self.store, self._of = store, self.process
        asyncio.get_running_loop().create_task(self._run(network, access, store), name="agent")
        await self.serve(network, access)

    async def serve(self, network: Network, access: Access) -> None:
        """Start what else the agent does."""

    async def _run(self, network: Network, access: Access, store: MailStore) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await (await self._agent(network, access, store)).run()
            except Exception:  # noqa: BLE001 - whatever it is, the next one starts from the disk
                await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE)

    async def _agent(self, network: Network, access: Access, store: MailStore) -> Agent:
        clock = network.clock
        instance = await instance_of(store, clock())
        reader = InboxReader(
            access.replicas,
            access.peers,
            access.signer.certificate.inbox_key,
            instance.name,
            clock,
            foreign=_not_alone,
            began=instance.began,
            seen=store.seen,
        )
        ingest = Ingest(
            store,
            Retriever(access.replicas, self.process.directory),
            [self.member.hpke_key],
            self.surroundings.world.domain,
            give_up=reader.reopen,
        )
        cleanup = Cleanup(store, Finisher(access.replicas, access.signer, instance.name, clock), clock)
        return Agent(reader, ingest, cleanup)


def _not_alone(instance: bytes) -> None:
    raise AssertionError(f"a second agent: {instance.hex()}")
