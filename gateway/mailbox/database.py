"""The account's encrypted SQLite database: opened, and its transactions with what follows a commit.

Everything here runs on the store's one thread. What each table's state means after a crash is in store.py.
"""

import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import apsw
import structlog

from gateway.database import WrongLayout, open_encrypted
from gateway.mailbox.errors import StoreDamaged, StoreError, StoreFull, StoreLocked
from gateway.mailbox.model import Change
from gateway.mailbox.params import KIB, PAGE_CACHE
from gateway.mailbox.schema import FIRST_MAILBOXES, SCHEMA, SCHEMA_VERSION, UIDVALIDITY_SETTING, UPGRADES
from gateway.mailbox.sealed import SealedDirectory
from p2pcore.crypto.files import sync_directory

log = structlog.get_logger("mailbox")


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
        """Open or make the store (see MailStore.open); `now` in Unix seconds seeds UIDVALIDITY of a new one.

        Content files beside a new one are of a database that is gone: they are kept, in a directory of their own.
        """
        if len(key) != 32:
            raise ValueError(f"the store's key has {len(key)} octets, not 32")
        files = SealedDirectory(_made(directory / "messages"))
        lock = _locked(directory)
        try:
            with _translated():
                connection = open_encrypted(
                    directory / "mail.db", key, SCHEMA_VERSION, lambda created: _create(created, files, now), UPGRADES
                )
                connection.pragma("cache_size", -PAGE_CACHE // KIB)
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
                self._commit(transaction)
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                self.files.remove(transaction.written)
                raise
        if self.held_back is None:
            self.files.remove(transaction.freed)
        else:
            self.held_back += transaction.freed

    def _commit(self, transaction: Transaction) -> None:
        """Commit; where the log's fsync fails, the next open may find the rows all the same, so their files stay."""
        try:
            self.connection.execute("COMMIT")
        except apsw.IOError:
            transaction.written.clear()
            raise


def _made(directory: Path) -> Path:
    """The directory, made with mode 0700 and entered durably in its parents where it is new."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_directory(path.parent)
    return directory


def _locked(directory: Path) -> int:
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise StoreLocked(f"another process has the mail store {directory} open") from error
    return lock


def _create(connection: apsw.Connection, files: SealedDirectory, now: int) -> None:
    """Tables and first mailboxes; `now` in Unix seconds seeds UIDVALIDITY. Raises OSError."""
    if os.listdir(files.path):
        kept = files.path.with_name(f"{files.path.name}-{now}-{secrets.token_hex(4)}")
        log.warning("contents without their database", kept=str(kept), remedy="needed where mail.db is put back")
        files.path.rename(kept)
        _made(files.path)
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
    except apsw.IOError as error:
        raise StoreError("the mail store's disk cannot be read or written") from error
    except WrongLayout as error:
        raise StoreDamaged(str(error)) from error
    except (apsw.NotADBError, apsw.CorruptError) as error:
        raise StoreDamaged("the mail store's database is damaged, or the key is not its own") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("no room on the mail store's disk") from error
        raise
