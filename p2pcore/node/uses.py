"""When bodies were last fetched: kept in memory and written down together, so that fetching writes nothing."""

from typing import Final

from p2pcore.clock import Clock
from p2pcore.node import objects
from p2pcore.node.storage import Storage

_MOST: Final = 50_000  # objects; beyond, what is fetched counts as used when it was stored


class Uses:
    """`note` from any thread, `write_down` on the event loop. What a crash loses makes a body look older, no more."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._noted: dict[int, int] = {}

    def note(self, number: int) -> None:
        """Note that the object of this row is being fetched."""
        if len(self._noted) < _MOST:
            self._noted[number] = self._clock()

    async def write_down(self) -> None:
        """Write down what was noted since the last time, in one commit."""
        noted, self._noted = self._noted, {}
        if noted:
            await self._storage.write(lambda transaction: objects.record_uses(transaction, noted))
