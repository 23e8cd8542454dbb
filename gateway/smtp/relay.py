"""The gateway's listener for the agents of its domain: TLS with client certificates, and a queue that keeps the mail.

A submission's ID travels as ENVID (RFC 3461 §4.4): an agent that lost the 250 repeats the submission, and the queue,
which knows the ID, keeps it once; its recipients are not judged again. The ENVID that the user herself gave travels as
XENVID, a parameter that only this port offers (docs/decisions/0018).
"""

from dataclasses import dataclass
from typing import Protocol

from gateway.mail.address import domain_in_dns
from gateway.mail.outgoing import NewItem
from gateway.mail.submission import check_authors
from gateway.mail.trace import Hop, protocol_name, received
from gateway.maillog import MailLog
from gateway.smtp import replies
from gateway.smtp.auth import Logins, check_user, external
from gateway.smtp.checked_header import CheckedHeader
from gateway.smtp.commands import XENVID
from gateway.smtp.connection import Shared
from gateway.smtp.content import ContentSink
from gateway.smtp.daily import DailyRecipients, Keeper
from gateway.smtp.domains import NameSource
from gateway.smtp.limits import Client, ClientTable, ConnectionLimits, FailedLogins, MemoryBudget, MemoryShare
from gateway.smtp.listening import Listeners
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.settings import RelaySettings
from gateway.smtp.submitting import Content, SubmittingDialogue
from gateway.smtp.transaction import SubmittedTransaction
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.tls import relay_server_context, renew_context
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure
from p2pcore.records import Identity


class Queue(Keeper, Protocol):
    """The gateway's outgoing mail: gateway.outbound.queue. Each call may raise Failure."""

    async def knows(self, submitter: str, submission_id: str) -> bool:
        """Return whether `accept` has kept this submission of hers."""
        ...

    async def accept(self, item: NewItem) -> bool:
        """Return once `item` is durable; False: its submitter's submission of this ID was known. Raises OSError."""
        ...


@dataclass(frozen=True, slots=True)
class Relaying:
    """What all sessions need."""

    settings: RelaySettings
    queue: Queue
    names: NameSource
    trust: Trust
    clock: Clock
    recipients: DailyRecipients | None


class RelayServer:
    """Takes mail from the agents of our domain; `identity` is the gateway's own, which they know by its digest."""

    def __init__(
        self,
        settings: RelaySettings,
        queue: Queue,
        names: NameSource,
        trust: Trust,
        identity: Identity,
        clock: Clock,
        log: MailLog | None = None,
    ) -> None:
        """Raises ValueError where a network in `settings` does not parse, CertificateRefused."""
        log = log or MailLog()
        self._settings = settings
        self._tls = relay_server_context(identity)
        self._listeners = Listeners("relay", log, settings.limits.stop_grace)
        self.memory = MemoryBudget(settings.limits.memory)
        limits = ConnectionLimits(settings.limits, clock)
        self._shared = Shared(settings, ClientTable(settings), limits, None, log, self._listeners.connections)
        self._logins = Logins({"EXTERNAL": external(trust, clock)}, FailedLogins(settings.limits, clock))
        daily = settings.recipients_per_day
        recipients = DailyRecipients(daily, queue, clock) if daily else None
        self._relaying = Relaying(settings, queue, names, trust, clock, recipients)

    async def start(self) -> None:
        """Listen on every endpoint, or on none. Raises OSError, Failure (the queue)."""
        if self._relaying.recipients is not None:
            await self._relaying.recipients.restore()
        await self._listeners.open(self._session, (), self._settings.listen, self._tls)

    def _session(self) -> "RelaySession":
        return RelaySession(self._shared, self._logins, self.memory, self._relaying)

    def renew(self, identity: Identity) -> None:
        """Show agents the certificate of `identity`, the gateway's own, renewed. Raises CertificateRefused."""
        renew_context(self._tls, identity)

    @property
    def listeners(self) -> list[Endpoint]:
        """Where the server listens, with the port numbers that the system chose for port 0."""
        return self._listeners.endpoints

    async def stop(self) -> None:
        """Take no more connections, let open transactions end within `stop_grace`, then cut off the rest."""
        await self._listeners.stop()


class RelaySession(SubmittingDialogue):
    """One connection from an agent."""

    relayed = True

    def __init__(self, shared: Shared, logins: Logins, memory: MemoryBudget, relaying: Relaying) -> None:
        super().__init__(shared, logins, memory)
        self._relaying = relaying

    def extensions(self) -> list[str]:
        return [*super().extensions(), XENVID]

    def check_user(self, user: Certificate) -> None:
        check_user(user, self._relaying.trust, self._relaying.clock())  # revoked perhaps since it logged in

    def paced(self, user: Certificate) -> Client:
        # agents share addresses, and one agent has several
        return Client(
            self.client.address,
            f"user {user.primary_address}",
            is_loopback=self.client.is_loopback,
            is_trusted=False,
            is_unlimited=self.client.is_unlimited,
        )

    async def check_recipient(self, transaction: SubmittedTransaction, forward_path: str) -> None:
        domain = forward_path.rpartition("@")[2]
        if domain_in_dns(domain) != self._relaying.names.domain:
            return
        try:
            await self._relaying.names.recipient(forward_path)
        except Failure:
            if not await self._is_known(transaction):
                raise

    async def _is_known(self, transaction: SubmittedTransaction) -> bool:
        """Return whether this repeats a submission that is queued: its recipients were judged then, and have the mail.

        A refusal now would make the agent report as failed what this gateway delivers.
        """
        submitter, submission_id = transaction.user.primary_address, transaction.envelope_id
        return bool(submission_id) and await self._relaying.queue.knows(submitter, submission_id)

    async def check_ready(self, transaction: SubmittedTransaction) -> None:
        # only here: an agent that asks about addresses has no submission yet
        if not transaction.envelope_id:
            raise Refusal(replies.NEEDS_SUBMISSION_ID)
        if self._relaying.recipients is not None:
            await self._relaying.recipients.check(
                transaction.user.primary_address, transaction.envelope_id, len(transaction.recipients)
            )

    def content(self, transaction: SubmittedTransaction, memory: MemoryShare) -> Content:
        def check(header: bytes) -> bytes:
            check_authors(header, transaction.user.addresses)
            return header

        sealed = ContentSink(self._relaying.settings.temporary_directory, memory)
        return _ForQueue(CheckedHeader(check), sealed, transaction, self._relaying, self._trace(transaction), memory)

    def _trace(self, transaction: SubmittedTransaction) -> bytes:
        """Return the Received field of this hop (RFC 5321 §4.4)."""
        hop = Hop(
            helo=self.helo,
            client_name="",
            client_address=self.client.address,
            host=self._relaying.settings.hostname,
            protocol=protocol_name(extended=True, tls=True, authenticated=True, smtputf8=transaction.smtputf8),
            identifier=transaction.identifier,
            time=self._relaying.clock(),
            forward_path=transaction.envelope().single_forward_path,
            cipher=self.cipher[1] if self.cipher else "",
        )
        return received(hop).encode()


@dataclass(slots=True)
class _ForQueue:
    """A content on its way into the queue; `refused` is what its header is refused with, if it is new there."""

    header: CheckedHeader
    sealed: ContentSink
    transaction: SubmittedTransaction
    relaying: Relaying
    trace: bytes
    memory: MemoryShare
    refused: Refusal | None = None

    async def add(self, piece: bytes) -> None:
        if self.refused is None:
            self.memory.take(len(piece))  # a header section is held until it is complete
            try:
                passing = self.header.feed(piece)
            except Refusal as refusal:
                self.refused = refusal
            else:
                self.memory.give_back(len(passing))
                await self.sealed.add(passing)

    async def keep(self) -> tuple[Reply, bool]:
        transaction = self.transaction
        if self.refused is None:
            try:
                passing = self.header.finish()
                self.memory.give_back(len(passing))
                await self.sealed.add(passing)
            except Refusal as refusal:
                self.refused = refusal
        if self.refused is not None:
            # What is queued already was judged by the certificate of that time: a refusal now would be a false report
            if not await self.relaying.queue.knows(transaction.user.primary_address, transaction.envelope_id):
                raise self.refused
            return replies.kept("queue", transaction.identifier), False
        item = NewItem(
            submission_id=transaction.envelope_id,
            submitter=transaction.user.primary_address,
            reverse_path=transaction.reverse_path,
            recipients=tuple(transaction.recipients.values()),
            content=await self.sealed.finish(),
            body=transaction.body,
            smtputf8=transaction.smtputf8,
            trace=self.trace,
            ret=transaction.ret,
            envelope_id=transaction.original_envelope_id,
        )
        new = await (self.relaying.recipients or self.relaying.queue).accept(item)
        return replies.kept("queue", transaction.identifier), new

    def close(self) -> None:
        self.sealed.close()
