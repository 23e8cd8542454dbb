"""Storage: group commit, isolation of a failing work, numbers that never come back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import apsw
import pytest

from p2pcore.errors import NotFound
from p2pcore.node.storage import Ledger, Storage, Transaction
from tests.support.identities import ManualClock


@pytest.fixture
async def storage(tmp_path: Path) -> AsyncIterator[Storage]:
    storage = Storage(tmp_path / "node.db", ManualClock())
    await asyncio.to_thread(storage.open)
    yield storage
    await asyncio.to_thread(storage.close)


def put(name: str, value: int) -> Callable[[Transaction], int]:
    """A work that writes one row of meta and returns its number."""

    def work(transaction: Transaction) -> int:
        transaction.db.execute("INSERT INTO meta VALUES (?, ?)", (name, value))
        return transaction.ledger.next_number()

    return work


def get(name: str) -> Callable[[apsw.Connection], object]:
    return lambda db: db.execute("SELECT value FROM meta WHERE name = ?", (name,)).get


async def test_a_read_sees_what_write_returned(storage: Storage) -> None:
    """Whatever write has returned is there for every read."""
    await storage.write(put("x", 7))
    assert await storage.read(get("x")) == 7


async def test_many_works_share_few_commits(storage: Storage) -> None:
    """Works that wait together are committed together, and each gets its own outcome."""
    commits = 0

    def count() -> bool:
        nonlocal commits
        commits += 1
        return False

    await storage.write(lambda transaction: transaction.db.set_commit_hook(count))
    numbers = await asyncio.gather(*(storage.write(put(f"x{index}", index)) for index in range(300)))
    assert sorted(numbers) == list(range(min(numbers), min(numbers) + 300))
    assert 0 < commits < 300


async def test_an_unexpected_failure_spoils_no_other_work(storage: Storage) -> None:
    """A work that fails unexpectedly is rolled back alone; its neighbours are committed, its number is given again."""

    def broken(transaction: Transaction) -> None:
        transaction.ledger.next_number()
        transaction.db.execute("INSERT INTO meta VALUES ('broken', 1)")
        raise ZeroDivisionError

    def refused(_transaction: Transaction) -> None:
        raise NotFound("nothing")

    works: list[Callable[[Transaction], int | None]] = [put("a", 1), broken, refused, put("b", 2)]
    outcomes = await asyncio.gather(*(storage.write(work) for work in works), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [int, ZeroDivisionError, NotFound, int]
    assert [await storage.read(get(name)) for name in ("a", "b", "broken")] == [1, 2, None]
    first, *_, last = outcomes
    assert isinstance(first, int)
    assert last == first + 1


async def test_a_disk_that_recovers_is_written_to_again(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """While not even the traces of a failure can be removed every write fails; none hangs, and later ones succeed."""
    await storage.write(put("a", 1))
    genuine = Ledger.reload

    def broken(transaction: Transaction) -> None:
        transaction.ledger.count("entries", 5)
        raise apsw.IOError("disk")

    def failing(*_arguments: object) -> None:
        raise apsw.IOError("disk")

    monkeypatch.setattr(Ledger, "reload", failing)
    async with asyncio.timeout(10):
        outcomes = await asyncio.gather(
            *(storage.write(work) for work in (broken, put("b", 2), put("c", 3))), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [apsw.IOError] * 3
        monkeypatch.setattr(Ledger, "reload", genuine)
        await storage.write(put("d", 4))
    assert [await storage.read(get(name)) for name in "abcd"] == [1, None, None, 4]
    assert storage.counts().entries == 0


async def test_readers_cannot_write(storage: Storage) -> None:
    """A reading connection refuses changes."""
    with pytest.raises(apsw.ReadOnlyError):
        await storage.read(lambda db: db.execute("INSERT INTO meta VALUES ('x', 1)"))


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of another program is not opened, and not changed."""
    (tmp_path / "node.db").write_bytes(b"not a database, but long enough to be read as one" * 30)
    storage = Storage(tmp_path / "node.db", ManualClock())
    with pytest.raises(apsw.NotADBError):
        await asyncio.to_thread(storage.open)
    await asyncio.to_thread(storage.close)


async def test_a_database_of_the_version_before_is_brought_up_to_date(tmp_path: Path) -> None:
    """A store that an earlier program left opens, with everything in it and its incarnation; a later one's does not."""
    path = tmp_path / "node.db"
    first = Storage(path, ManualClock())
    await asyncio.to_thread(first.open)
    incarnation = first.incarnation
    await first.write(put("x", 7))
    await asyncio.to_thread(first.close)
    db = apsw.Connection(str(path))
    db.execute("DROP INDEX objects_by_use; ALTER TABLE objects DROP COLUMN used")
    db.execute("ALTER TABLE acknowledgements DROP COLUMN instance; PRAGMA user_version = 2")
    db.close()
    again = Storage(path, ManualClock())
    await asyncio.to_thread(again.open)
    assert (again.incarnation, await again.read(get("x"))) == (incarnation, 7)
    assert await again.read(lambda db: db.execute("SELECT count(used) FROM objects").get) == 0
    assert await again.read(lambda db: db.execute("SELECT count(instance) FROM acknowledgements").get) == 0
    await asyncio.to_thread(again.close)
    db = apsw.Connection(str(path))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RuntimeError, match="version 99"):
        await asyncio.to_thread(Storage(path, ManualClock()).open)
