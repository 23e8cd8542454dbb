"""One SQLite file whose every committed transaction is on disk, usable from several threads and processes."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from p2pcore.directory.errors import BookUnusable

Value = str | bytes | int | None

BUSY_WAIT: Final = 10_000  # ms that a writer waits for another process's transaction


class Database:
    """A connection with nested transactions: what an inner one raises undoes the outermost.

    WAL with synchronous=FULL: COMMIT returns after the fsync. The file is created with mode 0600, because it holds
    invitation codes. Nothing is cached in memory, so that several processes may have it open.
    """

    def __init__(self, path: Path, schema: str, version: int) -> None:
        """Open or create the file; `version` is the layout's number. Raises BookUnusable."""
        self._path = path
        self._lock = threading.RLock()
        self._depth = 0
        self._changed = False
        self._callbacks: list[Callable[[], None]] = []
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._connection = apsw.Connection(str(path))
        except OSError as error:
            raise BookUnusable(f"{path}: {error.strerror}") from error
        except apsw.Error as error:
            raise BookUnusable(f"{path}: {error}") from error
        try:
            self._prepare(schema, version)
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self, schema: str, version: int) -> None:
        try:
            self._connection.set_busy_timeout(BUSY_WAIT)
            self._connection.execute("PRAGMA journal_mode=WAL").fetchall()
            self._connection.execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON").fetchall()
        except apsw.Error as error:
            raise BookUnusable(f"{self._path}: {error}") from error
        with self.transaction():
            found = int(self.rows("PRAGMA user_version")[0][0])
            if found not in (0, version):
                raise BookUnusable(f"{self._path}: layout {found} is not the one this program writes ({version})")
            if found == 0:
                self.run_script(schema)
                self.run_script(f"PRAGMA user_version={version}")
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)  # the new file's name must survive a power cut like its content
        finally:
            os.close(directory)

    def close(self) -> None:
        """Close the file; further calls raise BookUnusable."""
        with self._lock:
            self._connection.close()

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the committing thread, after each transaction in which `note_change` was called."""
        self._callbacks.append(callback)

    def note_change(self) -> None:
        """Mark the transaction under way as one that others want to hear of."""
        self._changed = True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable together, or nothing of it where something raises."""
        with self._lock:
            if self._depth == 0:
                self._execute("BEGIN IMMEDIATE")
                self._changed = False
            self._depth += 1
            try:
                yield
                if self._depth == 1:
                    self._execute("COMMIT")
            except BaseException:
                if self._depth == 1:
                    self._roll_back()
                raise
            finally:
                self._depth -= 1
            heard = self._callbacks if self._depth == 0 and self._changed else []
        for callback in heard:
            callback()

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Return all rows of one statement. Raises BookUnusable."""
        with self._lock:
            return self._execute(sql, values)

    def run_script(self, sql: str) -> None:
        """Run several statements without parameters. Raises BookUnusable."""
        with self._lock:
            self._execute(sql)

    def run(self, sql: str, *values: Value) -> int:
        """Run one statement inside a transaction; return how many rows it changed. Raises BookUnusable."""
        with self._lock:
            assert self._depth > 0, "changes belong in a transaction"
            self._execute(sql, values)
            return self._connection.changes()

    def _execute(self, sql: str, values: tuple[Value, ...] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, values or None).fetchall()
        except apsw.Error as error:
            raise BookUnusable(f"{self._path}: {error}") from error

    def _roll_back(self) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except apsw.ConnectionClosedError:
            pass  # closed inside the transaction: SQLite undid it
