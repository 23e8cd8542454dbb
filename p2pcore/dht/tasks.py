"""Background tasks with a name and an owner, at most one per subject."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

import structlog

_log = structlog.get_logger(__name__)


S = TypeVar("S", bound=Hashable)
T = TypeVar("T")


class OwnedTasks(Generic[S, T]):
    """Tasks by subject; what they raise is logged, and none outlives `stop`."""

    def __init__(self) -> None:
        self._tasks: dict[S, asyncio.Task[T]] = {}
        self._stopped = False

    def __len__(self) -> int:
        return len(self._tasks)

    def get(self, subject: S) -> "asyncio.Task[T] | None":
        """Return the task under way for `subject`."""
        return self._tasks.get(subject)

    def items(self) -> "list[tuple[S, asyncio.Task[T]]]":
        """Return the subjects with their tasks under way."""
        return list(self._tasks.items())

    def start(self, subject: S, work: Callable[[], Coroutine[Any, Any, T]], name: str) -> "asyncio.Task[T] | None":
        """Return the task for `subject`, started unless it is under way; None once stopped."""
        task = self._tasks.get(subject)
        if (task is None or task.done()) and not self._stopped:
            task = asyncio.get_running_loop().create_task(work(), name=name)
            self._tasks[subject] = task
            task.add_done_callback(lambda done: self._finished(subject, done))
        return task

    async def stop(self) -> None:
        """Cancel every task and return when all have ended."""
        self._stopped = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finished(self, subject: S, done: "asyncio.Task[T]") -> None:
        if self._tasks.get(subject) is done:
            del self._tasks[subject]
        if not done.cancelled() and (error := done.exception()) is not None:
            _log.error("task failed", task=done.get_name(), exc_info=error)
