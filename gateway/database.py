"""Encrypted SQLite files: the one way in which mailboxes, outboxes and the gateway's queue open theirs."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import apsw

_NO_UPGRADES: Final[Mapping[int, str]] = MappingProxyType({})
_BUSY_TIMEOUT: Final = 5_000  # ms; only a backup tool, or a predecessor that is just ending, can hold a lock


class WrongLayout(Exception):
    """The file was written by a program with other tables."""


def open_encrypted(
    path: Path,
    key: bytes,
    layout: int,
    create: Callable[[apsw.Connection], object],
    upgrades: Mapping[int, str] = _NO_UPGRADES,
) -> apsw.Connection:
    """Open `path` (mode 0600), encrypted under `key` (32 octets); a commit is on disk when it returns.

    `create` makes the tables of a new file, in the transaction that also notes its `layout`: a crash in it leaves a new
    file. A file of an older layout is brought up to it, all steps in one transaction; `upgrades` has the SQL that makes
    the next layout, by layout. Raises WrongLayout, OSError, apsw.Error (NotADBError: damage, or another key), with
    nothing left open.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = keyed(path, key)
    try:
        connection.set_busy_timeout(_BUSY_TIMEOUT)
        connection.pragma("locking_mode", "EXCLUSIVE")  # one process: no shared-memory file
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        connection.pragma("temp_store", "MEMORY")  # SQLite does not encrypt temporary files
        connection.pragma("foreign_keys", True)
        _prepare(connection, path, layout, create, upgrades)
    except BaseException:
        connection.close()
        raise
    return connection


def keyed(path: Path, key: bytes) -> apsw.Connection:
    """Return a connection to `path` under `key`, nothing read or written yet: for copies of whole databases."""
    connection = apsw.Connection(str(path))
    # The order matters: the key is taken by the cipher chosen before it, and whatever reads comes after both.
    connection.pragma("cipher", "chacha20")
    connection.pragma("key", f"raw:{key.hex()}")
    return connection


def _prepare(
    connection: apsw.Connection,
    path: Path,
    layout: int,
    create: Callable[[apsw.Connection], object],
    upgrades: Mapping[int, str],
) -> None:
    found = connection.pragma("user_version")
    if found == layout:
        return
    steps = range(found, layout) if found else range(0)
    if found > layout or not all(step in upgrades for step in steps):
        raise WrongLayout(f"{path} has layout {found}; this program reads {layout}")
    with connection:
        if found == 0:
            create(connection)
        for step in steps:
            connection.execute(upgrades[step])
        connection.pragma("user_version", layout)
