"""A session that takes mail: the life of its transaction, and contents read to their end whatever happens to them.

A role says where a content goes (`open_content`) and has it kept (`keep`); `conclude` is the one place that answers a
complete content.
"""

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, Protocol, TypeVar

from gateway.smtp import params, replies
from gateway.smtp.command_loop import Command
from gateway.smtp.connection import Shared
from gateway.smtp.data import ContentScanner
from gateway.smtp.dialogue import SmtpDialogue
from gateway.smtp.reader import ClientGone
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.transaction import Transaction
from p2pcore.errors import Failure

T = TypeVar("T", bound=Transaction)


class Sink(Protocol):
    """Where a content goes."""

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal, OSError."""
        ...

    def buffer(self, received: int) -> int:
        """Return how many octets of a content that is `received` long so far may wait to be added."""
        ...

    async def keep(self) -> Reply:
        """Have the complete content kept, durably, log it, and return the reply that says so.

        Raises Refusal, Failure, TimeoutError, OSError; nothing is kept then.
        """
        ...

    def close(self) -> None:
        """Free everything; may be called again."""
        ...


class MailDialogue(SmtpDialogue, Generic[T]):
    """The part of MAIL and DATA that every role has; `T` is its transaction."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._transaction: T | None = None
        self._receiving: T | None = None
        self._received = 0
        self._end_logged = False
        self._logged: tuple[str, Reply, str] | None = None  # transaction, reply and detail of the last refusal

    @abstractmethod
    def open_content(self, transaction: T) -> Sink:
        """Return what takes the content of `transaction`; whoever calls this closes it.

        Raises Refusal: where there is no room for even a small message, before the client sends one.
        """

    def extensions(self) -> list[str]:
        return [*super().extensions(), "DSN"]

    @property
    def in_transaction(self) -> bool:
        return self._transaction is not None or self._receiving is not None

    def forget_transaction(self) -> None:
        self._transaction = None

    def refuse(self, refusal: Refusal) -> None:
        """Answer and log a refused command; who only mistypes is not worth a line, nor what was logged last."""
        super().refuse(refusal)
        transaction = self._transaction
        line = (transaction.identifier if transaction else "", refusal.reply, refusal.detail)
        if refusal.reply.code == 503 or line == self._logged:
            return
        self._logged = line
        self._shared.log.refused(
            reply=str(refusal.reply),
            client=self.client.address,
            id=line[0],
            reverse_path=transaction.reverse_path if transaction else "",
            detail=refusal.detail,
        )

    def check_size(self, declared: int) -> None:
        """Raises Refusal where SIZE= says too much already (RFC 1870 §6.1)."""
        limit = self._shared.settings.max_message_size
        if declared > limit:
            raise Refusal(replies.too_large(limit), f"SIZE={declared}")

    def check_content(self) -> T:
        """Return the transaction whose content may come now. Raises Refusal."""
        if self._transaction is None:
            raise Refusal(replies.NEED_MAIL)
        if not self._transaction.forward_paths:
            raise Refusal(replies.NEED_RECIPIENT)
        return self._transaction

    async def check_ready(self, transaction: T) -> None:
        """Raises Refusal where a content needs something besides a recipient."""

    async def do_data(self, argument: str) -> None:
        try:
            await self._data(argument)
        except Refusal:
            # Nothing may follow DATA in its group (RFC 2920 §3.1): what does is content, and never read as commands
            self._ending = self._ending or self._input.pending > 0
            raise

    async def _data(self, argument: str) -> None:
        if argument:
            raise Refusal(replies.BAD_ARGUMENT)
        transaction = self.check_content()
        await self.check_ready(transaction)
        self._receiving, self._transaction = transaction, None
        try:
            content = self.open_content(transaction)
            try:
                self.reply(replies.START_CONTENT)
                await self.flush()
                refusal = await self._receive(content)
                await self.conclude(transaction, content, refusal)
            finally:
                content.close()
        except (ClientGone, ConnectionError):
            self.unfinished("client gone")
            raise
        finally:
            self._receiving = None

    async def conclude(self, transaction: T, content: Sink, refusal: Refusal | None) -> None:
        """Have a complete content kept unless it is refused already, and answer: the one place that can say 250."""
        try:
            await self.flush()
            self.disarm()
            if refusal is not None:
                raise refusal
            reply = await content.keep()
        except Refusal as reason:
            self.answer_content(transaction, reason.reply, reason.detail)
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
            self.note_mail()
            self.reply(reply)

    async def _receive(self, sink: Sink) -> Refusal | None:
        """Read to the end of the content; return why it is refused, if so: until then replies would be out of step."""
        limits = self._shared.settings.limits
        scanner = ContentScanner(self._shared.settings.max_message_size)
        until = self.loop.time() + limits.content_timeout / 1_000
        refusal: Refusal | None = None
        self._received = 0
        self._input.high_water = sink.buffer(0)
        try:
            while not scanner.ended:
                self.arm_for_content(until)
                piece, rest = scanner.feed(await self._input.some(params.CONTENT_CHUNK))
                self._received = scanner.size
                if refusal is None:
                    refusal = await self.pass_on(piece, scanner.fault, sink)
                if refusal is None:
                    self._input.high_water = sink.buffer(scanner.size)
            self._input.push_back(rest)
        finally:
            self._input.high_water = params.COMMAND_BUFFER
            if not scanner.ended:
                self._ending = True  # what would follow is content, and must never be read as commands
        return refusal

    def arm_for_content(self, until: float) -> None:
        """Give the client `data_timeout` for its next octets, but not beyond `until` (the loop's time)."""
        left = until - self.loop.time()
        self.arm(max(1, min(self._shared.settings.limits.data_timeout, int(left * 1_000))))

    async def pass_on(self, piece: bytes, fault: Reply | None, sink: Sink) -> Refusal | None:
        """Give a piece of content to `sink`; return why the rest need not be kept, if so. Raises nothing."""
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

    COMMANDS: ClassVar[Mapping[str, Command]] = {**SmtpDialogue.COMMANDS, "DATA": do_data}
