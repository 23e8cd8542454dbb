"""Work gathered while a round of it is under way: n jobs then share what costs the same for one as for many."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from p2pcore.client.tasks import Tasks

J = TypeVar("J")
R = TypeVar("R")


class Rounds(Generic[J, R]):
    """Runs `work` in a thread, one round at a time; a job that finds no round under way starts one at once.

    `work` gets at most `limit` jobs and returns for each, in order, its outcome: a result or an exception.
    """

    def __init__(self, work: Callable[[Sequence[J]], Sequence[R | Exception]], *, limit: int, name: str) -> None:
        self._work = work
        self._limit = limit
        self._name = name
        self._waiting: list[tuple[J, asyncio.Future[R]]] = []
        self._running = False
        self._tasks = Tasks()

    async def do(self, job: J) -> R:
        """Return the outcome of `job`, or raise it."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, answer))
        if not self._running:
            self._running = True
            self._tasks.start(self._run(), self._name)
        return await answer

    async def stop(self) -> None:
        """Cancel the rounds; whoever waits is cancelled."""
        await self._tasks.stop()
        for _, answer in self._waiting:
            answer.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                jobs, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._round(jobs)
        finally:
            self._running = False

    async def _round(self, jobs: Sequence[tuple[J, "asyncio.Future[R]"]]) -> None:
        outcomes: Sequence[R | Exception]
        try:
            outcomes = await asyncio.to_thread(self._work, [job for job, _ in jobs])
        except asyncio.CancelledError:
            for _, answer in jobs:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed on to whoever waits
            outcomes = [error] * len(jobs)
        for (_, answer), outcome in zip(jobs, outcomes, strict=True):
            if answer.done():
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
