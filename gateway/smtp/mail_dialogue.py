"""A session that takes mail: the life of its transaction, and contents read to their end whatever happens to them."""

from typing import Generic, Protocol, TypeVar

from gateway.smtp import params, replies
from gateway.smtp.connection import Shared, Template
from gateway.smtp.data import ContentScanner
from gateway.smtp.dialogue import SmtpDialogue
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.transaction import Transaction

T = TypeVar("T", bound=Transaction)


class Sink(Protocol):
    """Where a content goes."""

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal, OSError."""
        ...

    def close(self) -> None:
        """Free everything; may be called again."""
        ...


class MailDialogue(SmtpDialogue, Generic[T]):
    """The part of MAIL and DATA that every role has; `T` is its transaction."""

    def __init__(self, template: Template, shared: Shared) -> None:
        super().__init__(template, shared)
        self._transaction: T | None = None
        self._receiving: T | None = None
        self._received = 0
        self._end_logged = False

    @property
    def in_transaction(self) -> bool:
        return self._transaction is not None or self._receiving is not None

    def forget_transaction(self) -> None:
        self._transaction = None

    def refuse(self, refusal: Refusal) -> None:
        """Answer and log a refused command; who only mistypes is not worth a line."""
        super().refuse(refusal)
        transaction = self._transaction
        if refusal.reply.code != 503:
            self._shared.log.refused(
                reply=str(refusal.reply),
                client=self.client.address,
                id=transaction.identifier if transaction else "",
                reverse_path=transaction.reverse_path if transaction else "",
                detail=refusal.detail,
            )

    def check_size(self, declared: int) -> None:
        """Raises Refusal where SIZE= says too much already (RFC 1870 §6.1)."""
        limit = self._shared.settings.max_message_size
        if declared > limit:
            raise Refusal(replies.too_large(limit), f"SIZE={declared}")

    def check_data(self, argument: str) -> T:
        """Return the transaction whose content may come now. Raises Refusal."""
        if argument:
            raise Refusal(replies.BAD_ARGUMENT)
        if self._transaction is None:
            raise Refusal(replies.NEED_MAIL)
        if not self._transaction.forward_paths:
            raise Refusal(replies.NEED_RECIPIENT)
        return self._transaction

    async def receive(self, sink: Sink) -> None:
        """Read to the end of the content. Raises Refusal, but only there: until then replies would be out of step."""
        limits = self._shared.settings.limits
        scanner = ContentScanner(self._shared.settings.max_message_size)
        until = self.loop.time() + limits.content_timeout / 1_000
        refusal: Refusal | None = None
        self._received = 0
        self._input.high_water = params.CONTENT_BUFFER
        try:
            while not scanner.ended:
                left = until - self.loop.time()
                self.arm(max(1, min(limits.data_timeout, int(left * 1_000))))
                piece, rest = scanner.feed(await self._input.some(params.CONTENT_CHUNK))
                self._received = scanner.size
                if refusal is None:
                    refusal = await self._keep(piece, scanner.fault, sink)
            self._input.push_back(rest)
        finally:
            self._input.high_water = params.COMMAND_BUFFER
            if not scanner.ended:
                self._ending = True  # what would follow is content, and must never be read as commands
        self.disarm()
        if refusal is not None:
            raise refusal

    async def _keep(self, piece: bytes, fault: Reply | None, sink: Sink) -> Refusal | None:
        """Keep a piece of content; return why the rest need not be kept, if so. Raises nothing."""
        if fault is not None:
            refusal = Refusal(fault)
        else:
            try:
                await sink.add(piece)
                return None
            except Refusal as reason:
                refusal = reason
            except Exception as error:  # noqa: BLE001 - a full disk, or a defect: the content is read to its end first
                self._shared.log.failed("smtp content", error, client=self.client.address)
                refusal = Refusal(replies.NO_MEMORY if isinstance(error, OSError) else replies.INTERNAL)
        sink.close()
        return refusal

    def answer_content(self, transaction: T, reply: Reply, detail: str = "") -> None:
        """Refuse a content after its end, and log it."""
        self.reply(reply)
        self._shared.log.refused(
            reply=str(reply),
            client=self.client.address,
            id=transaction.identifier,
            reverse_path=transaction.reverse_path,
            recipients=transaction.recipient_count,
            size=self._received,
            ms=transaction.milliseconds(),
            detail=detail,
        )

    def unfinished(self, reason: str) -> None:
        open_now = self._receiving or self._transaction
        if open_now is not None and not self._end_logged:
            self._end_logged = True
            self._shared.log.unfinished(
                client=self.client.address,
                reason=reason,
                id=open_now.identifier,
                reverse_path=open_now.reverse_path,
                size=self._received if self._receiving else 0,
            )
