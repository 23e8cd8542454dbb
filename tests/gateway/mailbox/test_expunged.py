"""What is remembered of expunged messages."""

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.database import open_encrypted
from gateway.mailbox import expunged
from gateway.mailbox.expunged import runs
from gateway.mailbox.model import DELETED, NewMessage
from gateway.mailbox.schema import SCHEMA_VERSION
from gateway.mailbox.store import MailStore

_KEY = bytes(32)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MailStore]:
    opened = await MailStore.open(tmp_path, _KEY)
    yield opened
    await opened.close()


async def fill(store: MailStore, count: int) -> int:
    await store.append_many("INBOX", [NewMessage(b"x: 1\r\n\r\n", frozenset({DELETED}), 0, 0)] * count)
    return (await store.mailbox("INBOX")).id


async def modseq(store: MailStore) -> int:
    return (await store.mailbox("INBOX")).highest_modseq


async def test_what_went_since(store: MailStore) -> None:
    """Exactly the UIDs that went after a modseq are named (RFC 7162 §3.2.5.1)."""
    mailbox_id = await fill(store, 6)
    start = await modseq(store)
    await store.expunge(mailbox_id, [2, 3, 5])
    middle = await modseq(store)
    await store.move(mailbox_id, [1], "Archive")
    assert await store.expunged(mailbox_id, start) == ((1, 1), (2, 3), (5, 5))
    assert await store.expunged(mailbox_id, middle) == ((1, 1),)
    assert await store.expunged(mailbox_id, await modseq(store)) == ()


async def test_memory_survives_a_restart_and_ends_with_the_mailbox(tmp_path: Path) -> None:
    """It is durable with the expunge itself, and goes with the mailbox."""
    store = await MailStore.open(tmp_path, _KEY)
    mailbox_id = await fill(store, 2)
    start = await modseq(store)
    await store.expunge(mailbox_id, None)
    await store.close()
    store = await MailStore.open(tmp_path, _KEY)
    assert await store.expunged(mailbox_id, start) == ((1, 2),)
    made = await store.create("New")
    await store.append("New", b"x: 1\r\n\r\n", {DELETED}, 0, 0)
    await store.expunge(made.id, None)
    await store.delete("New")
    assert await store.expunged(made.id, 1) is None
    await store.close()


async def test_store_of_an_older_layout(tmp_path: Path) -> None:
    """A store from before this was remembered is taken over, and what went before is not claimed to be known."""
    store = await MailStore.open(tmp_path, _KEY)
    mailbox_id = await fill(store, 3)
    start = await modseq(store)
    await store.expunge(mailbox_id, [1])
    await store.close()
    connection = open_encrypted(tmp_path / "mail.db", _KEY, SCHEMA_VERSION, lambda _: None)
    connection.execute(
        "DROP TABLE expunged; ALTER TABLE mailboxes DROP COLUMN expunged_floor;"
        " DROP INDEX messages_content; DROP TABLE usual_fields; DROP TRIGGER content_without_fields;"
        " PRAGMA user_version = 2"
    )
    connection.close()
    store = await MailStore.open(tmp_path, _KEY)
    assert await store.expunged(mailbox_id, start) is None
    then = await modseq(store)
    await store.expunge(mailbox_id, [2])
    assert await store.expunged(mailbox_id, then) == ((2, 2),)
    await store.close()


async def test_memory_is_bounded(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound the oldest are forgotten, and who asks from before that is told so."""
    monkeypatch.setattr(expunged, "EXPUNGED_RUNS", 4)
    monkeypatch.setattr(expunged, "_KEPT", 3)
    mailbox_id = await fill(store, 20)
    modseqs = []
    for uid in (1, 3, 5, 7, 9):
        modseqs.append(await modseq(store))
        await store.expunge(mailbox_id, [uid])
    assert await store.expunged(mailbox_id, modseqs[1]) is None
    assert await store.expunged(mailbox_id, modseqs[2]) == ((5, 5), (7, 7), (9, 9))


async def test_one_great_expunge(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """More runs than are kept in one expunge are all forgotten together: there is no half of a modseq."""
    monkeypatch.setattr(expunged, "EXPUNGED_RUNS", 4)
    monkeypatch.setattr(expunged, "_KEPT", 3)
    mailbox_id = await fill(store, 20)
    start = await modseq(store)
    await store.expunge(mailbox_id, range(1, 20, 2))
    assert await store.expunged(mailbox_id, start) is None
    assert await store.expunged(mailbox_id, await modseq(store)) == ()


@given(st.sets(st.integers(1, 60)))
def test_runs_hold_the_same_numbers(numbers: set[int]) -> None:
    """Runs hold the numbers, and no two of them touch."""
    found = runs(sorted(numbers))
    assert {number for first, last in found for number in range(first, last + 1)} == numbers
    assert all(later[0] > earlier[1] + 1 for earlier, later in pairwise(found))
