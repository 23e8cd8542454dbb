"""Octets that may be in use at once; whoever would exceed them waits, first come first served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Allowance:
    """At most `most` octets at a time, and one user whatever he takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._turn = asyncio.Lock()  # one waits for the others to give back, the rest for him
        self._given_back = asyncio.Event()

    @asynccontextmanager
    async def taken(self, octets: int) -> AsyncIterator[None]:
        """Surround the use of `octets`; waits until they are to be had."""
        async with self._turn:
            while self._used and self._used + octets > self._most:
                self._given_back.clear()
                await self._given_back.wait()
            self._used += octets
        try:
            yield
        finally:
            self._used -= octets
            self._given_back.set()
