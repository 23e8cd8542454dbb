"""Encrypted SQLite files: the one way in which mailboxes, outboxes and the gateway's queue open theirs."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

_BUSY_TIMEOUT: Final = 5_000  # ms; only a backup tool, or a predecessor that is just ending, can hold a lock


class WrongLayout(Exception):
    """The file was written by a program with other tables."""


def open_encrypted(path: Path, key: bytes, layout: int, create: Callable[[apsw.Connection], object]) -> apsw.Connection:
    """Open `path` (mode 0600), encrypted under `key` (32 octets); a commit is on disk when it returns.

    `create` makes the tables of a new file, in the transaction that also notes its `layout`: a crash in it leaves a new
    file. Raises WrongLayout, OSError, apsw.Error (NotADBError: damage, or another key), with nothing left open.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = apsw.Connection(str(path))
    try:
        # The order matters: the key is taken by the cipher chosen before it, and WAL is the first access.
        connection.pragma("cipher", "chacha20")
        connection.pragma("key", f"raw:{key.hex()}")
        connection.set_busy_timeout(_BUSY_TIMEOUT)
        connection.pragma("locking_mode", "EXCLUSIVE")  # one process: no shared-memory file
        connection.pragma("journal_mode", "WAL")
        connection.pragma("synchronous", "FULL")
        connection.pragma("temp_store", "MEMORY")  # SQLite does not encrypt temporary files
        connection.pragma("foreign_keys", True)
        _prepare(connection, path, layout, create)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: apsw.Connection, path: Path, layout: int, create: Callable[[apsw.Connection], object]) -> None:
    found = connection.pragma("user_version")
    if found == 0:
        with connection:
            create(connection)
            connection.pragma("user_version", layout)
    elif found != layout:
        raise WrongLayout(f"{path} has layout {found}; this program reads {layout}")
