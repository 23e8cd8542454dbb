"""A share of memory that waits: contents in clear are held only as far as the budget goes."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Budget:
    """At most `octets` are out at once, given in the order asked; a request above all of it gets all of it, alone."""

    def __init__(self, octets: int) -> None:
        self._all = octets
        self._left = octets
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, octets: int) -> AsyncIterator[None]:
        """Hold `octets` of it inside the block."""
        wanted = min(octets, self._all)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, granted))
        self._grant()
        try:
            await granted
            yield
        finally:
            if granted.done() and not granted.cancelled():
                self._left += wanted
            else:
                self._waiting.remove((wanted, granted))
            self._grant()

    def _grant(self) -> None:
        while self._waiting and self._waiting[0][0] <= self._left:
            wanted, granted = self._waiting[0]
            if granted.cancelled():
                return  # its owner removes it and comes here again
            self._waiting.popleft()
            self._left -= wanted
            granted.set_result(None)
