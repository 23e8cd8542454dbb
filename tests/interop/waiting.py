"""Waiting on a condition of another program that has no way to tell us."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMEOUT = 30.0  # seconds; reached only by a failing test
_INTERVAL = 0.05


def wait_for(condition: Callable[[], T], what: str, timeout: float = TIMEOUT) -> T:
    """Return the first true value of `condition`. Raises AssertionError that says `what` did not come."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"after {timeout:g} s still not: {what}"
        time.sleep(_INTERVAL)
