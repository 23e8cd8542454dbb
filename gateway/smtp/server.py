"""The inbound SMTP server: what other domains' MTAs connect to."""

import ssl

from gateway.maillog import MailLog
from gateway.smtp.acceptance import Acceptor, Injector, RelayedReports
from gateway.smtp.connection import Shared
from gateway.smtp.domains import NameSource, ServedDomain, ServedDomains
from gateway.smtp.limits import ClientTable, ConnectionLimits, MemoryBudget
from gateway.smtp.listening import Listeners
from gateway.smtp.overrides import Overrides
from gateway.smtp.sender_policy import Dns
from gateway.smtp.session import SmtpSession, Transactions
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
        reports: RelayedReports | None = None,
    ) -> None:
        """`reports` tells outside senders who ask for it that their mail is stored; None: nobody is told.

        Raises ValueError where a network or domain in `settings` does not parse."""
        self._settings = settings
        log = log or MailLog()
        self._listeners = Listeners("smtp", log, settings.limits.stop_grace)
        self.memory = MemoryBudget(settings.limits.memory)
        self.limits = ConnectionLimits(settings.limits, clock)
        self._verifier = Verifier(
            resolver,
            clock,
            mode=settings.verify,
            deadline=settings.limits.verify_deadline,
            overrides=Overrides.named(settings.dmarc_overrides),
        )
        self._clock = clock
        self._domains = ServedDomains(self._served(names, sender, settings.hostname, reports))
        self._shared = Shared(settings, ClientTable(settings), self.limits, tls, log, self._listeners.connections)
        self._transactions = Transactions(self._domains, self.memory, settings.temporary_directory)

    def serve(self, names: NameSource, sender: Injector, hostname: str, reports: RelayedReports | None = None) -> None:
        """Take mail for another domain too, whose gateway is `hostname` and signs as `sender` does; before `start`.

        Raises ValueError where mail for it is taken already.
        """
        self._domains.add(self._served(names, sender, hostname, reports))

    def _served(
        self, names: NameSource, sender: Injector, hostname: str, reports: RelayedReports | None
    ) -> ServedDomain:
        deadline = self._settings.limits.transaction_deadline
        return ServedDomain(names, Acceptor(hostname, self._verifier, sender, self._clock, deadline, reports))

    async def start(self) -> None:
        """Listen on every endpoint, or on none. Raises OSError."""
        await self._listeners.open(self._session, self._settings.listen)

    def _session(self) -> SmtpSession:
        return SmtpSession(self._shared, self._transactions)

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
