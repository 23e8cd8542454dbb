"""Writes that wait together: one commit for all, and an outcome for each."""

import asyncio
from pathlib import Path

import apsw
import pytest

from gateway.mailbox import messages, settings
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.model import NewMessage
from gateway.mailbox.store import MailStore

MESSAGE = NewMessage(b"Subject: s\r\n\r\nbody\r\n", frozenset(), 0, 0)


def _commits(store: MailStore) -> list[int]:
    """Grows by an entry with every commit from now on."""
    made: list[int] = []

    def note() -> bool:
        made.append(1)
        return False  # and let it be made

    store._database.connection.set_commit_hook(note)
    return made


def _count(database: Database) -> int:
    ((count,),) = database.connection.execute("SELECT count(*) FROM contents")
    return int(count)


async def test_writes_that_wait_together_are_one_commit(store: MailStore) -> None:
    """Twenty appends at once get twenty UIDs, in the order of the calls, from fewer commits."""
    await store.indexed()
    made = _commits(store)
    results = await asyncio.gather(*(store.append_many("INBOX", [MESSAGE]) for _ in range(20)))
    assert [uids for _, uids in results] == [(uid,) for uid in range(1, 21)]
    assert len(made) < 20


async def test_one_that_fails_fails_alone(store: MailStore) -> None:
    """The others of its group are kept, each once, and nothing of the failed one is."""
    before = len(await store.mailboxes())
    outcomes = await asyncio.gather(
        store.append_many("INBOX", [MESSAGE]),
        store.append_many("missing", [MESSAGE]),
        store.create("made"),
        store.append_many("INBOX", [MESSAGE]),
        return_exceptions=True,
    )
    assert isinstance(outcomes[1], NoSuchMailbox)
    snapshot = await store.snapshot("INBOX")
    assert [row.uid for row in snapshot.messages] == [1, 2]
    assert len(await store.mailboxes()) == before + 1
    assert await store._worker.read(_count) == 2


async def test_files_of_a_group_that_failed(store: MailStore) -> None:
    """Large contents written before another call of the group failed leave no second file."""
    large = NewMessage(b"Subject: s\r\n\r\n" + b"x" * 100_000, frozenset(), 0, 0)
    outcomes = await asyncio.gather(
        store.append_many("INBOX", [large]), store.append_many("missing", [large]), return_exceptions=True
    )
    assert isinstance(outcomes[1], NoSuchMailbox)
    assert len(list(store._database.files.path.iterdir())) == 1
    assert await store.read(1, 1, 14, 5) == b"xxxxx"


async def test_who_gives_up_before_its_turn_changes_nothing(store: MailStore) -> None:
    """A call that was cancelled while it waited is not carried out with a later one."""
    given_up = asyncio.create_task(store.set_setting("given up", b"1"))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    waiting = list(store._worker._waiting)
    await store.set_setting("wanted", b"1")
    assert await store.setting("wanted") == b"1"
    if waiting:  # else the thread was quicker
        assert await store.setting("given up") is None


async def test_news_before_the_reply(store: MailStore) -> None:
    """Whoever has the reply to a write finds the change in its watch, for every call of a group."""
    watch = store.tracker.watch(1)

    async def append() -> bool:
        _, (uid,) = await store.append_many("INBOX", [MESSAGE])
        known.update(change.row.uid for change in watch.take() if hasattr(change, "row"))
        return uid in known

    known: set[int] = set()
    assert all(await asyncio.gather(*(append() for _ in range(10))))
    watch.close()


async def test_a_group_is_bounded(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beyond the bound is done by the next commit."""
    await store.indexed()
    monkeypatch.setattr("gateway.mailbox.worker.GROUP_WRITES", 3)
    made = _commits(store)
    await asyncio.gather(*(store.set_setting(f"name {number}", b"") for number in range(9)))
    assert len(made) >= 3


def test_work_done_again_finds_nothing_of_the_first_time(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A transaction that failed leaves the database as it was, so its works may be done again one by one."""
    database = Database.open(tmp_path_factory.mktemp("again") / "account", bytes(32), 0)

    def both(transaction: Transaction) -> None:
        settings.put(transaction, "first", b"1")
        messages.append(transaction, "missing", [MESSAGE])

    with pytest.raises(NoSuchMailbox), database.transaction() as transaction:
        both(transaction)
    assert settings.get(database, "first") is None
    database.close()


async def test_no_transaction_to_be_had(tmp_path: Path) -> None:
    """Writes for which none can be begun fail; nobody is told that they were done."""
    store = await MailStore.open(tmp_path, bytes(32))
    await store._worker.run(store._database.connection.close)
    outcomes = await asyncio.gather(store.delete("Archive"), store.set_setting("s", b""), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [apsw.ConnectionClosedError] * 2
    assert not store._worker._waiting
    await store.close()
