"""An event loop whose clock jumps to the next timer: a virtual week costs only what is computed in it.

Nothing outside is ever waited for: no socket, no thread. What is given to an executor runs at once and takes no time.
The order of events depends on timers and the order of their making alone, so a seeded run repeats to the last event.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from p2pcore import params

T = TypeVar("T")

START = 1_790_000_000_000  # ms since 1970: when every simulated world begins (2026-09-21)


class _JumpingSelector(selectors.DefaultSelector):
    """Asks the operating system for nothing: the time up to the next timer counts as passed."""

    passed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that no timer will bring")
        if timeout > 0:
            self.passed += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`time` begins at 0 and is in seconds, as asyncio's."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)
        self._clock_resolution = 1e-6  # after months a float cannot tell nanoseconds, and the next timer never comes

    def time(self) -> float:
        return self._jumping.passed

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., T], *args: Any
    ) -> "asyncio.Future[T]":
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - an executor hands on whatever is raised
            future.set_exception(error)
        return future


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end on a loop of virtual time. Raises RuntimeError where it waits for nothing to come."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def virtual_clock() -> int:
    """Return the time (ms since 1970) in the world of the running loop: a Clock."""
    return START + int(asyncio.get_running_loop().time() * params.SECOND)
