"""An inbound session: MAIL, RCPT and DATA for the mail that other domains send to ours (RFC 5321 §3.3).

`_take_content` is the one place that says 250 after the dot, and what it says there was returned by the network.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from gateway.smtp import params, replies
from gateway.smtp.acceptance import Acceptor, Arrival, Injector
from gateway.smtp.commands import parse_mail, parse_rcpt
from gateway.smtp.connection import Command, Shared, Template
from gateway.smtp.content import ContentSink
from gateway.smtp.data import HeaderScanner
from gateway.smtp.limits import MemoryBudget
from gateway.smtp.mail_dialogue import MailDialogue
from gateway.smtp.reader import ClientGone
from gateway.smtp.replies import Refusal
from gateway.smtp.transaction import InboundTransaction
from p2pcore import names
from p2pcore import params as core_params
from p2pcore.errors import Failure
from p2pcore.mail.names import Recipients
from p2pcore.mail.send import Stored

__all__ = ["Injector", "NameSource", "SmtpSession", "Transactions"]


class NameSource(Protocol):
    """Tells whom an address means: p2pcore.mail.names.DomainNames."""

    domain: str

    async def recipient(self, address: str) -> Recipients:
        """Raises NoSuchAddress, NotOurDomain, CannotKnow, InboxFull, InboxDormant and other Failures."""
        ...


@dataclass(frozen=True, slots=True)
class Transactions:
    """What all sessions need to take mail."""

    names: NameSource
    acceptor: Acceptor
    memory: MemoryBudget
    temporary_directory: Path


@dataclass(frozen=True, slots=True)
class _Scanned:
    """A content whose header is looked at as it passes."""

    header: HeaderScanner
    content: ContentSink

    async def add(self, piece: bytes) -> None:
        self.header.feed(piece)
        await self.content.add(piece)

    def close(self) -> None:
        self.content.close()


class SmtpSession(MailDialogue[InboundTransaction]):
    """One connection from an outside MTA."""

    def __init__(self, template: Template, shared: Shared, transactions: Transactions) -> None:
        super().__init__(template, shared)
        self._transactions = transactions

    async def do_mail(self, argument: str) -> None:
        if not self.helo:
            raise Refusal(replies.SEND_HELO_FIRST)
        if self._transaction is not None:
            raise Refusal(replies.NESTED_MAIL)
        command = parse_mail(argument, extended=self.extended)
        self.check_size(command.size)
        self._shared.limits.message(self.client)
        self._transaction = InboundTransaction(command.reverse_path, command.smtputf8, command.body, command.size)
        self.reply(replies.SENDER_OK)

    async def do_rcpt(self, argument: str) -> None:
        transaction = self._transaction
        if transaction is None:
            raise Refusal(replies.NEED_MAIL)
        mailbox = parse_rcpt(
            argument, extended=self.extended, smtputf8=transaction.smtputf8, domain=self._transactions.names.domain
        )
        forward_path = str(mailbox)
        if len(transaction.forward_paths) >= self._shared.settings.limits.recipients:
            raise Refusal(replies.TOO_MANY_RECIPIENTS)
        try:
            found = await self._transactions.names.recipient(forward_path)
        except Failure as failure:
            raise Refusal(replies.at_recipient(failure), f"<{forward_path}> {failure}") from failure
        if not found.certificates:
            raise Refusal(replies.INTERNAL, f"<{forward_path}> leads to nobody")
        inboxes = {names.inbox_key(one.primary_address): (one, forward_path) for one in found.certificates}
        if len(transaction.recipients.keys() | inboxes.keys()) > core_params.MAX_DELETE_RIGHTS:
            raise Refusal(replies.TOO_MANY_RECIPIENTS, "aliases lead to too many users")
        transaction.forward_paths[forward_path] = None
        for inbox, recipient in inboxes.items():
            transaction.recipients.setdefault(inbox, recipient)
        self.reply(replies.RECIPIENT_OK)

    async def do_data(self, argument: str) -> None:
        self._receiving, self._transaction = self.check_data(argument), None
        share = self._transactions.memory.share()
        content = ContentSink(
            self._transactions.temporary_directory,
            share,
            keep_clear=self._transactions.acceptor.needs_clear(self.client),
        )
        try:
            share.take(params.CONTENT_CHUNK)  # refused before 354, where there is no room for even a small message
            self.reply(replies.START_CONTENT)
            await self.flush()
            await self._take_content(self._receiving, content)
        except (ClientGone, ConnectionError):
            self.unfinished("client gone")
            raise
        finally:
            content.close()
            self._receiving = None

    async def _take_content(self, transaction: InboundTransaction, content: ContentSink) -> None:
        """Read the content, have it stored, and answer: the one place that can say 250."""
        header = HeaderScanner()
        try:
            await self.receive(_Scanned(header, content))
            await self.flush()
            stored = await self._transactions.acceptor.accept(self._arrival(transaction), header, content)
        except Refusal as refusal:
            self.answer_content(transaction, refusal.reply, refusal.detail)
        except Failure as failure:
            self.answer_content(transaction, replies.at_content(failure), f"{type(failure).__name__}: {failure}")
        except TimeoutError:
            self.answer_content(transaction, replies.TOO_SLOW)
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            self._shared.log.failed("smtp content", error, id=transaction.identifier)
            self.answer_content(transaction, replies.NO_MEMORY, repr(error))
        else:
            self._log_stored(transaction, stored)
            self.reply(replies.stored(stored.nodes, stored.k, transaction.identifier))

    def _arrival(self, transaction: InboundTransaction) -> Arrival:
        return Arrival(
            identifier=transaction.identifier,
            client=self.client,
            helo=self.helo,
            extended=self.extended,
            cipher=self.cipher,
            envelope=transaction.envelope(),
            recipients=tuple(transaction.recipients.values()),
        )

    def _log_stored(self, transaction: InboundTransaction, stored: Stored) -> None:
        self._shared.log.received(
            id=transaction.identifier,
            client=self.client.address,
            reverse_path=transaction.reverse_path,
            recipients=len(transaction.recipients),
            size=self._received,
            ms=transaction.milliseconds(),
            nodes=stored.nodes,
            k=stored.k,
        )

    COMMANDS: ClassVar[Mapping[str, Command]] = {
        **MailDialogue.COMMANDS,
        "MAIL": do_mail,
        "RCPT": do_rcpt,
        "DATA": do_data,
    }
