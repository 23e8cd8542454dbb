"""The outbox's database behind one thread: coroutines queue for it, each call is one transaction."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

from gateway.mailbox import backup
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.sealed import SealedDirectory
from gateway.outbox.database import OutboxDatabase

P = ParamSpec("P")
T = TypeVar("T")


class OutboxStore:
    """The open outbox of one account. Any call may raise StoreFull, StoreDamaged, OSError besides what `work` raises.

    A call that is cancelled while it waits may take effect all the same.
    """

    def __init__(self, database: OutboxDatabase, thread: ThreadPoolExecutor) -> None:
        """Use `open`; this takes over the database and the one thread that may touch it."""
        self._database = database
        self._thread = thread
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(cls, directory: Path, key: bytes, now: int) -> Self:
        """Open the outbox, making it the first time. Raises what OutboxDatabase.open raises."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="outbox")
        loop = asyncio.get_running_loop()
        try:
            database = await loop.run_in_executor(thread, OutboxDatabase.open, directory, key, now)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(database, thread)

    @property
    def files(self) -> SealedDirectory:
        """The content files; reading and writing them needs no database."""
        return self._database.files

    async def close(self) -> None:
        """Finish what is under way, close the database and give the lock back."""
        await self._loop.run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()

    async def back_up(self, path: Path, key: bytes, progress: Progress) -> None:
        """As MailStore.back_up."""

        async def queued(job: Callable[[], T]) -> T:
            return await self._loop.run_in_executor(self._thread, job)

        await backup.copy(self._database, queued, path, key, progress)

    async def read(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` reads, as of one commit."""

        def job() -> T:
            with self._database.reading():
                return work(self._database, *args, **kwargs)

        return await self._loop.run_in_executor(self._thread, job)

    async def write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do `work` in one transaction; all of it is durable on return, or nothing was kept."""

        def job() -> T:
            with self._database.transaction() as transaction:
                return work(transaction, *args, **kwargs)

        return await self._loop.run_in_executor(self._thread, job)
