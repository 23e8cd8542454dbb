"""The machines of the way out: an agent with its outbox and submission port, and gateways with queue and relay port."""

from collections.abc import Sequence
from pathlib import Path

from gateway.network import Member as Access
from gateway.network import Network
from gateway.outbound.bounce import Reporter
from gateway.outbound.courier import Courier
from gateway.outbound.destinations import Destinations
from gateway.outbound.mx import MailExchangers
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from gateway.outbound.service import Outbound
from gateway.outbox import rows
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from gateway.outboxes import files_into
from gateway.resolver import Answer
from gateway.smtp.relay import RelayServer
from gateway.smtp.settings import RelaySettings, SubmissionSettings
from gateway.smtp.submission import SubmissionServer
from p2pcore.crypto.certificates import Certificate
from p2pcore.endpoint import Endpoint
from p2pcore.mail.send import Sender
from p2pcore.records import GatewayInfo
from tests.faults.machines import KEY, AgentMachine, GatewayMachine, Surroundings
from tests.faults.process import Process
from tests.support.identities import Member

PASSWORD = "correct horse"


class RelayingGateway(GatewayMachine):
    """A gateway that takes its users' mail at `relay` and has only one other domain to deliver to, at `remote`."""

    _queue: Queue
    _queue_of: Process  # whose `_queue` that is

    def __init__(
        self,
        name: str,
        directory: Path,
        member: Member,
        surroundings: Surroundings,
        listen: Endpoint,
        relay: Endpoint,
        remote: Endpoint,
    ) -> None:
        super().__init__(name, directory, member, surroundings, listen)
        self._relay = relay
        self._remote = remote

    def kept(self) -> int:
        """Return how many items the queue keeps; one while the gateway is not running."""
        if self._queue_of is not self.process:
            return 1
        assert self._queue._opened is not None
        return len(self._queue._opened[1].items(10))

    @property
    def info(self) -> GatewayInfo:
        """What the domain record would say of it."""
        return GatewayInfo(self._relay.host, self._relay.port, self.member.certificate.fingerprint, bytes(32))

    async def build(self) -> None:
        network, sender = await self.serve()
        names, clock, domain = self.names, network.clock, self.surroundings.world.domain
        hostname = self.member.certificate.name
        queue = Queue(self.process.directory / "queue", KEY, clock)
        self.process.closers += [queue._close, queue._executor.shutdown]
        await queue.open()
        self._queue, self._queue_of = queue, self.process
        exchangers = MailExchangers(_Remote(self._remote.host), port=self._remote.port)
        outbound = Outbound(
            queue,
            Destinations(Courier(exchangers, hostname), None, clock),
            NetworkDelivery(names, sender, queue, hostname),
            Reporter(names, sender, queue, domain, hostname, clock),
            domain,
        )
        await outbound.start()
        settings = RelaySettings((self._relay,), hostname, self.process.directory / "temporary")
        server = RelayServer(settings, queue, names, network.trust, self.member.identity, clock)
        await server.start()


class SendingAgent(AgentMachine):
    """An agent whose user submits at `listen`."""

    gateways: Sequence[RelayingGateway] = ()
    _outbox: Outbox
    _outbox_of: Process  # whose `_outbox` that is

    def kept(self) -> int:
        """Return how many messages the outbox keeps; one while the agent is not running."""
        if self._outbox_of is not self.process:
            return 1
        return rows.status(self._outbox._store._database).messages

    async def serve(self, network: Network, access: Access) -> None:
        directory, clock = self.process.directory, network.clock
        outbox = Outbox(
            directory / "outbox",
            KEY,
            self.member.identity,
            self.names,
            Sender(access.replicas, access.signer, clock),
            lambda: [gateway.info for gateway in self.gateways],
            files_into(self.store, "\\Sent"),
            files_into(self.store, None),
            clock,
            OutboxLimits(sent_grace=0),
            directory,
        )
        await outbox.start()
        self._outbox, self._outbox_of = outbox, self.process
        self.process.closers.append(outbox._store._database.close)

        async def authenticate(_name: str, password: str) -> Certificate | None:
            return self.member.certificate if password == PASSWORD else None

        server = SubmissionServer(
            SubmissionSettings((self.listen,), self.name),
            authenticate,
            lambda _user: outbox,
            None,
            clock,
            counted_as=str,
        )
        await server.start()


class _Remote:
    """The DNS of one other domain, whose only host is at `address`."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def mail_exchangers(self, name: str) -> Answer[tuple[int, str]]:
        return Answer(((10, f"mx.{name}"),))

    async def addresses(self, name: str) -> Answer[str]:
        return Answer((self._address,))
