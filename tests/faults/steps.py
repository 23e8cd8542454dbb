"""A task seen step by step: each suspension inside our own code is a point, and a point is where a fault strikes.

A fault strikes *before* what the point waits for is waited for, or *after* it has happened and before its outcome is
used. So of a commit there is the crash that loses it and the crash that loses only the news of it.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeVar

from tests.faults.disk import limited
from tests.faults.process import Process

T = TypeVar("T")

Kind = Literal["kill", "exception", "stall", "full disk"]
Moment = Literal["before", "after"]
KINDS: tuple[Kind, ...] = ("kill", "exception", "stall", "full disk")

ERRORS: Final = {kind.__name__: kind for kind in (RuntimeError, OSError, MemoryError)}
INJECTED: Final = "injected"  # what they say

_ROOT = str(Path(__file__).resolve().parents[2]) + "/"
OUR_CODE = ("gateway/", "p2pcore/")


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """The `occurrence`th time (from 1) that a task of `machine` was suspended at `site` (file:line of our code)."""

    machine: str
    site: str
    occurrence: int

    def __str__(self) -> str:
        return f"{self.machine} {self.site} #{self.occurrence}"


@dataclass(frozen=True, slots=True)
class Fault:
    """`error` is what an exception is; `seconds` is how long a stall lasts."""

    point: Point
    kind: Kind
    moment: Moment
    error: str = ""
    seconds: float = 0.0


class World(Protocol):
    """Whom a fault is done to."""

    def kill(self, process: Process) -> None: ...

    def fill_disk(self, process: Process) -> None: ...


@dataclass
class Watcher:
    """Counts points while `open`; strikes once with `fault`. `reached` keeps their order."""

    fault: Fault | None = None
    open: bool = False
    world: World | None = None
    reached: list[Point] = field(default_factory=list)
    struck: bool = False
    over: bool = False
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def suspended(self, process: Process, coroutine: object) -> Fault | None:
        """Count the point at which `coroutine` now waits; return the fault that strikes there."""
        if not self.open:
            return None
        site = site_of(coroutine)
        if site is None:
            return None
        place = (process.machine, site)
        self._counts[place] += 1
        point = Point(*place, self._counts[place])
        self.reached.append(point)
        return self.fault if self.fault is not None and self.fault.point == point and not self.struck else None


class Observed(Coroutine[Any, Any, T]):
    """Drives `inner`; is what the task of a process runs.

    A task calls `send` to go on and `throw` to go on with an exception, and waits for the future that either returns.
    """

    def __init__(
        self, inner: Coroutine[Any, Any, T], process: Process, watcher: Watcher, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.process = process
        self._inner = inner
        self._watcher = watcher
        self._loop = loop
        self._pending: Fault | None = None  # strikes at the next step
        self._held: Any = None  # what `inner` waits for, while a stall keeps it from being waited for
        self._is_held = False

    def send(self, value: Any) -> Any:
        if not self.process.alive:
            return self._park()
        if self._is_held:
            held, self._held, self._is_held = self._held, None, False
            if held is not None:
                return held
        pending, self._pending = self._pending, None
        if pending is not None:
            match pending.kind:
                case "exception":
                    return self._inject(pending)
                case "stall":
                    self._watcher.struck = True
                    return self._hold(None, pending.seconds)
                case "kill":
                    return self._die()
                case "full disk":
                    self._fill()
        with limited(self.process):
            waited = self._inner.send(value)
        return self._suspended(waited)

    def throw(self, *error: Any) -> Any:
        if self._watcher.over:
            self.close()
            raise asyncio.CancelledError
        if not self.process.alive:
            return self._park()
        self._held, self._is_held, self._pending = None, False, None
        return self._throw(error[1] if len(error) > 1 and error[1] is not None else error[0])

    def close(self) -> None:
        with suppress(BaseException):
            self._inner.close()

    def __await__(self) -> Generator[Any, Any, T]:
        raise TypeError("a task's coroutine is awaited by nobody")

    def _throw(self, error: BaseException) -> Any:
        with limited(self.process):
            waited = self._inner.throw(error)
        return self._suspended(waited)

    def _suspended(self, waited: Any) -> Any:
        fault = self._watcher.suspended(self.process, self._inner)
        if fault is None:
            return waited
        if fault.moment == "after":
            self._pending = fault
            return waited
        match fault.kind:
            case "kill":
                return self._die()
            case "exception":
                if waited is not None:  # we took its only reader away: what becomes of it is nobody's failing
                    waited.add_done_callback(_look_at)
                return self._inject(fault)
            case "stall":
                self._watcher.struck = True
                return self._hold(waited, fault.seconds)
            case "full disk":
                self._fill()
                return waited

    def _inject(self, fault: Fault) -> Any:
        self._watcher.struck = True
        return self._throw(ERRORS[fault.error](INJECTED))

    def _die(self) -> Any:
        self._watcher.struck = True
        assert self._watcher.world is not None
        self._watcher.world.kill(self.process)
        return self._park()

    def _fill(self) -> None:
        self._watcher.struck = True
        assert self._watcher.world is not None
        self._watcher.world.fill_disk(self.process)

    def _hold(self, waited: Any, seconds: float) -> Any:
        self._held, self._is_held = waited, True
        gate = self._loop.create_future()
        self._loop.call_later(seconds, _open, gate)
        return _blocking(gate)

    def _park(self) -> Any:
        return _blocking(self._loop.create_future())


def _open(gate: "asyncio.Future[None]") -> None:
    if not gate.done():
        gate.set_result(None)


def _look_at(future: "asyncio.Future[Any]") -> None:
    if not future.cancelled():
        future.exception()


def _blocking(future: "asyncio.Future[Any]") -> "asyncio.Future[Any]":
    """Mark `future` as a task expects what its coroutine yields to be marked."""
    future._asyncio_future_blocking = True
    return future


def site_of(coroutine: object) -> str | None:
    """Return file:line of the innermost frame of our code in which `coroutine` waits; None where there is none."""
    found = None
    current: Any = coroutine
    while current is not None:
        for prefix, waits_for in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(current, f"{prefix}_frame", None)
            if frame is not None:
                name = frame.f_code.co_filename.removeprefix(_ROOT)
                if name.startswith(OUR_CODE):
                    found = f"{name}:{frame.f_lineno}"
                current = getattr(current, waits_for)
                break
        else:
            return found
    return found
