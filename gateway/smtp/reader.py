"""What a client has sent and nobody has taken yet: command lines and content, with flow control by octets."""

import asyncio
from collections import deque
from typing import cast

_MAX_PIECES = 64  # a client that sends octet by octet must not cost a hundred octets for each


class ClientGone(Exception):
    """The client closed its sending side or the connection broke."""


class LineTooLong(Exception):
    """A command line was longer than allowed; it has been discarded up to its end."""


class ClientInput:
    """The octets that came, in the pieces that they came in; the client is paused at `high_water` of them.

    `high_water` grows while content arrives. One coroutine waits at a time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, high_water: int) -> None:
        self.high_water = high_water
        self.pending = 0  # octets received and not taken
        self.has_ended = False  # no more will come
        self._loop = loop
        self._pieces: deque[bytes] = deque()
        self._taken = 0  # octets of the first piece
        self._searched = 0  # octets known to hold no LF
        self._is_discarding = False  # what comes up to the next LF is the rest of a line that is too long
        self._source: asyncio.ReadTransport | None = None
        self._is_paused = False
        self._news: asyncio.Future[None] | None = None

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Take octets from `transport` from now on (again after STARTTLS)."""
        self._source = cast(asyncio.ReadTransport, transport)
        self._is_paused = False

    def feed(self, piece: bytes) -> None:
        """Take the next octets from the client."""
        self._pieces.append(piece)
        self.pending += len(piece)
        if len(self._pieces) > _MAX_PIECES:
            self._join()
        if self._news is not None:
            self._wake()
        if self.pending > self.high_water and self._source is not None and not self._is_paused:
            self._source.pause_reading()
            self._is_paused = True

    def end(self) -> None:
        """No more octets will come."""
        self.has_ended = True
        self._wake()

    def line(self, limit: int) -> bytes | None:
        """Return the next line with its LF, None where its end is not here. Raises LineTooLong once that is here."""
        end = self._line_end() if self.pending else -1
        if end < 0:
            if self.pending > limit:
                self._is_discarding = True
            if self._is_discarding:
                self._take(self.pending)
            elif self._is_paused:
                self._resume()
            return None
        line = self._take(end + 1)
        if end >= limit or self._is_discarding:
            self._is_discarding = False
            raise LineTooLong
        return line

    async def next_line(self, limit: int) -> bytes:
        """Wait for the next line and return it with its LF. Raises LineTooLong (it was discarded) and ClientGone."""
        while (line := self.line(limit)) is None:
            await self._more()
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
            self._searched = 0

    def _line_end(self) -> int:
        """Return how many octets precede the next LF, -1 without one."""
        if len(self._pieces) > 1:
            self._join()
        found = self._pieces[0].find(b"\n", self._taken + self._searched)
        if found < 0:
            self._searched = self.pending
            return -1
        return found - self._taken

    def _join(self) -> None:
        first = self._pieces.popleft()
        self._pieces = deque((b"".join((first[self._taken :], *self._pieces)),))
        self._taken = 0

    def _take(self, octets: int) -> bytes:
        """Return the first `octets` octets, which are in the first piece."""
        if not octets:
            return b""
        first, start = self._pieces[0], self._taken
        end = start + octets
        self.pending -= octets
        self._searched = 0
        if end == len(first):
            self._pieces.popleft()
            self._taken = 0
        else:
            self._taken = end
        if self._is_paused:
            self._resume()
        return first[start:end]

    async def _more(self) -> None:
        """Wait until octets arrive. Raises ClientGone."""
        if self.has_ended:
            raise ClientGone
        if self._is_paused:
            self._resume()
        self._news = self._loop.create_future()
        try:
            await self._news
        finally:
            self._news = None

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _resume(self) -> None:
        """Let a client that is paused go on, if few octets enough are left."""
        if self._source is not None and self.pending <= self.high_water // 2:
            self._is_paused = False
            self._source.resume_reading()
