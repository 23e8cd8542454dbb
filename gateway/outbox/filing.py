"""Files copies for Sent and reports in her mailbox, each exactly once.

What is to be filed is noted in the transaction that gives rise to it. The mailbox remembers the identity of what it
filed in the transaction that files it, so a crash between the two notes only repeats a call that does nothing.
"""

import asyncio
from pathlib import Path

import structlog

from gateway.outbox import contents, owed, rows
from gateway.outbox.model import FileOnce
from gateway.outbox.store import OutboxStore
from p2pcore.clock import Clock

log = structlog.get_logger("outbox")


class Filing:
    """Works off what is owed to the mailbox. `temporary` takes large contents for the time of a call.

    A copy for Sent waits `sent_grace` ms: most mail readers file one of their own right after the 250.
    """

    def __init__(
        self,
        store: OutboxStore,
        append_sent: FileOnce,
        file_report: FileOnce,
        temporary: Path,
        clock: Clock,
        *,
        retry: int,
        sent_grace: int,
    ) -> None:
        self._store = store
        self._append_sent = append_sent
        self._file_report = file_report
        self._temporary = temporary
        self._clock = clock
        self._retry = retry
        self._sent_grace = sent_grace
        self._wake = asyncio.Event()
        self._wake.set()
        self._settled = asyncio.Event()

    def wake(self) -> None:
        """Say that something new is owed."""
        self._settled.clear()
        self._wake.set()

    async def settled(self) -> None:
        """Wait until everything owed has been tried."""
        await self._settled.wait()

    async def run(self) -> None:
        """Work until cancelled; waits for `wake`, and where something could not be filed for the next retry too."""
        while True:
            self._wake.clear()
            try:
                wait = await self._round()
            except Exception:  # whatever it is, what is owed must not wait for a restart
                log.exception("outbox not readable")
                wait = self._retry
            if not self._wake.is_set():
                self._settled.set()
            try:
                async with asyncio.timeout(None if wait is None else wait / 1_000):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _round(self) -> int | None:
        """File what is due, the oldest first; return in how many ms to look again, None where nothing remains."""
        after, waits = 0, list[int]()
        while (found := await self._store.read(owed.first, after)) is not None:
            after, identity, message_id, time, octets = found
            early = time + self._sent_grace - self._clock()
            if octets is None and 0 < early <= self._sent_grace:  # more: the clock was set back since
                waits.append(early)
                continue
            try:
                if octets is None:
                    await self._file_copy(identity, message_id, time)
                else:
                    await self._file_report(identity, octets, time)
                await self._store.write(rows.filed, after)
            except Exception:  # whatever the mailbox has to say, it stays owed
                log.exception("not filed; it is tried again", message=message_id)
                waits.append(self._retry)
        return min(waits, default=None)

    async def _file_copy(self, identity: bytes, message_id: str, time: int) -> None:
        message = await self._store.read(rows.load, message_id)
        if message is None:
            return
        content, held = await asyncio.to_thread(contents.clear, self._store.files, message.content, self._temporary)
        try:
            await self._append_sent(identity, content, time)
        finally:
            if held is not None:
                held.close()
