"""The gateway's durable queue: mail that submission has said 250 to, until every recipient has an outcome.

| on disk | means | after a crash |
|---|---|---|
| file in bodies/, no row | `accept` had not returned, so nobody said 250 | the file is removed at `open` |
| recipient `pending` | 250 was (or may have been) said; no outcome | tried at its time, or at once |
| recipient `held` | kept back by an administrator | stays so until `retry` |
| recipient `delivered`, `failed` | the final reply, or the end of trying, is recorded | never tried again |
| row in `reports` | a report is owed for this recipient; nothing of it has left | it is made |
| row in `injections`, mail | statements into our own domain are finished, may have left | these are repeated |
| row in `injections`, report | the same; `reports` lost its row in the same transaction | these are repeated |
| row in `submissions` only | all have outcomes, all reports are stored | known for 30 days more |
| row in `sendings` | so many recipients were accepted from her then | counts against her limit for a day |
| file of an item that is gone | between that commit and the file's removal | the file is removed at `open` |

So a kill loses nothing. What it can repeat: a message whose final 250 was on its way, or read and not recorded yet, is
sent once more, to a hundred recipients at most (the window that SMTP itself has, RFC 5321 §4.5.3.2.6). Into our own
domain, and for reports, there is no such window, because the statements repeated are the same ones.

A recipient leaves `pending` only after the remote's final reply, in the transaction that also writes down the report
that this outcome owes. Content is sealed under a session key; session keys, envelopes and statements are in a database
sealed under the gateway's storage key. What is being tried is claimed in memory only: a claim dies with the process, so
nothing stays locked.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from gateway.mail.outgoing import NewItem, NewRecipient, Sending
from gateway.outbound import params
from gateway.outbound.bodies import Bodies
from gateway.outbound.claims import Claims, Shares
from gateway.outbound.database import Database
from gateway.outbound.errors import QueueUnusable
from gateway.outbound.ledger import Ledger
from gateway.outbound.model import Attempt, KeptInjection, OwedReport, QueueItem, Unit, Work
from gateway.outbound.rows import Rows
from gateway.outbound.schedule import Schedule
from p2pcore.client.held_file import HeldFile
from p2pcore.clock import Clock
from p2pcore.mail.injection import Injection, SealedContent

__all__ = ["NewItem", "NewRecipient", "Queue"]

T = TypeVar("T")


def _jitter() -> float:
    return random.uniform(-1.0, 1.0)  # noqa: S311 - spreads load, protects nothing


class Queue:
    """The queue in `directory` (queue.db, bodies/); `key` is the storage key, 32 octets.

    Everything that changes it is durable on return. Raises QueueUnusable from every method.
    """

    def __init__(
        self,
        directory: Path,
        key: bytes,
        clock: Clock,
        *,
        schedule: Schedule | None = None,
        jitter: Callable[[], float] = _jitter,
    ) -> None:
        self.schedule = schedule or Schedule()
        self._directory = directory
        self._key = key
        self._clock = clock
        self._jitter = jitter
        self._bodies = Bodies(directory / "bodies")
        self._executor = ThreadPoolExecutor(1, "outbound queue")
        self._opened: tuple[Database, Rows, Ledger] | None = None
        self._closed = False
        self._wake = asyncio.Event()
        self._claims = Claims()

    async def open(self) -> None:
        """Open or create the queue and remove what a crash left over. Raises QueueUnusable, OSError."""
        await self._run(self._open)

    async def close(self) -> None:
        """Close the files for good; what is under way has been awaited by its owner. Idempotent."""
        if not self._closed:
            self._closed = True
            await self._run(self._close)
            self._executor.shutdown()

    async def knows(self, submitter: str, submission_id: str) -> bool:
        """Return whether this submission was accepted before (until 30 days after its outcome)."""
        return await self._run(lambda: self._rows.knows(submitter, submission_id))

    async def accept(self, item: NewItem) -> bool:
        """Keep `item`; durable on return. False: this submission was known, and nothing is kept twice.

        Raises QueueUnusable, OSError (and then nothing was kept), ValueError (no recipient).
        """
        if not item.recipients:
            raise ValueError("a queue item without recipients")
        if await self.knows(item.submitter, item.submission_id):
            return False
        source = item.content.source if isinstance(item.content, SealedContent) else b""
        # Held from here on: a caller that is cancelled closes its file while the thread still reads
        held = HeldFile.of(source) if isinstance(source, Path) else None
        added = await asyncio.to_thread(self._accept, item, held)
        self._wake.set()
        return added

    async def sendings(self) -> list[Sending]:
        """Return what was accepted in the last day, oldest first, whatever became of it since."""
        return await self._run(lambda: self._rows.sendings(self._clock() - params.SENDINGS_KEPT))

    # For the dispatcher

    async def claim(self, room: int, apart: str | None = None) -> Work:
        """Return what is due, at most `room` units of mail, and claim it: it is not returned again until released.

        `apart`: with a smarthost our own domain, which is apart from all others; None: every domain is.
        """
        shares = self._claims.shares()
        work = await self._run(lambda: self._due(shares, room, apart))
        self._claims.add(work)
        return work

    def release(self, claimed: Unit | OwedReport | KeptInjection) -> None:
        """Give a claim back; what became of it was recorded before."""
        if self._claims.remove(claimed):
            self._wake.set()

    async def wait(self, apart: str | None = None) -> None:
        """Return as soon as something that can be claimed, with the same `apart`, is due."""
        while True:
            self._wake.clear()
            at = await self._run(partial(self._next_due, self._claims.shares(), apart))
            left = params.CLOCK_CHECK if at is None else min(at - self._clock(), params.CLOCK_CHECK)
            if left <= 0:
                return
            try:
                async with asyncio.timeout(left / 1_000):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def record(self, item: QueueItem, attempts: Sequence[Attempt]) -> None:
        """Write down how tries for recipients of `item` ended, and the reports that this owes."""
        await self._run(lambda: self._free(self._ledger.record(item.id, attempts)))

    async def network_injections(self, item: QueueItem) -> list[KeptInjection]:
        """Return the kept statements of mail of `item` into our own domain."""
        return await self._run(lambda: self._rows.network_injections(item.id))

    async def keep_injection(
        self, item: QueueItem, injection: Injection, covers: dict[int, tuple[int, ...]]
    ) -> KeptInjection:
        """Keep finished statements, whose body is that of `item`; only on return may they be sent."""
        return await self._run(lambda: self._ledger.keep_injection(item.id, injection, covers))

    async def keep_report(self, owed: OwedReport, injection: Injection) -> bool:
        """Keep a finished report (its body in memory) instead of what was owed; it is due at once.

        False: the item was removed by hand, and the report with it.
        """
        kept = await self._run(lambda: self._ledger.keep_report(owed, injection))
        self._wake.set()
        return kept

    async def drop_report(self, owed: OwedReport) -> None:
        """Let go of a report that nobody can get."""
        await self._run(lambda: self._free(self._ledger.drop_report(owed)))

    async def postpone_report(self, owed: OwedReport, at: int) -> None:
        """Make the report not before `at`."""
        await self._run(lambda: self._ledger.postpone_report(owed.item.id, at))

    async def injected(self, kept: KeptInjection) -> None:
        """The report is on w nodes, or given up: forget it."""
        await self._run(lambda: self._free(self._ledger.injected(kept)))

    async def postpone_injection(self, kept: KeptInjection, at: int) -> None:
        """Repeat the report's statements at `at`."""
        await self._run(lambda: self._ledger.postpone_injection(kept, at))

    # For the administrator

    async def items(self, limit: int = params.LISTED) -> list[QueueItem]:
        """Return the oldest items, fewer where they have more than LISTED_RECIPIENTS recipients."""
        return await self._run(lambda: self._rows.items(limit))

    async def item(self, item_id: int) -> QueueItem | None:
        """Return one item, None where there is no such item (any more)."""
        return await self._run(lambda: self._rows.item(item_id))

    async def count(self) -> int:
        """Return the number of items."""
        return await self._run(lambda: self._rows.count())

    async def retry(self, item_id: int | None = None) -> int:
        """Make recipients due now, of one item (held ones too) or of all (not held); return how many.

        Of all: some at a time, so that others have their turn in between; killed meanwhile, the rest keeps its time.
        """
        count = 0
        after: tuple[int, int] | None = (0, 0)
        if item_id is not None:
            count, after = await self._run(lambda: self._ledger.retry(item_id)), None
        while after is not None:
            changed, after = await self._run(partial(self._ledger.retry_some, after))
            count += changed
        self._wake.set()
        return count

    async def hasten(self, domain: str, pause: int) -> None:
        """Make due what our own network put off: recipients of `domain`, `pause` after their last try, and reports."""
        await self._run(lambda: self._ledger.hasten(domain, pause))
        self._wake.set()

    async def hold(self, item_id: int) -> int:
        """Keep an item's recipients back until `retry`; return how many are, also those that were before."""
        return await self._run(lambda: self._ledger.hold(item_id))

    async def remove(self, item_id: int) -> bool:
        """Forget an item without a report. False: there is no such item."""
        return await self._run(lambda: self._free(self._ledger.remove(item_id)))

    def _accept(self, item: NewItem, held: HeldFile | None) -> bool:
        """Write body, then rows; in a thread from end to end, since a cancelled caller must not part the two."""
        content = item.content
        with held or nullcontext():
            if held is not None and isinstance(content, SealedContent):
                content = replace(content, source=held.path)
            file, sealed = self._bodies.write(content)
        added = False
        try:
            added = self._executor.submit(lambda: self._ledger.accept(item, file, sealed)).result()
        finally:
            if not added:
                self._bodies.remove(file)
        return added

    # The queue's thread

    @property
    def _rows(self) -> Rows:
        if self._opened is None:
            raise QueueUnusable("the queue is not open")
        return self._opened[1]

    @property
    def _ledger(self) -> Ledger:
        if self._opened is None:
            raise QueueUnusable("the queue is not open")
        return self._opened[2]

    def _open(self) -> None:
        self._bodies.path("").mkdir(parents=True, exist_ok=True, mode=0o700)
        database = Database(self._directory / "queue.db", self._key)
        rows = Rows(database, self._bodies, self._clock)
        try:
            self._bodies.keep_only(rows.files())
        except BaseException:
            database.close()
            raise
        self._opened = database, rows, Ledger(database, rows, self._clock, self.schedule, self._jitter)

    def _close(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _due(self, shares: Shares, room: int, apart: str | None) -> Work:
        rows, claims = self._rows, self._claims
        units, reports = rows.units(claims, shares, room, apart), rows.reports(claims.reports)
        return Work(tuple(units), tuple(reports), tuple(rows.injections_due(claims.injections)))

    def _next_due(self, shares: Shares, apart: str | None) -> int | None:
        self._ledger.catch_up()
        return self._rows.next_due(self._claims, shares, apart)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    def _free(self, files: Sequence[str]) -> bool:
        for name in files:
            self._bodies.remove(name)
        return bool(files)
