"""A whole database with its content files, copied as of one moment while it is used.

Content files are written once and never changed, so a file that the copied rows name needs only to stay: while files
are copied, those that no row names any more are kept back (Database.held_back), and removed afterwards; after a crash
by the next start, which removes what no row names. What the copy is worth before it is complete is the caller's
business: it makes a directory that has its name only then.
"""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final, Protocol, TypeVar

import apsw

from gateway.database import keyed
from gateway.mailbox.database import Database
from gateway.mailbox.maintenance import Progress
from p2pcore.crypto.files import sync_directory

T = TypeVar("T")

CHUNK: Final = 1 << 20  # octets
PAGES: Final = 256  # of one turn of the database's thread
FILES_AT_ONCE: Final = 16  # copied by one turn of a helper thread


class Queued(Protocol):
    """Runs a job on the database's one thread."""

    def __call__(self, job: Callable[[], T], /) -> Awaitable[T]: ...


async def copy(database: Database, queued: Queued, path: Path, key: bytes, progress: Progress) -> None:
    """Copy the database to `path` under `key` (32 octets), and its files beside it; durable on return.

    The directory of `path` is there and holds nothing else. Raises FileExistsError, OSError, apsw.Error.
    """
    files = path.parent / database.files.path.name
    await asyncio.to_thread(files.mkdir, mode=0o700)
    await queued(lambda: _hold(database))
    try:
        wanted = await _copy_rows(database, queued, path, key, progress)
        for start in range(0, len(wanted), FILES_AT_ONCE):
            await asyncio.to_thread(copy_files, database.files.path, files, wanted[start : start + FILES_AT_ONCE])
            progress("content files", min(start + FILES_AT_ONCE, len(wanted)), len(wanted))
    finally:
        await queued(lambda: _let_go(database))
    await asyncio.to_thread(_synced, path, files)


def _hold(database: Database) -> None:
    if database.held_back is not None:
        raise FileExistsError(17, "another backup of this is under way", str(database.files.path))
    database.held_back = []


def _let_go(database: Database) -> None:
    freed, database.held_back = database.held_back or [], None
    database.files.remove(freed)


async def _copy_rows(database: Database, queued: Queued, path: Path, key: bytes, progress: Progress) -> list[str]:
    """Copy the pages; gives the files that the copy names."""
    source = database.connection
    copied = await queued(lambda: _destination(path, key))
    try:
        pages = copied.backup("main", source, "main")
        try:
            while not await queued(lambda: pages.step(PAGES)):
                progress("database", pages.page_count - pages.remaining, pages.page_count)
        finally:
            await queued(pages.finish)
        return await queued(lambda: _named(database, copied))
    finally:
        await queued(copied.close)


def copy_closed(source: Path, old_key: bytes, target: Path, key: bytes) -> None:
    """Copy a database that nobody has open, with all files beside it, to another key; durable on return.

    Both are paths of databases; the directory of `target` is there and holds nothing else. Raises OSError, apsw.Error.
    """
    opened = keyed(source, old_key)
    try:
        copied = _destination(target, key)
        try:
            with copied.backup("main", opened, "main") as pages:
                while not pages.done:
                    pages.step(PAGES)
        finally:
            copied.close()
    finally:
        opened.close()
    for directory in (entry for entry in source.parent.iterdir() if entry.is_dir()):
        files = target.parent / directory.name
        files.mkdir(mode=0o700)
        copy_files(directory, files, sorted(os.listdir(directory)))
        sync_directory(files)
    _synced(target)


def copy_files(source: Path, target: Path, names: Sequence[str]) -> None:
    """Copy files, each durable on return, their names not yet. Raises OSError."""
    for name in names:
        with (source / name).open("rb") as original, open(target / name, "xb", opener=_private) as made:
            shutil.copyfileobj(original, made, CHUNK)
            made.flush()
            os.fsync(made.fileno())


def _named(database: Database, copied: apsw.Connection) -> list[str]:
    """The files that the copy's rows name; a file that none names (just written) is not copied."""
    there = set(os.listdir(database.files.path))
    tables = [table for (table,) in copied.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    named = set[str]()
    for table in tables:
        if any(column[1] == "file" for column in copied.execute(f"PRAGMA table_info({table})")):
            named |= {name for (name,) in copied.execute(f"SELECT file FROM {table} WHERE file NOT NULL")}  # noqa: S608 -- our own tables
    return sorted(named & there)


def _destination(path: Path, key: bytes) -> apsw.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    made = keyed(path, key)
    made.pragma("locking_mode", "EXCLUSIVE")
    return made


def _synced(path: Path, *directories: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    for directory in (*directories, path.parent):
        sync_directory(directory)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
