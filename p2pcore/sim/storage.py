"""The seam under a node's store: the same schema and transactions, in memory and on the event loop."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from p2pcore.clock import Clock
from p2pcore.node.schema import open_writer
from p2pcore.node.storage import Ledger, Storage, Transaction, Work

T = TypeVar("T")

_MEMORY = Path(":memory:")
_ROOMY = 1 << 40  # octets: a disk that is never full


class MemoryStorage(Storage):
    """A node's disk: opened once, it outlives any number of the node's lives. Each work is a group of its own."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(_MEMORY, clock)

    def open(self) -> None:
        self._db = open_writer(_MEMORY)
        self._ledger = Ledger(self._db)
        incarnation = self._db.execute("SELECT value FROM meta WHERE name = 'incarnation'").get
        assert isinstance(incarnation, bytes)
        self.incarnation = incarnation

    def close(self) -> None:
        self._db.close()

    def free(self) -> int:
        return _ROOMY

    async def write(self, work: Work[T]) -> T:
        self._ledger.free = self.free()
        transaction = Transaction(self._db, self._ledger, self._clock())
        self._db.execute("BEGIN IMMEDIATE")
        try:
            value = work(transaction)
        except BaseException:
            self._db.execute("ROLLBACK")
            self._ledger.reload(self._db)
            raise
        self._ledger.flush(self._db)
        self._db.execute("COMMIT")
        return value

    async def read(self, work: Callable[[apsw.Connection], T]) -> T:
        return work(self._db)

    def read_now(self, work: Callable[[apsw.Connection], T]) -> T:
        return work(self._db)
