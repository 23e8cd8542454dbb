"""Work gathered while a round of it is under way: n jobs then share what costs the same for one as for many."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from p2pcore.client.tasks import Tasks

J = TypeVar("J")
R = TypeVar("R")


class Rounds(Generic[J, R]):
    """Runs `work`, one round at a time; a job that finds nothing under way starts one in the event loop's next turn.

    While what follows earlier rounds is under way (`following`) for more jobs than wait, a round waits for company,
    `patience` seconds at most: under load one half of the jobs is prepared while the other half is dealt with. `work`
    gets at most `limit` jobs and returns for each, in order, its outcome: a result or an exception. It runs in a
    thread, or where `small` says that the jobs are little work on the event loop: a thread's two wake-ups cost some
    0.2 ms.
    """

    def __init__(
        self,
        work: Callable[[Sequence[J]], Sequence[R | Exception]],
        *,
        limit: int,
        name: str,
        small: Callable[[Sequence[J]], bool] = lambda _jobs: False,
        patience: float = 0.0,
    ) -> None:
        self._work = work
        self._limit = limit
        self._name = name
        self._small = small
        self._patience = patience
        self._waiting: list[tuple[J, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None
        self._following = 0
        self._free = asyncio.Event()  # there is company enough
        self._tasks = Tasks()

    @property
    def busy(self) -> bool:
        """Whether a job waits or is under way."""
        return self._running is not None and not self._running.done()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Surround what is done with a round's outcome."""
        self._following += 1
        try:
            yield
        finally:
            self._following -= 1
            self._look()

    async def do(self, job: J) -> R:
        """Return the outcome of `job`, or raise it."""
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((job, answer))
        self._look()
        if not self.busy:
            self._running = self._tasks.start(self._run(), self._name)
        return await answer

    async def stop(self) -> None:
        """Cancel the rounds; whoever waits is cancelled."""
        await self._tasks.stop()
        waiting, self._waiting = self._waiting, []
        for _, answer in waiting:
            answer.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(0)  # the sockets that are readable now may have more jobs
                await self._gather()
                jobs, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._round(jobs)
        except Exception as error:  # noqa: BLE001 - handed on to whoever waits
            jobs, self._waiting = self._waiting, []
            _answer(jobs, [error] * len(jobs))

    def _has_company(self) -> bool:
        return len(self._waiting) >= min(self._following, self._limit)

    def _look(self) -> None:
        if self._has_company():
            self._free.set()

    async def _gather(self) -> None:
        """Wait for company where more outcomes of earlier rounds are being dealt with than jobs wait."""
        if not self._patience or self._has_company():
            return
        self._free.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                await self._free.wait()

    async def _round(self, jobs: Sequence[tuple[J, "asyncio.Future[R]"]]) -> None:
        outcomes: Sequence[R | Exception]
        try:
            work = [job for job, _ in jobs]
            outcomes = self._work(work) if self._small(work) else await asyncio.to_thread(self._work, work)
        except asyncio.CancelledError:
            for _, answer in jobs:
                answer.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - handed on to whoever waits
            outcomes = [error] * len(jobs)
        _answer(jobs, outcomes)


def _answer(jobs: "Sequence[tuple[J, asyncio.Future[R]]]", outcomes: Sequence[R | Exception]) -> None:
    """Give each job that still waits its outcome."""
    for (_, answer), outcome in zip(jobs, outcomes, strict=True):
        if answer.done():
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
