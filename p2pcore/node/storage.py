"""The database behind a node: one writing thread with group commit, readers beside it.

Works that wait are executed in one transaction, then committed once with synchronous=FULL, then all their callers
resume: what `write` returned is on disk. A work makes its checks before its first change, so that one that raises
Failure has changed nothing; any other exception rolls the group back, and its works are run again, each alone.

    killed while          after the restart
    executing             nothing of the group is there; nobody was told success
    committing            all of the group or nothing
    after the commit      all of it is there; callers that were not told repeat, and repeating changes nothing
"""

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, Literal, TypeVar

import apsw

from p2pcore.clock import Clock
from p2pcore.errors import Failure, NodeFull
from p2pcore.node import charges
from p2pcore.node.inbox_counts import InboxCounts
from p2pcore.node.schema import open_reader, open_writer
from p2pcore.node.settings import NodeCounts

T = TypeVar("T")
Counted = Literal["objects", "entries", "versions", "tombstones"]

MAX_GROUP: Final = 200  # works in one transaction
READERS: Final = 2


class Ledger:
    """Numbers that every write moves: kept in memory by the writer, read back from the database after a rollback."""

    def __init__(self, db: apsw.Connection) -> None:
        self.reload(db)

    def reload(self, db: apsw.Connection) -> None:
        """Read everything from the database."""
        sequence = db.execute("SELECT value FROM meta WHERE name = 'sequence'").get
        assert isinstance(sequence, int)
        self.sequence = self._written = sequence
        row: Any = db.execute(_COUNTS).get
        objects, entries, versions, tombstones = row
        self.counts: dict[Counted, int] = {
            "objects": objects,
            "entries": entries,
            "versions": versions,
            "tombstones": tombstones,
        }
        self.free = 0  # on the disk, in octets, when the group of works began
        self.octets = 0
        self.inboxes = InboxCounts()
        self.entries_of: dict[tuple[bytes, bytes], int] = {}  # (inbox, signer), where `inboxes` has had to count them
        self.octets_of: dict[bytes, int] = {}  # by signer (certificate digest)
        self.certificates: set[bytes] = {fingerprint for (fingerprint,) in db.execute(_FINGERPRINTS)}
        for signer, octets in charges.by_signer(db):
            self.add(signer, octets)

    def next_number(self) -> int:
        """Return the next insertion number; never given twice in one incarnation of the database."""
        self.sequence += 1
        return self.sequence

    def add(self, signer: bytes, octets: int) -> None:
        """Count `octets` (negative: freed) of what `signer` signed."""
        self.octets += octets
        self.octets_of[signer] = self.octets_of.get(signer, 0) + octets

    def count(self, what: Counted, change: int) -> None:
        """Count rows that came (or went: negative)."""
        self.counts[what] += change

    def flush(self, db: apsw.Connection) -> None:
        """Write the sequence and inboxes' counts, inside the transaction that changed them."""
        self.inboxes.flush(db)
        if self.sequence != self._written:
            db.execute("UPDATE meta SET value = ? WHERE name = 'sequence'", (self.sequence,))
            self._written = self.sequence


_FINGERPRINTS: Final = "SELECT fingerprint FROM certificates"
_COUNTS: Final = """
    SELECT (SELECT count(*) FROM objects WHERE held > 0), (SELECT count(*) FROM entries),
           (SELECT count(*) FROM versions), (SELECT count(*) FROM tombstones)
"""


@dataclass(frozen=True, slots=True)
class Transaction:
    """What a work is given: the writing connection inside a transaction, the ledger, and now (ms)."""

    db: apsw.Connection
    ledger: Ledger
    now: int


Work = Callable[[Transaction], T]


@dataclass(slots=True)
class _Waiting(Generic[T]):
    work: Work[T]
    future: "asyncio.Future[T]"
    value: T | None = None
    error: BaseException | None = None


class Storage:
    """Owns the database file; `open` first, `close` last, both blocking."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._queue: queue.SimpleQueue[_Waiting[Any] | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._open_readers: list[apsw.Connection] = []
        self._readers = ThreadPoolExecutor(READERS, "node-read", initializer=self._start_reader)
        self._thread = threading.Thread(target=self._run, name="node-write", daemon=True)

    def open(self) -> None:
        """Open or make the database and start the writing thread. Raises what schema.open_writer does."""
        self._db = open_writer(self._path)
        self._ledger = Ledger(self._db)
        self._unsure = False  # a transaction failed, and its traces are not removed yet
        incarnation = self._db.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
        assert isinstance(incarnation, bytes)
        self.incarnation = incarnation
        self._thread.start()

    def close(self) -> None:
        """Finish what waits, then close; does nothing where `open` did not succeed."""
        if not self._thread.is_alive():
            return
        self._queue.put(None)
        self._thread.join()
        self._readers.shutdown(wait=True)
        for reader in self._open_readers:
            reader.close()
        self._db.close()

    @property
    def octets(self) -> int:
        """What counts in the quota, as of the last transactions."""
        return self._ledger.octets

    @property
    def sequence(self) -> int:
        """The last insertion number given, perhaps by a transaction that is not committed yet."""
        return self._ledger.sequence

    def octets_of(self, signer: bytes) -> int:
        """What counts of one signer (certificate digest), as of the last transactions."""
        return self._ledger.octets_of.get(signer, 0)

    def free(self) -> int:
        """Return the octets that are free on the disk now."""
        disk = os.statvfs(self._path)
        return disk.f_bavail * disk.f_frsize

    def counts(self) -> NodeCounts:
        """Return what is held, as of the last transactions."""
        return NodeCounts(**self._ledger.counts, octets=self._ledger.octets)

    async def write(self, work: Work[T]) -> T:
        """Run `work` on the writing thread; durable on return. Raises its Failure, NodeFull where the disk is full."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put(_Waiting(work, future))
        return await future

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        """Run `work` on a reading connection: it sees everything that `write` has returned."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._with_reader, work)

    def read_now(self, work: Callable[[apsw.Connection], T]) -> T:
        """The same for a thread that may block, on a connection of that thread."""
        if not hasattr(self._local, "db"):
            self._start_reader()
        return self._with_reader(work)

    def _start_reader(self) -> None:
        self._local.db = open_reader(self._path)
        self._open_readers.append(self._local.db)

    def _with_reader(self, work: Callable[[apsw.Connection], T]) -> T:
        db: apsw.Connection = self._local.db
        return work(db)

    def _run(self) -> None:
        while (first := self._queue.get()) is not None:
            group = [first]
            last = False
            while len(group) < MAX_GROUP and not self._queue.empty():
                following = self._queue.get()
                if following is None:
                    last = True
                    break
                group.append(following)
            self._execute(group)
            _resolve(group)
            if last:
                return

    def _execute(self, group: list[_Waiting[Any]]) -> None:
        try:
            self._recover()
            self._transact(group)
        except Exception as error:  # noqa: BLE001 - whatever a work raises is its caller's to handle
            self._unsure = True
            if len(group) > 1:
                for waiting in group:
                    self._execute([waiting])
                return
            group[0].error = NodeFull(f"disk: {error}") if isinstance(error, apsw.FullError) else error
            with suppress(apsw.Error):  # a disk that fails now fails the next write too, which tries again
                self._recover()

    def _recover(self) -> None:
        """After a failure: undo what was begun, and let the ledger say what the database does."""
        if self._unsure:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            self._ledger.reload(self._db)
            self._unsure = False

    def _transact(self, group: list[_Waiting[Any]]) -> None:
        transaction = Transaction(self._db, self._ledger, self._clock())
        self._db.execute("BEGIN IMMEDIATE")
        self._ledger.free = self.free()
        for waiting in group:
            waiting.error = None
            try:
                waiting.value = waiting.work(transaction)
            except Failure as failure:
                waiting.error = failure
        self._ledger.flush(self._db)
        self._db.execute("COMMIT")


def _resolve(group: list[_Waiting[Any]]) -> None:
    """Hand outcomes to the event loops that wait, one wake-up per loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Waiting[Any]]] = {}
    for waiting in group:
        by_loop.setdefault(waiting.future.get_loop(), []).append(waiting)
    for loop, items in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, items)


def _settle(items: list[_Waiting[Any]]) -> None:
    for waiting in items:
        if waiting.future.done():
            continue
        if waiting.error is not None:
            waiting.future.set_exception(waiting.error)
        else:
            waiting.future.set_result(waiting.value)
