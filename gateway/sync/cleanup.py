"""Acknowledges filed entries and deletes their bodies on all k nodes, until every one that lives has confirmed.

A task is written in the transaction that files its message and removed when nobody is left to tell, or when what it
speaks of has expired at every node. A crash at any point repeats requests that are idempotent; an entry met again
after its task is gone gets a new task.

A message's task waits `sync.keep_days` first, so that a mailbox restored from a backup fills up from the network again
(docs/decisions/0019). KEPT_MESSAGES and KEPT_OCTETS bound what waits: nodes keep it, and every reading from zero brings
its entries. Beyond them the oldest is cleaned up early.

Other new tasks are tried at once. Those that some node did not confirm wait for the next retry, however many come
meanwhile.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import structlog

from gateway.mailbox.store import MailStore
from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.errors import CannotKnow
from p2pcore.mail.finish import Finisher
from p2pcore.records import CleanupTask, decode

ROUND = 500  # tasks of one request; one acknowledgement names them all
FIRST_RETRY = 10.0  # seconds; doubled up to LAST_RETRY while some node does not confirm
LAST_RETRY = 3_600.0
KEPT_MESSAGES = 2_000  # 1/25 of what an inbox holds on a node; some 7 MB of entries in a reading from zero
KEPT_OCTETS = 512 << 20  # of sealed bodies, on each of k nodes

log = structlog.get_logger("cleanup")


class Cleanup:
    """Works off the clean-up tasks of one account."""

    def __init__(self, store: MailStore, finisher: Finisher, clock: Clock) -> None:
        self._store = store
        self._finisher = finisher
        self._clock = clock
        self._after = 0  # number of the last task tried since the last retry began
        self._unconfirmed = False  # one of those was not confirmed, and waits for the next retry
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        """Say that there are new tasks."""
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled; waits for `wake` or the next retry."""
        now = asyncio.get_running_loop().time
        pause, retry_at = FIRST_RETRY, now() + FIRST_RETRY
        while True:
            self._wake.clear()
            try:
                next_due = await self._store.release_kept(self._clock(), KEPT_MESSAGES, KEPT_OCTETS)
                await self._work_off()
                if not self._unconfirmed:
                    await self._news_or(next_due)
                    pause, retry_at = FIRST_RETRY, now() + FIRST_RETRY
                    continue
                async with asyncio.timeout_at(retry_at):
                    await self._wake.wait()
            except CannotKnow as failure:
                log.warning("clean-up waits", error=str(failure))
                await asyncio.sleep(retry_at - now())
            except TimeoutError:
                pass
            if now() >= retry_at:
                pause = min(pause * 2, LAST_RETRY)
                retry_at = now() + pause
                self._after, self._unconfirmed = 0, False

    async def _news_or(self, due: int | None) -> None:
        """Wait for `wake`, or until a kept message's time has come (ms)."""
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due is None else max(due - self._clock(), 0) / params.SECOND):
                await self._wake.wait()

    async def _work_off(self) -> None:
        """Try every pending task behind `_after` once. Raises CannotKnow."""
        while fresh := await self._store.pending_cleanup(ROUND, self._after):
            done = await self._finish([decode(CleanupTask, blob) for _, blob in fresh])
            await self._store.cleanup_done([number for (number, _), told in zip(fresh, done, strict=True) if told])
            self._after = fresh[-1][0]
            self._unconfirmed = self._unconfirmed or not all(done)

    async def _finish(self, tasks: Sequence[CleanupTask]) -> list[bool]:
        expired = self._clock() - params.TOMBSTONE_GRACE
        if all(task.entry_expires < expired for task in tasks):
            return [True] * len(tasks)
        done = await self._finisher.finish(tasks)
        return [told or task.entry_expires < expired for told, task in zip(done, tasks, strict=True)]
