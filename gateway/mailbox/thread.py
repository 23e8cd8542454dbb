"""The thread of an open store: jobs are done in order, each answered on the event loop that it came from.

What concurrent.futures does for it costs twice as much, which is most of what a small read takes.
"""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Job = tuple[Callable[[], Any], "asyncio.Future[Any]"]


class StoreThread:
    """Use it from one event loop; whoever makes it ends it."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.get_running_loop()
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # A daemon: a process that dies without `end` is not held up. What is committed is on disk.
        self._thread = threading.Thread(target=self._work, name="mailstore", daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """Return what `job` does on the thread, after what was asked before; a cancelled one is begun no more."""
        answer: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put((job, answer))
        return await answer

    def end(self) -> None:
        """Finish what was asked for, and end."""
        self._jobs.put(None)

    def _work(self) -> None:
        while (asked := self._jobs.get()) is not None:
            job, answer = asked
            if answer.cancelled():
                continue
            try:
                value, error = job(), None
            except BaseException as raised:  # noqa: BLE001 (handed on to whoever asked)
                value, error = None, raised
            self._answer(answer, value, error)
            del asked, job, answer, value, error  # nothing is kept alive while the next one is waited for

    def _answer(self, answer: "asyncio.Future[Any]", value: object, error: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(_settle, answer, value, error)
        except RuntimeError:  # the loop has closed: nobody waits
            return


def _settle(answer: "asyncio.Future[Any]", value: object, error: BaseException | None) -> None:
    if answer.done():  # cancelled meanwhile
        return
    if error is None:
        answer.set_result(value)
    else:
        answer.set_exception(error)
