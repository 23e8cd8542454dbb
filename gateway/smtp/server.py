"""The inbound SMTP server: what other domains' MTAs connect to."""

import asyncio
import ssl

from gateway.maillog import MailLog
from gateway.smtp.acceptance import Acceptor, Injector
from gateway.smtp.connection import Shared, Template
from gateway.smtp.limits import ClientTable, ConnectionLimits, MemoryBudget
from gateway.smtp.listening import Listeners
from gateway.smtp.sender_policy import Dns
from gateway.smtp.session import NameSource, SmtpSession, Transactions
from gateway.smtp.settings import SmtpSettings
from gateway.smtp.verify import Verifier
from p2pcore.clock import Clock
from p2pcore.endpoint import Endpoint


class GatewaySmtp:
    """Takes mail from other domains' MTAs. `names` is a DomainNames, `sender` a p2pcore Sender."""

    def __init__(
        self,
        settings: SmtpSettings,
        names: NameSource,
        sender: Injector,
        tls: ssl.SSLContext | None,
        resolver: Dns,
        clock: Clock,
        log: MailLog | None = None,
    ) -> None:
        """Raises ValueError where a network in `settings` does not parse."""
        self._settings = settings
        log = log or MailLog()
        self._listeners = Listeners("smtp", log, settings.limits.stop_grace)
        self.memory = MemoryBudget(settings.limits.memory)
        self.limits = ConnectionLimits(settings.limits, clock)
        self._verifier = Verifier(resolver, clock, mode=settings.verify, deadline=settings.limits.verify_deadline)
        acceptor = Acceptor(settings.hostname, self._verifier, sender, clock, settings.limits.transaction_deadline)
        self._shared = Shared(settings, ClientTable(settings), self.limits, tls, log, self._listeners.connections)
        self._transactions = Transactions(names, acceptor, self.memory, settings.temporary_directory)

    async def start(self) -> None:
        """Listen on every endpoint, or on none. Raises OSError."""
        template = Template(self._settings, asyncio.get_running_loop())
        await self._listeners.open(
            lambda: SmtpSession(template, self._shared, self._transactions), self._settings.listen
        )

    @property
    def listeners(self) -> list[Endpoint]:
        """Where the server listens, with the port numbers that the system chose for port 0."""
        return self._listeners.endpoints

    @property
    def ports(self) -> list[int]:
        """The port numbers of `listeners`."""
        return [endpoint.port for endpoint in self.listeners]

    async def stop(self) -> None:
        """Take no more connections, let open transactions end within `stop_grace`, then cut off the rest."""
        await self._listeners.stop()
        await self._verifier.stop()
