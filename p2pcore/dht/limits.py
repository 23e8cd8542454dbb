"""How much one source, or all of them, may ask for: token buckets, bounded in number (no clock)."""

from collections import OrderedDict
from collections.abc import Hashable

from p2pcore import params


class Limiter:
    """`rate` tokens a second up to `burst` for each key; the least recently seen keys are forgotten."""

    def __init__(self, rate: int, burst: int, keys: int = params.MAX_SOURCES) -> None:
        self._rate = rate
        self._burst = burst
        self._keys = keys
        self._buckets: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, key: Hashable, now: int) -> bool:
        """Return whether `key` has a token at `now` (ms, monotonic), and take it."""
        tokens, then = self._buckets.pop(key, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + (now - then) * self._rate / params.SECOND)
        allowed = tokens >= 1
        self._buckets[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._buckets) > self._keys:
            self._buckets.popitem(last=False)
        return allowed
