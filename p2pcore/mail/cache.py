"""A bounded cache of what the network says, asking once for all who ask at the same time."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from p2pcore.client.tasks import Tasks
from p2pcore.clock import Clock
from p2pcore.errors import TemporaryFailure

K = TypeVar("K")
V = TypeVar("V")


class FreshCache(Generic[K, V]):
    """Values that `load` gives, believed for `lifetime` ms; at most `size` of them, least recently used go first.

    Where loading fails temporarily, a value up to `stale` ms old is given instead (0: never).
    """

    def __init__(
        self, load: Callable[[K], Awaitable[V]], clock: Clock, *, lifetime: int, size: int, stale: int = 0
    ) -> None:
        self._load = load
        self._clock = clock
        self._lifetime = lifetime
        self._size = size
        self._stale = stale
        self._values: OrderedDict[K, tuple[int, V]] = OrderedDict()
        self._loading: dict[K, asyncio.Future[V]] = {}
        self._tasks = Tasks()

    def fresh(self, key: K) -> V | None:
        """Return the value of `key` where it need not be loaded."""
        held = self._values.get(key)
        if held is None or not 0 <= self._clock() - held[0] < self._lifetime:
            return None
        self._values.move_to_end(key)
        return held[1]

    async def get(self, key: K) -> V:
        """Return the value of `key`. Raises what `load` raises."""
        fresh = self.fresh(key)
        if fresh is not None:
            return fresh
        held = self._values.get(key)
        now = self._clock()
        answer = self._loading.get(key)
        if answer is None:
            answer = self._loading[key] = asyncio.get_running_loop().create_future()
            self._tasks.start(self._fill(key, answer), f"load {key!r}")
        try:
            return await asyncio.shield(answer)
        except TemporaryFailure:
            if held is not None and now - held[0] < self._stale:
                return held[1]
            raise

    def forget(self, key: K) -> None:
        """Ask anew next time."""
        self._values.pop(key, None)

    def clear(self) -> None:
        """Ask anew for everything."""
        self._values.clear()

    async def stop(self) -> None:
        """End loads under way; who waits for them is cancelled."""
        await self._tasks.stop()

    async def _fill(self, key: K, answer: "asyncio.Future[V]") -> None:
        try:
            value = await self._load(key)
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed on to whoever asked
            answer.set_exception(error)
            answer.exception()  # retrieved: those who asked may all be gone
        else:
            answer.set_result(value)
            self._values[key] = (self._clock(), value)
            self._values.move_to_end(key)
            while len(self._values) > self._size:
                self._values.popitem(last=False)
        finally:
            self._loading.pop(key, None)
