"""gateway.database: a file that only its key opens, whose tables are whole or not there, and private."""

import os
import stat
from pathlib import Path

import apsw
import pytest

from gateway.database import WrongLayout, open_encrypted

KEY = bytes(range(32))


def _create(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE words (word TEXT)")


def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    """`create` is called once; the file shows nothing of what is in it, and nobody else may read it."""
    path = tmp_path / "a.db"
    connection = open_encrypted(path, KEY, 1, _create)
    connection.execute("INSERT INTO words VALUES ('plaintext')")
    assert all(b"plaintext" not in file.read_bytes() for file in tmp_path.iterdir())
    connection.close()
    connection = open_encrypted(path, KEY, 1, _create)
    assert list(connection.execute("SELECT word FROM words")) == [("plaintext",)]
    connection.close()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_each_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """A 250 stands on it: WAL with synchronous=FULL (2)."""
    connection = open_encrypted(tmp_path / "a.db", KEY, 1, _create)
    assert (connection.pragma("journal_mode"), connection.pragma("synchronous")) == ("wal", 2)
    assert connection.pragma("foreign_keys") == 1
    connection.close()


def test_another_key_or_layout_opens_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    open_encrypted(path, KEY, 1, _create).close()
    with pytest.raises(apsw.NotADBError):
        open_encrypted(path, bytes(32), 1, _create)
    with pytest.raises(WrongLayout, match="layout 1; this program reads 2"):
        open_encrypted(path, KEY, 2, _create)
    open_encrypted(path, KEY, 1, _create).close()


def test_a_crash_while_the_tables_are_made_leaves_a_new_file(tmp_path: Path) -> None:
    """The next open makes them afresh."""

    def crash(connection: apsw.Connection) -> None:
        _create(connection)
        raise OSError("no room")

    path = tmp_path / "a.db"
    with pytest.raises(OSError, match="no room"):
        open_encrypted(path, KEY, 1, crash)
    connection = open_encrypted(path, KEY, 1, _create)
    assert list(connection.execute("SELECT * FROM words")) == []
    connection.close()
