"""The clock as a parameter: milliseconds since 1970-01-01 UTC."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def system_clock() -> int:
    """Return now in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
