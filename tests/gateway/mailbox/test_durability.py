"""What is still there after SIGKILL, a restart, another process, another key."""

import asyncio
import errno
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import apsw
import pytest

from gateway.mailbox import messages
from gateway.mailbox.database import Database
from gateway.mailbox.errors import StoreDamaged, StoreError, StoreFull, StoreLocked
from gateway.mailbox.model import NewMessage
from gateway.mailbox.store import MailStore
from p2pcore.crypto.streams import SegmentWriter
from tests.gateway.mailbox.conftest import check_counters

ROOT = Path(__file__).parents[3]
ROUNDS = 6

WORKER = """
import asyncio, os, sys
from pathlib import Path
from gateway.mailbox.model import Incoming
from gateway.mailbox.store import MailStore

async def main():
    directory, first = Path(sys.argv[1]), int(sys.argv[2])
    store = await MailStore.open(directory, bytes(range(32)))
    for number in range(first, first + 10_000, 2):
        items = [
            Incoming(
                n.to_bytes(32), None, b"Return-Path: <>\\r\\n",
                b"Subject: %d\\r\\n\\r\\n" % n + b"x" * (n % 3 * 90_000), n,
                "INBOX", frozenset(), b"%d" % n,
            )
            for n in (number, number + 1)
        ]
        filed = await store.file_incoming(items)
        uid = filed[0].uid
        await store.store_flags(1, [uid], "add", ["\\\\Deleted"])
        gone = await store.expunge(1, [uid])
        os.write(1, b"%d %d %d\\n" % (number, uid, filed[1].uid))

asyncio.run(main())
"""


def run_and_kill(directory: Path, first: int, replies: int) -> list[tuple[int, int, int]]:
    """Let a process file messages, kill it after so many replies, and give all that it replied."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(directory), str(first)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(replies)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL
    found = [tuple(int(word) for word in line.split()) for line in lines if line.endswith(b"\n")]
    return [(number, gone, kept) for number, gone, kept in found]


async def test_killed_again_and_again(tmp_path: Path) -> None:
    """After each SIGKILL: what was replied is there and whole, calls are all or nothing, counters and files fit."""
    directory = tmp_path / "account"
    draw = random.Random(7)
    replied: dict[int, tuple[int, int]] = {}
    for round_number in range(ROUNDS):
        first = round_number * 100_000
        answers = run_and_kill(directory, first, draw.randrange(1, 12))
        replied |= {number: (gone, kept) for number, gone, kept in answers}
        store = await MailStore.open(directory, bytes(range(32)))
        try:
            await check_counters(store)
            await check_replies(store, replied)
            await check_all_or_nothing(store, first, len(answers))
            snapshot = await store.snapshot("INBOX")
            assert len({row.uid for row in snapshot.messages}) == len(snapshot.messages)
            in_files = sum(row.size > 80_000 for row in snapshot.messages)
            assert len(os.listdir(directory / "messages")) == in_files
            for row in snapshot.messages:
                assert len(await store.read(1, row.uid)) == row.size
        finally:
            await store.close()


async def check_replies(store: MailStore, replied: dict[int, tuple[int, int]]) -> None:
    there = {row.uid: row for row in (await store.snapshot("INBOX")).messages}
    for number, (gone, kept) in replied.items():
        assert gone not in there
        assert there[kept].internal_date == number + 1
        content = b"Subject: %d\r\n\r\n" % (number + 1) + b"x" * ((number + 1) % 3 * 90_000)
        assert await store.read(1, kept) == b"Return-Path: <>\r\n" + content
    uidnext = (await store.mailbox("INBOX")).uidnext
    assert all(kept < uidnext for _, kept in replied.values())


async def check_all_or_nothing(store: MailStore, first: int, replies: int) -> None:
    """Of the call under way at the kill: both entries with both tasks, or neither."""
    numbers = range(first, first + 2 * (replies + 3))
    seen = await store.seen(n.to_bytes(32) for n in numbers)
    tasks = {int(task) for _, task in await store.pending_cleanup(1_000_000)}
    for number in numbers[::2]:
        pair = [n.to_bytes(32) in seen for n in (number, number + 1)]
        assert pair in ([True, True], [False, False])
        assert pair == [n in tasks for n in (number, number + 1)]


KILLED_AT = """
import asyncio, os, signal, sys
from pathlib import Path
from gateway.mailbox.sealed import SealedDirectory
from gateway.mailbox.store import MailStore

def die(*ignored):
    os.kill(os.getpid(), signal.SIGKILL)

async def main():
    store = await MailStore.open(Path(sys.argv[1]), bytes(range(32)))
    setattr(SealedDirectory, sys.argv[2], die)
    if sys.argv[2] == "sync":
        await store.append("INBOX", b"\\r\\n" + b"x" * 100_000, [], 0, 0)
    else:
        await store.expunge(1, None)

asyncio.run(main())
"""


@pytest.mark.parametrize(("step", "messages"), [("sync", 1), ("remove", 0)])
async def test_killed_between_file_and_row(tmp_path: Path, key: bytes, step: str, messages: int) -> None:
    """Killed with the file written and no row, or the row gone and the file there: the file is an orphan, no more."""
    store = await MailStore.open(tmp_path, key)
    await store.append("INBOX", b"\r\n" + b"x" * 100_000, ["\\Deleted"], 0, 0)
    await store.close()
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_AT, str(tmp_path), step, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert await killed.wait() == -signal.SIGKILL
    assert len(os.listdir(tmp_path / "messages")) == messages + 1
    store = await MailStore.open(tmp_path, key)
    await check_counters(store)
    assert len(os.listdir(tmp_path / "messages")) == (await store.mailbox("INBOX")).messages == messages
    assert (await store.append("INBOX", b"x", [], 0, 0))[1] == 2
    await store.close()


async def test_orphans_are_removed(tmp_path: Path, key: bytes) -> None:
    """A file without a row, as a crash before the commit leaves it, is gone after open; files with rows stay."""
    store = await MailStore.open(tmp_path, key)
    await store.append("INBOX", b"\r\n" + b"x" * 100_000, [], 0, 0)
    await store.close()
    (kept,) = os.listdir(tmp_path / "messages")
    (tmp_path / "messages" / ("0" * 32)).write_bytes(b"partly written")
    store = await MailStore.open(tmp_path, key)
    assert os.listdir(tmp_path / "messages") == [kept]
    assert len(await store.read(1, 1)) == 100_002
    await store.close()


async def test_reopened_as_it_was(tmp_path: Path, key: bytes) -> None:
    """Counters go on where they were: no UID, modseq or UIDVALIDITY is given twice."""
    store = await MailStore.open(tmp_path, key)
    await store.append("INBOX", b"x", ["\\Deleted"], 0, 0)
    await store.expunge(1, None)
    before = await store.mailboxes()
    made = await store.create("a")
    await store.delete("a")
    await store.close()
    store = await MailStore.open(tmp_path, key)
    assert await store.mailboxes() == before
    assert (await store.append("INBOX", b"x", [], 0, 0))[1] == 2
    assert (await store.create("a")).uidvalidity > made.uidvalidity
    await store.close()


async def test_one_process_at_a_time(tmp_path: Path, key: bytes) -> None:
    """A second opening is refused with INUSE; after close it is granted."""
    store = await MailStore.open(tmp_path, key)
    with pytest.raises(StoreLocked) as refusal:
        await MailStore.open(tmp_path, key)
    assert refusal.value.code == "INUSE"
    await store.close()
    await (await MailStore.open(tmp_path, key)).close()


async def test_another_key(tmp_path: Path, key: bytes) -> None:
    """A wrong key opens nothing and changes nothing."""
    await (await MailStore.open(tmp_path, key)).close()
    with pytest.raises(StoreDamaged):
        await MailStore.open(tmp_path, bytes(32))
    with pytest.raises(ValueError, match="32"):
        await MailStore.open(tmp_path, b"short")
    await (await MailStore.open(tmp_path, key)).close()


async def test_full_disk(tmp_path: Path, key: bytes) -> None:
    """A message for which there is no room leaves nothing, and the store goes on (OVERQUOTA)."""
    store = await MailStore.open(tmp_path, key)
    pages = store._database.connection.pragma("page_count")
    store._database.connection.pragma("max_page_count", pages + 4)
    large = NewMessage(b"Subject: s\r\n\r\n" + b"x" * 100_000, frozenset(), 0, 0)
    small = NewMessage(b"\r\n" + b"x" * 60_000, frozenset(), 0, 0)
    with pytest.raises(StoreFull) as refusal:
        await store.append_many("INBOX", [large, small])
    assert refusal.value.code == "OVERQUOTA"
    assert os.listdir(tmp_path / "messages") == []
    assert await store.append("INBOX", b"y", [], 0, 0) == ((await store.mailbox("INBOX")).uidvalidity, 1)
    await store.close()


async def test_missing_content_file(tmp_path: Path, key: bytes) -> None:
    """Damage from outside is reported for the message it struck, and only for that."""
    store = await MailStore.open(tmp_path, key)
    await store.append("INBOX", b"Subject: s\r\n\r\n" + b"x" * 100_000, [], 0, 0)
    await store.append("INBOX", b"y", [], 0, 0)
    (name,) = os.listdir(tmp_path / "messages")
    (tmp_path / "messages" / name).unlink()
    with pytest.raises(StoreDamaged) as refusal:
        await store.read(1, 1)
    assert refusal.value.code == "CORRUPTION"
    assert await store.read(1, 1, 0, 14) == b"Subject: s\r\n\r\n"
    assert await store.read(1, 2) == b"y"
    await store.close()


async def test_full_disk_under_a_content_file(tmp_path: Path, key: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that comes as a file is refused with the same words where there is no room (OVERQUOTA)."""
    store = await MailStore.open(tmp_path / "account", key)
    content = tmp_path / "content"
    content.write_bytes(b"Subject: s\r\n\r\n" + b"x" * 100_000)

    def full(self: object, data: memoryview) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "write", full)
    with pytest.raises(StoreFull):
        await store.append("INBOX", content, [], 0, 0)
    await store.close()


async def test_database_gone(tmp_path: Path, key: bytes) -> None:
    """Where an empty store is begun in place of one whose database is missing, the contents are kept for that."""
    store = await MailStore.open(tmp_path, key)
    await store.append("INBOX", b"Subject: s\r\n\r\n" + b"x" * 100_000, [], 0, 0)
    await store.close()
    (tmp_path / "mail.db").rename(tmp_path / "found again")
    store = await MailStore.open(tmp_path, key, clock=lambda: 5)
    assert await store.counts() == (6, 0)
    await store.close()
    (kept,) = (name for name in os.listdir(tmp_path) if name.startswith("messages-5-"))
    (tmp_path / "messages").rmdir()
    (tmp_path / kept).rename(tmp_path / "messages")
    (tmp_path / "found again").rename(tmp_path / "mail.db")
    store = await MailStore.open(tmp_path, key)
    assert await store.read(1, 1, 14, 5) == b"xxxxx"
    await store.close()


class FailsToSync:
    """A connection whose commits reach the disk, and yet are said to have failed: of the fsync nobody knows."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, *bindings: Any) -> object:
        result = self._connection.execute(sql, *bindings)
        if sql == "COMMIT":
            raise apsw.IOError("disk I/O error")
        return result

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)


def test_commit_that_failed_and_is_found_after_a_crash(tmp_path: Path, key: bytes) -> None:
    """The file of a message whose commit may have reached the disk stays until the next open, which knows."""
    database = Database.open(tmp_path, key, 0)
    database.connection = FailsToSync(database.connection)  # type: ignore[assignment]
    large = NewMessage(b"Subject: s\r\n\r\n" + b"x" * 100_000, frozenset(), 0, 0)
    with pytest.raises(StoreError) as refusal, database.transaction() as transaction:
        messages.append(transaction, "INBOX", [large])
    assert refusal.value.code == "UNAVAILABLE"
    database.close()
    database = Database.open(tmp_path, key, 0)
    assert messages.read(database, 1, 1, 14, 5) == b"xxxxx"
    database.close()
