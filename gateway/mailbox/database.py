"""The account's encrypted SQLite database: opened, its tables, and transactions with what follows a commit.

Everything here runs on the store's one thread. What each table's state means after a crash is in store.py.
"""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import apsw

from gateway.database import WrongLayout, open_encrypted
from gateway.mailbox.errors import StoreDamaged, StoreFull, StoreLocked
from gateway.mailbox.model import Change
from gateway.mailbox.sealed import SealedDirectory

SCHEMA_VERSION: Final = 3

SCHEMA: Final = """
CREATE TABLE mailboxes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    special_use TEXT,
    uidvalidity INTEGER NOT NULL,
    uidnext INTEGER NOT NULL DEFAULT 1,
    highest_modseq INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE subscriptions (name TEXT PRIMARY KEY) WITHOUT ROWID;
-- A message's octets, shared by all its copies: head || (rest, or the sealed file).
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL,
    size INTEGER NOT NULL,
    header_size INTEGER NOT NULL,
    sent_day INTEGER,            -- proleptic Gregorian ordinal of the Date field
    envelope BLOB NOT NULL,
    body BLOB NOT NULL,
    bodystructure BLOB NOT NULL,
    structure BLOB NOT NULL,
    file TEXT,
    file_key BLOB,
    head BLOB NOT NULL,
    rest BLOB
);
CREATE TABLE messages (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id),
    uid INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    flags TEXT NOT NULL,
    internal_date INTEGER NOT NULL,
    zone INTEGER NOT NULL,
    size INTEGER NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents (id),
    PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;
CREATE TABLE seen (entry_id BLOB PRIMARY KEY, filed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_filed ON seen (filed);
CREATE TABLE duplicates (
    hash BLOB NOT NULL, received INTEGER NOT NULL, filed INTEGER NOT NULL, PRIMARY KEY (hash, received)
) WITHOUT ROWID;
CREATE INDEX duplicates_filed ON duplicates (filed);
CREATE TABLE cleanup (id INTEGER PRIMARY KEY AUTOINCREMENT, task BLOB NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

SCHEMA_2: Final = """
-- What SEARCH finds candidates with (indexing.py); the rows are those of contents.
CREATE VIRTUAL TABLE texts USING fts5(
    header, body, content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1'
);
CREATE TABLE unindexed (content_id INTEGER PRIMARY KEY);
CREATE TABLE partly_indexed (content_id INTEGER PRIMARY KEY);
INSERT INTO unindexed SELECT id FROM contents;
CREATE TRIGGER content_added AFTER INSERT ON contents BEGIN
    INSERT INTO unindexed VALUES (new.id);
END;
-- Numbers of contents are used again, so nothing may outlive them.
CREATE TRIGGER content_gone AFTER DELETE ON contents BEGIN
    DELETE FROM texts WHERE rowid = old.id;
    DELETE FROM unindexed WHERE content_id = old.id;
    DELETE FROM partly_indexed WHERE content_id = old.id;
    UPDATE missing SET content_id = NULL WHERE content_id = old.id;
END;
ALTER TABLE cleanup ADD COLUMN entry_id BLOB;                   -- NULL: of a store of layout 1
ALTER TABLE cleanup ADD COLUMN due INTEGER NOT NULL DEFAULT 0;  -- Unix ms; not tried before
ALTER TABLE cleanup ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;  -- of the sealed body that waits in the network
CREATE INDEX cleanup_entry ON cleanup (entry_id);
CREATE INDEX cleanup_due ON cleanup (due);
INSERT INTO settings SELECT 'agent.outbox', CAST('released' AS BLOB)
    WHERE EXISTS (SELECT 1 FROM settings WHERE name = 'agent.instance');
-- Entries whose body was not found yet (missing.py).
CREATE TABLE missing (
    entry_id BLOB PRIMARY KEY,
    since INTEGER NOT NULL,      -- Unix ms, when it was first looked for in vain
    expires INTEGER NOT NULL,    -- Unix ms, of the entry
    shown INTEGER NOT NULL,      -- whether a placeholder was filed
    content_id INTEGER           -- of the placeholder, while there is one
) WITHOUT ROWID;
"""

SCHEMA_3: Final = """
-- UIDs that are gone, in runs, by the modseq under which they went (expunged.py).
CREATE TABLE expunged (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    modseq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, modseq, first)
) WITHOUT ROWID;
ALTER TABLE mailboxes ADD COLUMN expunged_floor INTEGER NOT NULL DEFAULT 0;  -- modseq up to which some are forgotten
UPDATE mailboxes SET expunged_floor = highest_modseq;
"""

UPGRADES: Final = {1: SCHEMA_2, 2: SCHEMA_3}
"""By layout, what makes the next one of it."""

FIRST_MAILBOXES: Final = (
    ("INBOX", None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
)
UIDVALIDITY_SETTING: Final = "store.uidvalidity"


@dataclass(slots=True)
class Transaction:
    """An open write transaction, and what is to happen when it has committed."""

    database: "Database"
    connection: apsw.Connection
    changes: list[tuple[int, Change]] = field(default_factory=list)  # told to the mailboxes' watches, in order
    gone: list[int] = field(default_factory=list)  # mailboxes deleted
    written: list[str] = field(default_factory=list)  # sealed files, removed again if it does not commit
    freed: list[str] = field(default_factory=list)  # sealed files, removed once it has


class Database:
    """The open database with its directory of sealed files and its lock."""

    def __init__(self, connection: apsw.Connection, files: SealedDirectory, lock: int) -> None:
        """Use `open`."""
        self.connection = connection
        self.files = files
        self.held_back: list[str] | None = None  # while a backup copies files: those that no row names any more
        self._lock = lock

    @classmethod
    def open(cls, directory: Path, key: bytes, now: int) -> Self:
        """Open or make the store (see MailStore.open); `now` in Unix seconds seeds UIDVALIDITY of a new one."""
        if len(key) != 32:
            raise ValueError(f"the store's key has {len(key)} octets, not 32")
        files = SealedDirectory(_made(directory / "messages"))
        lock = _locked(directory)
        try:
            with _translated():
                connection = open_encrypted(
                    directory / "mail.db", key, SCHEMA_VERSION, lambda created: _create(created, now), UPGRADES
                )
                kept = {name for (name,) in connection.execute("SELECT file FROM contents WHERE file NOT NULL")}
            files.remove_except(kept)
        except BaseException:
            os.close(lock)
            raise
        return cls(connection, files, lock)

    def close(self) -> None:
        """Close the database and give the lock back."""
        self.connection.close()
        os.close(self._lock)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Reads that see one state, with SQLite's errors translated."""
        with _translated():
            self.connection.execute("BEGIN")
            try:
                yield
            finally:
                self.connection.execute("ROLLBACK")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All of it durable at the end, or none: sealed files, their directory, then the commit."""
        transaction = Transaction(self, self.connection)
        with _translated():
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield transaction
                if transaction.written:
                    self.files.sync()
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self.files.remove(transaction.written)
                raise
        if self.held_back is None:
            self.files.remove(transaction.freed)
        else:
            self.held_back += transaction.freed


def _made(directory: Path) -> Path:
    """The directory, made with mode 0700 and entered durably in its parents where it is new."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(parent)
        finally:
            os.close(parent)
    return directory


def _locked(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreLocked(f"another process has the mail store {directory} open") from error
    return lock


def _create(connection: apsw.Connection, now: int) -> None:
    """Tables and first mailboxes; `now` in Unix seconds seeds UIDVALIDITY."""
    connection.execute(SCHEMA)
    for layout in sorted(UPGRADES):
        connection.execute(UPGRADES[layout])
    for number, (name, special_use) in enumerate(FIRST_MAILBOXES):
        connection.execute(
            "INSERT INTO mailboxes (name, special_use, uidvalidity) VALUES (?, ?, ?)",
            (name, special_use, now + number),
        )
        connection.execute("INSERT INTO subscriptions VALUES (?)", (name,))
    last = now + len(FIRST_MAILBOXES) - 1
    connection.execute("INSERT INTO settings VALUES (?, ?)", (UIDVALIDITY_SETTING, last.to_bytes(8)))


@contextmanager
def _translated() -> Iterator[None]:
    """SQLite's and the file system's conditions in the store's words."""
    try:
        yield
    except apsw.FullError as error:
        raise StoreFull("no room on the mail store's disk") from error
    except WrongLayout as error:
        raise StoreDamaged(str(error)) from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreDamaged("the mail store's database is damaged, or the key is not its own") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("no room on the mail store's disk") from error
        raise
