"""The outbox's encrypted SQLite database: opened and its tables; what each state means is in outbox.py.

Everything here runs on the outbox's one thread.
"""

import fcntl
import os
from pathlib import Path
from typing import Final, Self

import apsw

from gateway.database import WrongLayout, open_encrypted
from gateway.mailbox.database import Database
from gateway.mailbox.errors import StoreDamaged, StoreLocked
from gateway.mailbox.sealed import SealedDirectory
from p2pcore.crypto.files import sync_directory

SCHEMA_VERSION: Final = 1

SCHEMA: Final = """
CREATE TABLE messages (
    id TEXT PRIMARY KEY,         -- the submission ID
    accepted INTEGER NOT NULL,
    reverse_path TEXT NOT NULL,
    body TEXT NOT NULL,
    smtputf8 INTEGER NOT NULL,
    ret TEXT NOT NULL,
    envelope_id TEXT NOT NULL,
    parcels INTEGER NOT NULL DEFAULT 0,     -- numbers given so far, none is used again
    size INTEGER NOT NULL,
    file TEXT,
    file_key BLOB,
    octets BLOB
) WITHOUT ROWID;
CREATE TABLE recipients (
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    forward_path TEXT NOT NULL,
    notify TEXT NOT NULL,
    orcpt TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending',
    injection INTEGER REFERENCES injections (id),
    entry INTEGER,
    parcel INTEGER,
    next_attempt INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    delayed INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '',
    remote TEXT NOT NULL DEFAULT '',
    last_attempt INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (message_id, number)
) WITHOUT ROWID;
CREATE INDEX due ON recipients (next_attempt) WHERE state = 'pending';
CREATE INDEX of_injection ON recipients (injection);
-- Finished statements, and the sealed body as octets or as a file.
CREATE TABLE injections (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL,
    statements BLOB NOT NULL,
    octets BLOB,
    file TEXT
);
CREATE INDEX injections_of ON injections (message_id);
CREATE TABLE parcels (
    message_id TEXT NOT NULL REFERENCES messages (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    gateway BLOB NOT NULL,                  -- digests of 32 octets each, the latest first
    begun INTEGER NOT NULL,
    PRIMARY KEY (message_id, number)
) WITHOUT ROWID;
-- What is still to be filed in her mailbox: the copy of a kept message (octets NULL), or a report.
CREATE TABLE filings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    identity BLOB NOT NULL UNIQUE,
    message_id TEXT NOT NULL,
    time INTEGER NOT NULL,
    octets BLOB
);
CREATE INDEX filings_of ON filings (message_id);
"""

_KEPT_FILES: Final = (
    "SELECT file FROM messages WHERE file NOT NULL UNION SELECT file FROM injections WHERE file NOT NULL"
)


class OutboxDatabase(Database):
    """The open outbox with its directory of sealed files and its lock."""

    @classmethod
    def open(cls, directory: Path, key: bytes, now: int) -> Self:
        """Open or make the outbox in `directory`; files that a crash orphaned are removed. `key` is 32 octets.

        Raises StoreLocked (another process has it), StoreDamaged (damage, another key, or another layout).
        """
        if len(key) != 32:
            raise ValueError(f"the outbox's key has {len(key)} octets, not 32")
        files = SealedDirectory(directory / "contents")
        for path in (directory, files.path):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(path.parent)
        lock = _locked(directory)
        try:
            connection = _opened(directory / "outbox.db", key)
            kept = {name for (name,) in connection.execute(_KEPT_FILES)}
            files.remove_except(kept)
        except BaseException:
            os.close(lock)
            raise
        return cls(connection, files, lock)


def _locked(directory: Path) -> int:
    """Return a descriptor whose closing gives the lock back. Raises StoreLocked."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreLocked(f"another process has the outbox {directory} open") from error
    return lock


def _opened(path: Path, key: bytes) -> apsw.Connection:
    try:
        return open_encrypted(path, key, SCHEMA_VERSION, lambda connection: connection.execute(SCHEMA))
    except WrongLayout as error:
        raise StoreDamaged(str(error)) from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreDamaged("the outbox's database is damaged, or the key is not its own") from error
