"""The one thread that owns a store's database: calls queue for it, and writes that wait together are one commit.

A write that fails among others is done again by itself, as are the others, so that each has its own outcome. All of a
group is durable before any of its calls returns.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.params import GROUP_TIME, GROUP_WRITES, TURN
from gateway.mailbox.thread import StoreThread

P = ParamSpec("P")
T = TypeVar("T")

Steps = Generator[None, None, T]
"""Reading that may take long: at each yield it has no statement open, and other calls may have the thread."""


@dataclass(slots=True)
class _Write(Generic[T]):
    """A write that waits for the thread, and then its outcome."""

    work: Callable[[Transaction], T]
    wanted: bool = True
    value: T | None = None
    error: Exception | None = None


class Worker:
    """`published` hears of every commit, in order, on the loop, before the call that made it returns."""

    def __init__(self, database: Database, thread: StoreThread, published: Callable[[Transaction], object]) -> None:
        """Take over the database and the one thread that may touch it."""
        self.database = database
        self.calls = 0  # so far
        self.quiet = asyncio.Event()  # set while none is under way
        self.quiet.set()
        self._under_way = 0
        self._thread = thread
        self._published = published
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Write[Any]] = deque()

    async def close(self) -> None:
        """Finish what is under way, and close the database."""
        await self._thread.run(self.database.close)
        self._thread.end()

    async def read(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` reads, as of one commit."""

        def job() -> T:
            with self.database.reading():
                return work(self.database, *args, **kwargs)

        return await self.run(job)

    async def read_in_turns(self, steps: Steps[T]) -> T:
        """Return what `steps` reads: TURN seconds at a time, each turn as of one commit, others' calls between."""

        def turn() -> tuple[T] | None:
            end = time.monotonic() + TURN
            with self.database.reading():
                try:
                    next(steps)
                    while time.monotonic() < end:
                        next(steps)
                except StopIteration as finished:
                    return (finished.value,)
            return None

        while (result := await self.run(turn)) is None:
            continue
        return result[0]

    async def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in a transaction; all of it is durable on return, or nothing was kept.

        It may be begun more than once, and what it did before is then undone.
        """
        waiting = _Write(lambda transaction: work(transaction, *args, **kwargs))
        self._waiting.append(waiting)
        try:
            await self.run(self._commit)  # another's turn may have done it already
        except asyncio.CancelledError:
            waiting.wanted = False
            raise
        if waiting.error is not None:
            raise waiting.error
        return waiting.value  # type: ignore[return-value]  # there is one where there is no error

    async def run(self, job: Callable[[], T]) -> T:
        """Run a job on the thread, after what was queued before."""
        self.calls += 1
        self._under_way += 1
        self.quiet.clear()
        try:
            return await self._thread.run(job)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self.quiet.set()

    def _commit(self) -> None:
        """Do the writes that wait, the first at least."""
        if not self._waiting:
            return
        group: list[_Write[Any]] = []
        try:
            with self.database.transaction() as transaction:
                for write in self._next_writes():
                    group.append(write)
                    write.value = write.work(transaction)
        except Exception as error:  # noqa: BLE001 (each call gets its own)
            if len(group) > 1:
                self._commit_each(group)
            else:  # it failed by itself; or no transaction was to be had, by none of those that wait
                for write in group or list(self._next_writes()):
                    write.error = error
        else:
            self._publish(transaction)

    def _next_writes(self) -> Iterator[_Write[Any]]:
        begin = time.monotonic()
        count = 0
        while self._waiting and count < GROUP_WRITES and (not count or time.monotonic() - begin < GROUP_TIME):
            write = self._waiting.popleft()
            if write.wanted:
                count += 1
                yield write

    def _commit_each(self, group: list[_Write[Any]]) -> None:
        for write in group:
            try:
                with self.database.transaction() as transaction:
                    write.value = write.work(transaction)
            except Exception as error:  # noqa: BLE001 (handed on to the call)
                write.error = error
            else:
                self._publish(transaction)

    def _publish(self, transaction: Transaction) -> None:
        # Queued before the callers' own wake-ups, so that whoever has the reply finds the changes in its watch.
        if transaction.changes or transaction.gone:
            self._loop.call_soon_threadsafe(self._published, transaction)
