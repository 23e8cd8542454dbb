"""The background task that keeps the full-text index in step, in short turns when nobody else wants the store."""

import asyncio
from contextlib import suppress

import structlog

from gateway.mailbox import indexing
from gateway.mailbox.errors import StoreError
from gateway.mailbox.params import INDEX_GATHER, INDEX_LATEST, INDEX_PATIENCE, INDEX_REST
from gateway.mailbox.worker import Worker

log = structlog.get_logger("mailbox")


class IndexJob:
    """One store's; `stop` ends it."""

    def __init__(self, worker: Worker) -> None:
        """Begin at once: a predecessor may have left some."""
        self._worker = worker
        self._calls = 0  # of others, and of this, when last looked at
        self.wanted = asyncio.Event()  # set when there is something new
        self.wanted.set()
        self._task = asyncio.create_task(self._run(), name="full-text index")

    async def stop(self) -> None:
        """Cancel it and wait for its end."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def finish(self) -> None:
        """Return when the index has all that was filed before this call."""
        while await self._worker.write(indexing.index_slice):
            continue

    async def _run(self) -> None:
        while True:
            await self.wanted.wait()
            await self._until_mail_rests()
            more = True
            while more:
                await self._until_readers_rest()
                self._calls += 1  # the one that follows
                try:
                    more = await self._worker.write(indexing.index_slice)
                except StoreError:
                    log.exception("full-text index waits for new mail; searches look at every message meanwhile")
                    break

    async def _until_mail_rests(self) -> None:
        """Wait until nothing new has come for INDEX_GATHER, INDEX_LATEST at most."""
        now = asyncio.get_running_loop().time
        latest = now() + INDEX_LATEST
        while self.wanted.is_set() and now() < latest:
            self.wanted.clear()
            await asyncio.sleep(INDEX_GATHER)

    async def _until_readers_rest(self) -> None:
        """Wait until nobody has called for INDEX_REST, if somebody has since the last turn; INDEX_PATIENCE at most.

        A reader's command is many calls with a moment between them; a turn taken there would hold it up each time.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(INDEX_PATIENCE):
                while self._calls != self._worker.calls:
                    self._calls = self._worker.calls
                    await asyncio.sleep(INDEX_REST)
                    await self._worker.quiet.wait()
