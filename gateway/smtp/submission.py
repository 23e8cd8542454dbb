"""The agent's listener: mail readers submit here, and their user's outbox keeps it (RFC 6409)."""

import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gateway.login_delays import LoginDelays
from gateway.mail.submission import Submission, check_authors, complete_header
from gateway.maillog import MailLog
from gateway.smtp import params, replies
from gateway.smtp.auth import Authenticate, Logins, Passwords, login, plain
from gateway.smtp.checked_header import CheckedHeader
from gateway.smtp.clear_content import ClearContent
from gateway.smtp.connection import Shared
from gateway.smtp.limits import ClientTable, ConnectionLimits, FailedLogins, MemoryBudget, MemoryShare
from gateway.smtp.listening import Listeners
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.settings import SubmissionSettings
from gateway.smtp.submitting import Content, SubmittingDialogue
from gateway.smtp.transaction import SubmittedTransaction
from p2pcore.clock import Clock
from p2pcore.endpoint import Endpoint
from p2pcore.errors import NoSuchAddress, NotOurDomain, PermanentFailure


class Outbox(Protocol):
    """One user's outgoing mail: gateway.outbox."""

    async def check_recipient(self, address: str) -> None:
        """Raises NoSuchAddress and other Failures where it is known already that no mail goes to `address`.

        Any PermanentFailure is a gateway's refusal.
        """
        ...

    async def accept(self, submission: Submission) -> str:
        """Return the submission's ID once it is durable. Raises Failure, OSError."""
        ...


Outboxes = Callable[[str], Outbox]
"""Returns the outbox of a user by her canonical primary address."""


class SubmissionServer:
    """Takes mail from the users of this machine. `authenticate` says whose name and password somebody knows.

    `counted_as` gives the one name of whatever account a user's name means, whether there is one or not.
    """

    def __init__(
        self,
        settings: SubmissionSettings,
        authenticate: Authenticate,
        outboxes: Outboxes,
        tls: ssl.SSLContext | None,
        clock: Clock,
        log: MailLog | None = None,
        *,
        counted_as: Callable[[str], str],
    ) -> None:
        """Raises ValueError where a network in `settings` does not parse."""
        log = log or MailLog()
        self._settings = settings
        self._outboxes = outboxes
        self._clock = clock
        self._tls = tls
        self._listeners = Listeners("submission", log, settings.limits.stop_grace)
        self.memory = MemoryBudget(settings.limits.memory)
        limits = ConnectionLimits(settings.limits, clock)
        self._shared = Shared(settings, ClientTable(settings), limits, tls, log, self._listeners.connections)
        delay = settings.limits.failed_login_delay / params.SECOND
        passwords = Passwords(authenticate, LoginDelays(delay, lambda: clock() / params.SECOND, counted_as))
        mechanisms = {"PLAIN": plain(passwords), "LOGIN": login(passwords)}
        self._logins = Logins(mechanisms, FailedLogins(settings.limits, clock))

    async def start(self) -> None:
        """Listen on every endpoint, or on none. Raises OSError, ValueError (implicit TLS without a certificate)."""
        await self._listeners.open(self._session, self._settings.listen, self._settings.listen_tls, self._tls)

    def _session(self) -> "SubmissionSession":
        return SubmissionSession(self._shared, self._logins, self.memory, self._outboxes, self._clock)

    @property
    def listeners(self) -> list[Endpoint]:
        """Where the server listens, in clear first, with the port numbers that the system chose for port 0."""
        return self._listeners.endpoints

    async def stop(self) -> None:
        """Take no more connections, let open transactions end within `stop_grace`, then cut off the rest."""
        await self._listeners.stop()


class SubmissionSession(SubmittingDialogue):
    """One connection from a mail reader."""

    def __init__(
        self,
        shared: Shared,
        logins: Logins,
        memory: MemoryBudget,
        outboxes: Outboxes,
        clock: Clock,
    ) -> None:
        super().__init__(shared, logins, memory)
        self._outboxes = outboxes
        self._clock = clock

    async def check_recipient(self, transaction: SubmittedTransaction, forward_path: str) -> None:
        try:
            await self._outboxes(transaction.user.primary_address).check_recipient(forward_path)
        except (NoSuchAddress, NotOurDomain):
            raise
        except PermanentFailure as failure:  # 451 would have her client try for days what a gateway refuses for good
            raise Refusal(replies.refused_by_gateway(failure), f"<{forward_path}> {failure}") from failure

    def content(self, transaction: SubmittedTransaction, memory: MemoryShare) -> Content:
        user = transaction.user

        def rewrite(header: bytes) -> bytes:
            check_authors(header, user.addresses)
            return complete_header(header, self._clock(), f"{secrets.token_hex(16)}@{user.domain}")

        clear = ClearContent(CheckedHeader(rewrite), memory)
        return _ForOutbox(clear, transaction, self._outboxes(user.primary_address))


@dataclass(frozen=True, slots=True)
class _ForOutbox:
    clear: ClearContent
    transaction: SubmittedTransaction
    outbox: Outbox

    async def add(self, piece: bytes) -> None:
        await self.clear.add(piece)

    async def keep(self) -> tuple[Reply, bool]:
        transaction = self.transaction
        submission = Submission(
            transaction.reverse_path,
            tuple(transaction.recipients.values()),
            self.clear.finish(),
            transaction.body,
            transaction.smtputf8,
            transaction.ret,
            transaction.envelope_id,
        )
        return replies.kept("outbox", await self.outbox.accept(submission)), True

    def close(self) -> None:
        self.clear.close()
