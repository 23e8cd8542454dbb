"""Octets that may be in use at once; whoever would exceed them waits, first come first served."""

import asyncio


class Allowance:
    """At most `most` octets at a time, and one user whatever he takes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._used = 0
        self._turn = asyncio.Lock()  # one waits for the others to give back, the rest for him
        self._given_back = asyncio.Event()

    async def take(self, octets: int) -> None:
        """Return when `octets` are to be had; they are the caller's until he gives them back."""
        async with self._turn:
            while self._used and self._used + octets > self._most:
                self._given_back.clear()
                await self._given_back.wait()
            self._used += octets

    def give_back(self, octets: int) -> None:
        """Let others have `octets`."""
        self._used -= octets
        self._given_back.set()
