"""What a client has sent and nobody has taken yet: command lines and content, with flow control by octets."""

import asyncio
from collections.abc import Iterable
from typing import SupportsIndex, cast


class ClientGone(Exception):
    """The client closed its sending side or the connection broke."""


class LineTooLong(Exception):
    """A command line was longer than allowed; it has been discarded up to its end."""


class ClientInput(asyncio.StreamReader):
    """The reader under aiosmtpd's protocol, with its own buffer.

    asyncio's limit would be one number for command lines and for content; here the client is paused at `high_water`
    octets, which grows while content arrives. One coroutine reads at a time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, high_water: int) -> None:
        super().__init__(loop=loop)
        self.high_water = high_water
        self._loop_here = loop
        self._octets = bytearray()
        self._source: asyncio.ReadTransport | None = None
        self._source_paused = False
        self._ended = False
        self._news: asyncio.Future[None] | None = None

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        """Take octets from `transport` from now on (again after STARTTLS)."""
        self._source = cast(asyncio.ReadTransport, transport)
        self._source_paused = False

    def feed_data(self, data: Iterable[SupportsIndex]) -> None:
        self._octets += cast(bytes, data)
        self._wake()
        if len(self._octets) > self.high_water and self._source is not None and not self._source_paused:
            self._source.pause_reading()
            self._source_paused = True

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def set_exception(self, exc: Exception) -> None:
        self.feed_eof()

    def at_eof(self) -> bool:
        return self._ended and not self._octets

    @property
    def pending(self) -> int:
        """Octets received and not taken."""
        return len(self._octets)

    def has_line(self) -> bool:
        """Return whether a whole command line is here already."""
        return b"\n" in self._octets

    async def line(self, limit: int) -> bytes:
        """Return the next line with its LF. Raises LineTooLong (it was discarded) and ClientGone."""
        searched = 0
        while (end := self._octets.find(b"\n", searched)) < 0:
            searched = len(self._octets)
            if searched > limit:
                await self._discard_line()
                raise LineTooLong
            await self._more()
        if end >= limit:
            del self._octets[: end + 1]
            self._resume()
            raise LineTooLong
        line = bytes(self._octets[: end + 1])
        del self._octets[: end + 1]
        self._resume()
        return line

    async def some(self, maximum: int) -> bytes:
        """Return at least one and at most `maximum` octets. Raises ClientGone."""
        while not self._octets:
            await self._more()
        if len(self._octets) <= maximum:
            taken = bytes(self._octets)
            self._octets.clear()
        else:
            taken = bytes(memoryview(self._octets)[:maximum])
            del self._octets[:maximum]
        self._resume()
        return taken

    def push_back(self, octets: bytes) -> None:
        """Put `octets` in front of what is here: commands that were pipelined behind the content."""
        self._octets[:0] = octets

    async def _discard_line(self) -> None:
        while (end := self._octets.find(b"\n")) < 0:
            self._octets.clear()
            self._resume()
            await self._more()
        del self._octets[: end + 1]
        self._resume()

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
        if self._source_paused and self._source is not None and len(self._octets) <= self.high_water // 2:
            self._source_paused = False
            self._source.resume_reading()
