"""What a client has sent and nobody has taken yet: command lines and content, with flow control by octets."""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import SupportsIndex, cast

_MAX_PIECES = 64  # a client that sends octet by octet must not cost a hundred octets for each


class ClientGone(Exception):
    """The client closed its sending side or the connection broke."""


class LineTooLong(Exception):
    """A command line was longer than allowed; it has been discarded up to its end."""


class ClientInput(asyncio.StreamReader):
    """The reader under aiosmtpd's protocol, with its own buffer: what came, in the pieces that it came in.

    asyncio's limit would be one number for command lines and for content; here the client is paused at `high_water`
    octets, which grows while content arrives. One coroutine reads at a time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, high_water: int) -> None:
        super().__init__(loop=loop)
        self.high_water = high_water
        self.pending = 0  # octets received and not taken
        self._loop_here = loop
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # octets of the first piece
        self._source: asyncio.ReadTransport | None = None
        self._source_paused = False
        self._ended = False
        self._news: asyncio.Future[None] | None = None

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Take octets from `transport` from now on (again after STARTTLS)."""
        self._source = cast(asyncio.ReadTransport, transport)
        self._source_paused = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        piece = cast(bytes, data)
        self._pieces.append(piece)
        self.pending += len(piece)
        if len(self._pieces) > _MAX_PIECES:
            self._join()
        self._wake()
        if self.pending > self.high_water and self._source is not None and not self._source_paused:
            self._source.pause_reading()
            self._source_paused = True

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def set_exception(self, exc: Exception) -> None:
        self.feed_eof()

    def at_eof(self) -> bool:
        return self._ended and not self.pending

    def has_line(self) -> bool:
        """Return whether a whole command line is here already."""
        return self.pending > 0 and self._line_end(0) >= 0

    async def line(self, limit: int) -> bytes:
        """Return the next line with its LF. Raises LineTooLong (it was discarded) and ClientGone."""
        searched = 0
        while (end := self._line_end(searched)) < 0:
            searched = self.pending
            if searched > limit:
                await self._discard_line()
                raise LineTooLong
            await self._more()
        line = self._take(end + 1)
        if end >= limit:
            raise LineTooLong
        return line

    async def some(self, maximum: int) -> bytes:
        """Return at least one and at most `maximum` octets. Raises ClientGone."""
        while not self.pending:
            await self._more()
        return self._take(min(maximum, len(self._pieces[0]) - self._taken))

    def push_back(self, octets: bytes) -> None:
        """Put `octets` in front of what is here: commands that were pipelined behind the content."""
        if octets:
            if self._taken:
                self._pieces[0] = self._pieces[0][self._taken :]
                self._taken = 0
            self._pieces.appendleft(octets)
            self.pending += len(octets)

    def _line_end(self, searched: int) -> int:
        """Return how many octets precede the next LF, -1 without one; none is among the first `searched` octets."""
        if len(self._pieces) > 1:
            self._join()
        if not self._pieces:
            return -1
        found = self._pieces[0].find(b"\n", self._taken + searched)
        return found if found < 0 else found - self._taken

    def _join(self) -> None:
        self._pieces = deque((b"".join(self._pieces),))

    def _take(self, octets: int) -> bytes:
        """Return the first `octets` octets, which are in the first piece."""
        if not octets:
            return b""
        first, start = self._pieces[0], self._taken
        end = start + octets
        self.pending -= octets
        if end == len(first):
            self._pieces.popleft()
            self._taken = 0
        else:
            self._taken = end
        self._resume()
        return first[start:end]

    async def _discard_line(self) -> None:
        while (end := self._line_end(0)) < 0:
            self._take(self.pending)
            await self._more()
        self._take(end + 1)

    async def _more(self) -> None:
        """Wait until octets arrive. Raises ClientGone."""
        if self._ended:
            raise ClientGone
        self._resume()
        self._news = self._loop_here.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _resume(self) -> None:
        if self._source_paused and self._source is not None and self.pending <= self.high_water // 2:
            self._source_paused = False
            self._source.resume_reading()
