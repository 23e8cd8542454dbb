"""A node's disk, looked at (and damaged) behind the program's back, as whoever owns the machine can.

The same SQLite as the node's own: another one in this process would undo its locks by closing the file.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import apsw

from gateway.site import Site
from p2pcore.records import EntryStatement, SignedStatement, decode
from tests.flow.machines import TIMEOUT


@dataclass(frozen=True)
class Held:
    """What waits on a node: bodies that it holds and entries that nobody has acknowledged."""

    bodies: int
    entries: int


class Disk:
    """The files of one site's node, which may be running."""

    def __init__(self, site: Site) -> None:
        self._directory = site.node

    def objects(self) -> int:
        """How many objects were ever stored here: a row outlives the body."""
        return self._number("SELECT count(*) FROM objects")

    def held(self) -> Held:
        return Held(
            self._number("SELECT count(*) FROM objects WHERE held > 0"), self._number("SELECT count(*) FROM entries")
        )

    def holds(self, object_key: bytes) -> bool:
        """Whether the body under this key is here."""
        return self._number("SELECT count(*) FROM objects WHERE held > 0 AND object_key = ?", object_key) > 0

    def bodies_of(self, digest: bytes) -> int:
        return self._number("SELECT count(*) FROM objects WHERE held > 0 AND digest = ?", digest)

    def entries_of(self, inbox_key: bytes) -> int:
        """How many entries wait in an inbox."""
        return self._number("SELECT count(*) FROM entries WHERE inbox_key = ?", inbox_key)

    def entries(self, inbox_key: bytes) -> list[EntryStatement]:
        """The entries that wait in an inbox."""
        with self._database() as database:
            rows: list[Any] = database.execute(
                "SELECT signed FROM entries WHERE inbox_key = ?", (inbox_key,)
            ).fetchall()
        statements = [decode(SignedStatement, signed).statement for (signed,) in rows]
        return [statement for statement in statements if isinstance(statement, EntryStatement)]

    def acknowledged(self, entry: bytes) -> bool:
        return self._number("SELECT count(*) FROM marks WHERE entry = ?", entry) > 0

    def revealed(self, object_key: bytes) -> int:
        """How many delete rights of the object under this key have been used."""
        return self._number(
            "SELECT count(*) FROM tombstones JOIN objects ON object = objects.number WHERE object_key = ?", object_key
        )

    def flip_bodies(self) -> int:
        """Turn over one bit in the middle of every body; return how many there were. A second call mends them."""
        with self._database() as database:
            database.execute("BEGIN IMMEDIATE")  # a reader that begins to write is refused, not made to wait
            rows: list[Any] = database.execute("SELECT object, octets FROM bodies").fetchall()
            for number, octets in rows:
                database.execute("UPDATE bodies SET octets = ? WHERE object = ?", (_flipped(octets), number))
            database.execute("COMMIT")
        files = list((self._directory / "bodies").iterdir())
        for file in files:
            file.write_bytes(_flipped(file.read_bytes()))
        return len(rows) + len(files)

    def forget_entries(self) -> None:
        """Lose every entry."""
        with self._database() as database:
            database.execute("DELETE FROM entries")

    def _number(self, sql: str, *values: bytes) -> int:
        with self._database() as database:
            number = database.execute(sql, values).get
        assert isinstance(number, int)
        return number

    @contextmanager
    def _database(self) -> Iterator[apsw.Connection]:
        database = apsw.Connection(str(self._directory / "node.db"))
        database.set_busy_timeout(TIMEOUT * 1_000)
        try:
            yield database
        finally:
            database.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about and nobody tells; ends with the test where it never comes."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _flipped(octets: bytes) -> bytes:
    middle = len(octets) // 2
    return octets[:middle] + bytes([octets[middle] ^ 1]) + octets[middle + 1 :]
