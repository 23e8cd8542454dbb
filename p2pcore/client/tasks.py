"""Owner of background tasks: they have names, their exceptions are logged, and stopping waits for them.

A result that several wait for is `shared`.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Tasks:
    """A set of tasks that end by themselves, or at `stop`."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], name: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def stop(self, drain: float = 0.0) -> None:
        """Wait for the tasks for `drain` seconds at most, then cancel what still runs and wait for its end."""
        if self._tasks and drain > 0:
            await asyncio.wait(self._tasks, timeout=drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task %s ended: %r", task.get_name(), error, exc_info=error)


async def shared(answer: "asyncio.Future[T]") -> T:
    """Return what `answer` comes to; who is cancelled in waiting leaves it to the others who wait.

    Where none is left its failure concerns nobody; with asyncio.shield alone the loop would report it.
    """
    try:
        return await asyncio.shield(answer)
    except asyncio.CancelledError:
        answer.add_done_callback(_look_at)
        raise


def _look_at(answer: "asyncio.Future[Any]") -> None:
    if not answer.cancelled():
        answer.exception()
