"""What the two listeners for our own users share: MAIL, RCPT and contents of somebody who has logged in (RFC 6409).

A role says whom it takes as recipients and who keeps their content.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

from gateway.mail.submission import is_among
from gateway.smtp import replies
from gateway.smtp.auth import AuthDialogue, Logins
from gateway.smtp.command_loop import Command
from gateway.smtp.commands import parse_mail, parse_submitted_rcpt
from gateway.smtp.connection import Shared
from gateway.smtp.limits import Client, MemoryBudget, MemoryShare
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.transaction import SubmittedTransaction
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure


class Content(Protocol):
    """Takes one content and has it kept."""

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal, OSError."""
        ...

    async def keep(self) -> tuple[Reply, bool]:
        """Return the 250, and whether the message is new here, once it is durably kept.

        Raises Refusal, Failure, OSError; nothing is kept then.
        """
        ...

    def close(self) -> None:
        """Free everything; may be called again."""
        ...


class SubmittingDialogue(AuthDialogue):
    """A session of one of our users; `_transaction.user` is who she was at MAIL. `relayed`: from her agent."""

    relayed: ClassVar[bool] = False
    completes_last_line = True  # whoever keeps a submission passes it on after DATA one day

    def __init__(self, shared: Shared, logins: Logins, memory: MemoryBudget) -> None:
        super().__init__(shared, logins)
        self._memory = memory

    @abstractmethod
    async def check_recipient(self, transaction: SubmittedTransaction, forward_path: str) -> None:
        """Return if mail may go there, as far as can be known now. Raises Failure."""

    @abstractmethod
    def content(self, transaction: SubmittedTransaction, memory: MemoryShare) -> Content:
        """Return what takes the content of `transaction`; it closes `memory` when closed."""

    def check_user(self, user: Certificate) -> None:
        """Raises CertificateRefused where a user who has logged in counts no more."""

    def paced(self, user: Certificate) -> Client:
        """Return whom the limit on messages counts."""
        return self.client

    def do_mail(self, argument: str) -> None:
        if not self.helo:
            raise Refusal(replies.SEND_HELO_FIRST)
        if self.in_transaction:
            raise Refusal(replies.NESTED_MAIL)
        user = self._known_user()
        command = parse_mail(argument, extended=self.extended, submitted=True, relayed=self.relayed)
        self.check_size(command.size)
        if command.reverse_path and not is_among(command.reverse_path, user.addresses):
            raise Refusal(replies.NOT_YOUR_REVERSE_PATH, f"{user.name} as <{command.reverse_path}>")
        self._shared.limits.message(self.paced(user))
        self._transaction = SubmittedTransaction(
            command.reverse_path,
            command.smtputf8,
            command.body,
            command.size,
            user=user,
            ret=command.ret,
            envelope_id=command.envelope_id,
            original_envelope_id=command.original_envelope_id,
        )
        self.reply(replies.SENDER_OK)

    async def do_rcpt(self, argument: str) -> None:
        transaction = self._transaction
        if transaction is None:
            raise Refusal(replies.NEED_MAIL)
        command = parse_submitted_rcpt(
            argument, extended=self.extended, smtputf8=transaction.smtputf8, domain=transaction.user.domain
        )
        forward_path = str(command.mailbox)
        if forward_path in transaction.forward_paths:
            self.reply(replies.RECIPIENT_OK)  # once is enough, with what was asked for first
            return
        if len(transaction.forward_paths) >= self._shared.settings.limits.recipients:
            raise Refusal(replies.TOO_MANY_RECIPIENTS)
        self.disarm()  # a network or a gateway may have to be asked
        try:
            await self.check_recipient(transaction, forward_path)
        except Failure as failure:
            raise Refusal(replies.at_recipient(failure), f"<{forward_path}> {failure}") from failure
        transaction.forward_paths[forward_path] = None
        transaction.recipients[forward_path] = command.recipient
        self.reply(replies.RECIPIENT_OK)

    def open_content(self, transaction: SubmittedTransaction) -> "_Submitted":
        share = self._memory.share()
        content = self.content(transaction, share)
        try:
            share.open_buffer()
        except Refusal:
            content.close()
            raise
        return _Submitted(self, transaction, content, share)

    def log_submitted(self, transaction: SubmittedTransaction, *, new: bool) -> None:
        """Log a message that is kept; `new`: it was not known before."""
        self._shared.log.submitted(
            id=transaction.identifier,
            client=self.client.address,
            user=transaction.user.name,
            reverse_path=transaction.reverse_path,
            recipients=transaction.recipient_count,
            size=self._received,
            ms=transaction.milliseconds(),
            new=new,
        )

    def _known_user(self) -> Certificate:
        """Return who has logged in and still counts. Raises Refusal."""
        if self.user is None:
            raise Refusal(replies.AUTH_REQUIRED)
        try:
            self.check_user(self.user)
        except Failure as failure:
            self.user = None
            raise Refusal(replies.AUTH_REQUIRED, str(failure)) from failure
        return self.user

    COMMANDS: ClassVar[Mapping[str, Command]] = {
        **AuthDialogue.COMMANDS,
        "MAIL": do_mail,
        "RCPT": do_rcpt,
    }


@dataclass(frozen=True, slots=True)
class _Submitted:
    """A role's content, whose keeping is logged."""

    session: SubmittingDialogue
    transaction: SubmittedTransaction
    content: Content
    memory: MemoryShare

    async def add(self, piece: bytes) -> None:
        await self.content.add(piece)

    def buffer(self, received: int) -> int:
        return self.memory.buffer(received)

    async def keep(self) -> Reply:
        reply, new = await self.content.keep()
        self.session.log_submitted(self.transaction, new=new)
        return reply

    def close(self) -> None:
        self.content.close()
