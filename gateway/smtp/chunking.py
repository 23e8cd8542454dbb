"""BDAT: a content in chunks of a stated size, as an alternative to DATA (RFC 3030 §2).

A chunk is read to its end whatever its answer will be, since it may be pipelined and none of it may be read as a
command. What refuses one chunk ends the transaction; the chunks that follow it in the pipeline are read, dropped and
answered alike, so that a client that looks at the last answer only does not take a temporary failure for a final one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Generic

from gateway.smtp import params, replies
from gateway.smtp.command_loop import Command
from gateway.smtp.commands import parse_bdat
from gateway.smtp.connection import Shared
from gateway.smtp.data import ChunkScanner
from gateway.smtp.mail_dialogue import MailDialogue, Sink, T
from gateway.smtp.reader import ClientGone
from gateway.smtp.replies import Refusal, Reply


@dataclass(slots=True)
class _Chunks(Generic[T]):
    """A content under way; `until` is the loop's time at which all of it must be here."""

    transaction: T
    content: Sink
    scanner: ChunkScanner
    until: float
    refusal: Refusal | None = None


class ChunkedDialogue(MailDialogue[T]):
    """A session that takes contents in chunks as well. `completes_last_line`: a content ends in CRLF at any rate."""

    completes_last_line: ClassVar[bool] = False

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared)
        self._chunks: _Chunks[T] | None = None
        self._failed: Reply | None = None  # the answer to a chunk that ended a transaction, until another begins

    def extensions(self) -> list[str]:
        return [*super().extensions(), "CHUNKING"]

    def patience(self) -> int:
        if self._chunks is None:
            return super().patience()
        left = int((self._chunks.until - self.loop.time()) * 1_000)
        return max(1, min(self._shared.settings.limits.data_timeout, left))

    def forget_transaction(self) -> None:
        super().forget_transaction()
        self._failed = None
        self._end_chunks()

    def check_content(self) -> T:
        if self._chunks is not None:
            raise Refusal(replies.CHUNKS_BEGUN)
        transaction = super().check_content()
        self._failed = None
        return transaction

    async def do_bdat(self, argument: str) -> None:
        try:
            size, last = parse_bdat(argument)
        except Refusal:
            self._ending = True  # how much content follows is not known, and none of it must be read as commands
            raise
        if self._chunks is None:
            await self._first_chunk(size, last=last)
        else:
            await self._next_chunk(self._chunks, size, last=last)

    async def _first_chunk(self, size: int, *, last: bool) -> None:
        until = self.loop.time() + self._shared.settings.limits.content_timeout / 1_000
        failed = self._failed
        try:
            chunks = await self._begin(until)
        except Refusal as refusal:
            if size > self._shared.settings.max_message_size:
                self._ending = True  # reading all of that for nothing would serve nobody
            else:
                await self._read(size, until, None)
            if failed is not None and self._transaction is None:
                self.reply(failed, counted=False)
            else:
                self.refuse(refusal)
        except BaseException:
            self._ending = True  # the chunk was not read, and must never be read as commands
            raise
        else:
            await self._next_chunk(chunks, size, last=last)
        if last:
            self._failed = None

    async def _begin(self, until: float) -> _Chunks[T]:
        """Open the content of the transaction that has come to it. Raises Refusal."""
        if not self.extended:
            raise Refusal(replies.SEND_EHLO_FIRST)
        transaction = self.check_content()
        await self.check_ready(transaction)
        self._transaction = None
        try:
            content = self.open_content(transaction)
        except Refusal as refusal:
            self._failed = refusal.reply
            raise
        self._receiving, self._received = transaction, 0
        scanner = ChunkScanner(self._shared.settings.max_message_size)
        self._chunks = _Chunks(transaction, content, scanner, until)
        return self._chunks

    async def _next_chunk(self, chunks: _Chunks[T], size: int, *, last: bool) -> None:
        is_going_on = False
        try:
            await self._read(size, chunks.until, chunks)
            if last:
                await self._finish(chunks)
            elif chunks.refusal is not None:
                self._failed = chunks.refusal.reply
                self.answer_content(chunks.transaction, chunks.refusal.reply, chunks.refusal.detail)
            else:
                self.reply(replies.chunk_taken(size))
                is_going_on = True
        except (ClientGone, ConnectionError):
            self.unfinished("client gone")
            raise
        finally:
            if not is_going_on:
                self._end_chunks()

    async def _finish(self, chunks: _Chunks[T]) -> None:
        scanner = chunks.scanner
        scanner.finish()
        if chunks.refusal is None and (scanner.fault or (self.completes_last_line and not scanner.ends_line)):
            chunks.refusal = await self.pass_on(b"\r\n", scanner.fault, chunks.content)
        await self.conclude(chunks.transaction, chunks.content, chunks.refusal)

    async def _read(self, size: int, until: float, chunks: _Chunks[T] | None) -> None:
        """Read a chunk of `size` octets to its end, into `chunks` as far as that is not refused. Raises ClientGone."""
        left = size
        self._input.high_water = params.CONTENT_CHUNK
        try:
            while left:
                if not self._input.pending:
                    await self.flush()  # RFC 2920 §3.2: the client may wait for what it has asked before
                self.arm_for_content(until)
                octets = await self._input.some(min(left, params.CONTENT_CHUNK))
                left -= len(octets)
                if chunks is not None:
                    await self._take(octets, chunks)
        finally:
            self._input.high_water = params.COMMAND_BUFFER
            if left:
                self._ending = True  # the rest of the chunk must never be read as commands

    async def _take(self, octets: bytes, chunks: _Chunks[T]) -> None:
        piece = chunks.scanner.feed(octets)
        self._received = chunks.scanner.size
        if chunks.refusal is None:
            chunks.refusal = await self.pass_on(piece, chunks.scanner.fault, chunks.content)
        if chunks.refusal is None:
            self._input.high_water = chunks.content.buffer(chunks.scanner.size)

    def _end_chunks(self) -> None:
        if self._chunks is not None:
            self._chunks.content.close()
            self._chunks = self._receiving = None

    COMMANDS: ClassVar[Mapping[str, Command]] = {**MailDialogue.COMMANDS, "BDAT": do_bdat}
