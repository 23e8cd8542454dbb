"""The queue's SQLite file: encrypted under the gateway's storage key, every committed transaction on disk.

All calls are made from the queue's one thread.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from gateway.database import WrongLayout, open_encrypted
from gateway.outbound.errors import QueueUnusable

Value = str | bytes | int | None

LAYOUT: Final = 3

SCHEMA: Final = """
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    submitter TEXT NOT NULL,
    submission_id TEXT NOT NULL,
    reverse_path TEXT NOT NULL,
    body TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    trace BLOB NOT NULL,
    ret TEXT NOT NULL,
    envelope_id TEXT NOT NULL,
    accepted INTEGER NOT NULL,
    file TEXT NOT NULL,
    session_key BLOB NOT NULL,
    digest BLOB NOT NULL,
    sealed_size INTEGER NOT NULL,
    content_size INTEGER NOT NULL,
    report_at INTEGER            -- when to make the reports owed; NULL: none is owed
);
CREATE INDEX items_report ON items (report_at) WHERE report_at IS NOT NULL;
CREATE TABLE recipients (
    item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    forward_path TEXT NOT NULL,
    domain TEXT NOT NULL,
    notify TEXT NOT NULL,
    orcpt TEXT NOT NULL,
    state TEXT NOT NULL,
    next_attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    last_attempt INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    remote TEXT NOT NULL DEFAULT '',
    warned INTEGER NOT NULL DEFAULT 0,
    stranger INTEGER NOT NULL DEFAULT 0,  -- 1: the item's reverse-path is null
    PRIMARY KEY (item, number)
) WITHOUT ROWID;
CREATE TABLE reports (
    item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    action TEXT NOT NULL,
    PRIMARY KEY (item, number)
) WITHOUT ROWID;
CREATE TABLE injections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    statements BLOB NOT NULL,
    body BLOB,                   -- a report's sealed body; NULL: the item's file
    covers TEXT NOT NULL,        -- JSON: recipient number -> entry indices
    begun INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_attempt INTEGER         -- reports only; mail goes by its recipients' times
);
CREATE INDEX injections_item ON injections (item);
CREATE INDEX injections_due ON injections (next_attempt) WHERE next_attempt IS NOT NULL;
CREATE TABLE submissions (
    submitter TEXT NOT NULL,
    submission_id TEXT NOT NULL,
    finished INTEGER,            -- NULL: it is in the queue
    PRIMARY KEY (submitter, submission_id)
) WITHOUT ROWID;
CREATE INDEX submissions_finished ON submissions (finished) WHERE finished IS NOT NULL;
"""

SENDINGS: Final = """
CREATE TABLE sendings (          -- of the last day, for the limit on each user's recipients
    at INTEGER NOT NULL,
    submitter TEXT NOT NULL,
    recipients INTEGER NOT NULL
);
CREATE INDEX sendings_at ON sendings (at);
"""
INDEXES: Final = """
CREATE INDEX recipients_due ON recipients (next_attempt, domain, stranger) WHERE state = 'pending';
CREATE INDEX items_accepted ON items (accepted);
"""
_STRANGERS: Final = """
DROP INDEX recipients_due;
ALTER TABLE recipients ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0;
UPDATE recipients SET stranger = 1 WHERE item IN (SELECT id FROM items WHERE reverse_path = '');
"""
_UPGRADES: Final = {1: SENDINGS, 2: _STRANGERS + INDEXES}


def _create(connection: apsw.Connection) -> None:
    connection.execute(SCHEMA + SENDINGS + INDEXES)


class Database:
    """One connection; COMMIT returns after the fsync."""

    def __init__(self, path: Path, key: bytes) -> None:
        """Open or create the file (mode 0600). Raises QueueUnusable."""
        self._path = path
        try:
            self._connection = open_encrypted(path, key, LAYOUT, _create, _UPGRADES)
        except (OSError, apsw.Error, WrongLayout) as error:
            raise QueueUnusable(f"{path}: {error}") from error

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside durable together, or nothing of it where something raises. Raises QueueUnusable."""
        self.rows("BEGIN IMMEDIATE")
        try:
            yield
            self.rows("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def rows(self, sql: str, *values: Value) -> list[tuple[Any, ...]]:
        """Return all rows of one statement. Raises QueueUnusable."""
        try:
            return self._connection.execute(sql, values or None).fetchall()
        except apsw.Error as error:
            raise QueueUnusable(f"{self._path}: {error}") from error

    def each(self, sql: str, *values: Value) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of one statement as they are found, so that a reader may stop early. Raises QueueUnusable."""
        try:
            yield from self._connection.execute(sql, values or None)
        except apsw.Error as error:
            raise QueueUnusable(f"{self._path}: {error}") from error

    def run(self, sql: str, *values: Value) -> int:
        """Run one statement; return how many rows it changed. Raises QueueUnusable."""
        self.rows(sql, *values)
        return self._connection.changes()
