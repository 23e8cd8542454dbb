"""An inbound session: MAIL, RCPT and contents of the mail that other domains send to ours (RFC 5321 §3.3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from msgspec import Struct

from gateway.smtp import replies
from gateway.smtp.acceptance import Arrival
from gateway.smtp.chunking import ChunkedDialogue
from gateway.smtp.command_loop import Command, Rest
from gateway.smtp.commands import RcptCommand, parse_mail, parse_rcpt
from gateway.smtp.connection import Shared
from gateway.smtp.content import ContentSink
from gateway.smtp.domains import ServedDomain, ServedDomains
from gateway.smtp.examined import Examined
from gateway.smtp.limits import MemoryBudget, MemoryShare
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.transaction import InboundTransaction
from p2pcore import params as core_params
from p2pcore.errors import Failure, NoSuchAddress
from p2pcore.mail.names import Recipients
from p2pcore.mail.send import Stored


@dataclass(frozen=True, slots=True)
class Transactions:
    """What all sessions need to take mail."""

    domains: ServedDomains
    memory: MemoryBudget
    temporary_directory: Path


class SmtpSession(ChunkedDialogue[InboundTransaction]):
    """One connection from an outside MTA."""

    def __init__(self, shared: Shared, transactions: Transactions) -> None:
        super().__init__(shared)
        self._transactions = transactions

    def do_mail(self, argument: str) -> None:
        if not self.helo:
            raise Refusal(replies.SEND_HELO_FIRST)
        if self.in_transaction:
            raise Refusal(replies.NESTED_MAIL)
        command = parse_mail(argument, extended=self.extended)
        self.check_size(command.size)
        self._shared.limits.message(self.client)
        self._transaction = InboundTransaction(
            command.reverse_path, command.smtputf8, command.body, command.size, envelope_id=command.envelope_id
        )
        self.reply(replies.SENDER_OK)

    def do_rcpt(self, argument: str) -> Rest | None:
        transaction = self._transaction
        if transaction is None:
            raise Refusal(replies.NEED_MAIL)
        domains = self._transactions.domains
        domain = self._serving(transaction).names.domain
        command = parse_rcpt(argument, extended=self.extended, smtputf8=transaction.smtputf8, domain=domain)
        served = domains.of(command.mailbox.domain) or self._serving(transaction)
        if transaction.served not in (None, served):
            self.reply(replies.ANOTHER_OF_OUR_DOMAINS)  # the client does nothing wrong: no line in the log
            return None
        if len(transaction.forward_paths) >= self._shared.settings.limits.recipients:
            raise Refusal(replies.TOO_MANY_RECIPIENTS)
        self._shared.limits.guesses(self.client)
        found = served.names.known(str(command.mailbox))
        if found is None:
            return self._look_up(transaction, served, command)
        self._take_recipient(transaction, served, command, found)
        return None

    async def _look_up(self, transaction: InboundTransaction, served: ServedDomain, command: RcptCommand) -> None:
        forward_path = str(command.mailbox)
        try:
            found = await served.names.recipient(forward_path)
        except Failure as failure:
            if isinstance(failure, NoSuchAddress):
                self._shared.limits.guessed_wrong(self.client)
            raise Refusal(replies.at_recipient(failure), f"<{forward_path}> {failure}") from failure
        self._take_recipient(transaction, served, command, found)

    def _take_recipient(
        self, transaction: InboundTransaction, served: ServedDomain, command: RcptCommand, found: Recipients
    ) -> None:
        forward_path = str(command.mailbox)
        if not found.certificates:
            raise Refusal(replies.INTERNAL, f"<{forward_path}> leads to nobody")
        inboxes = {one.inbox_key: (one, forward_path) for one in found.certificates}
        if len(inboxes) > core_params.MAX_DELETE_RIGHTS:
            raise Refusal(replies.TOO_MANY_USERS, f"<{forward_path}> leads to {len(inboxes)}")
        if len(transaction.recipients.keys() | inboxes.keys()) > core_params.MAX_DELETE_RIGHTS:
            raise Refusal(replies.TOO_MANY_RECIPIENTS, "aliases lead to too many users")
        transaction.served = served
        transaction.forward_paths[forward_path] = None
        transaction.requests.setdefault(forward_path, command.recipient)
        for inbox, recipient in inboxes.items():
            transaction.recipients.setdefault(inbox, recipient)
        self.reply(replies.RECIPIENT_OK)

    def open_content(self, transaction: InboundTransaction) -> "_ForNetwork":
        share = self._transactions.memory.share()
        examined = Examined(verified=self._serving(transaction).acceptor.verifies(self.client))
        content = ContentSink(self._transactions.temporary_directory, share, examined)
        share.open_buffer()
        return _ForNetwork(self, transaction, examined, content, share)

    async def store(self, transaction: InboundTransaction, examined: Examined, content: ContentSink) -> Reply:
        """Have a complete content stored, log it, and return the 250: what it says was returned by the network.

        Raises Refusal, Failure, TimeoutError, OSError.
        """
        acceptor = self._serving(transaction).acceptor
        stored = await acceptor.accept(self._arrival(transaction), examined, content)
        self._log_stored(transaction, examined.header.message_id(), stored)
        return replies.stored(stored.nodes, stored.k, transaction.identifier)

    def _serving(self, transaction: InboundTransaction) -> ServedDomain:
        return transaction.served or self._transactions.domains.first

    def _arrival(self, transaction: InboundTransaction) -> Arrival:
        return Arrival(
            identifier=transaction.identifier,
            client=self.client,
            helo=self.helo,
            extended=self.extended,
            cipher=self.cipher,
            envelope=transaction.envelope(),
            recipients=tuple(transaction.recipients.values()),
            requests=transaction.requests,
            envelope_id=transaction.envelope_id,
        )

    def _log_stored(self, transaction: InboundTransaction, message_id: bytes, stored: Stored) -> None:
        self._shared.log.received(
            id=transaction.identifier,
            client=self.client.address,
            tls=self.cipher[0] if self.cipher else "",
            reverse_path=transaction.reverse_path,
            recipients=len(transaction.recipients),
            forward_paths=transaction.forward_paths,
            message_id=message_id,
            size=self._received,
            ms=transaction.milliseconds(),
            nodes=stored.nodes,
            k=stored.k,
        )

    COMMANDS: ClassVar[Mapping[str, Command]] = {
        **ChunkedDialogue.COMMANDS,
        "MAIL": do_mail,
        "RCPT": do_rcpt,
    }


class _ForNetwork(Struct, frozen=True):
    """A content from outside: sealed, and examined, while it arrives."""

    session: SmtpSession
    transaction: InboundTransaction
    examined: Examined
    content: ContentSink
    memory: MemoryShare

    async def add(self, piece: bytes) -> None:
        await self.content.add(piece)

    def buffer(self, received: int) -> int:
        return self.memory.buffer(received)

    async def keep(self) -> Reply:
        return await self.session.store(self.transaction, self.examined, self.content)

    def close(self) -> None:
        self.content.close()
