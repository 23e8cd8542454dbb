"""What is kept of mailboxes opened before is what reading them anew gives."""

import random

import pytest

from gateway.mailbox import messages
from gateway.mailbox.model import Change, Mailbox, MessageRow, New, NewMessage, Snapshot
from gateway.mailbox.snapshots import Snapshots
from gateway.mailbox.store import MailStore

STEPS = 150


@pytest.mark.parametrize("seed", range(4))
async def test_kept_rows_are_the_stored_ones(store: MailStore, seed: int) -> None:
    """After any sequence of changes, of one or several messages."""
    draw = random.Random(seed)
    names = ["INBOX", "Archive"]
    for name in names:
        await store.snapshot(name)
    for _ in range(STEPS):
        await _change(store, draw, draw.choice(names))
        name = draw.choice(names)
        kept = await store.snapshot(name)
        assert kept == await store._worker.read(messages.snapshot, name)
        assert list(kept.rows) == sorted(kept.rows)


async def _change(store: MailStore, draw: random.Random, name: str) -> None:
    mailbox = await store.mailbox(name)
    uids = [draw.randrange(1, mailbox.uidnext + 1) for _ in range(3)]
    match draw.randrange(6):
        case 0:
            items = [NewMessage(b"\r\nbody", frozenset({"\\Seen"}), 0, 0)] * draw.randrange(1, 4)
            await store.append_many(name, items)
        case 1:
            await store.store_flags(mailbox.id, uids, "add", ["\\Deleted"])
        case 2:
            await store.store_flags(mailbox.id, uids, "replace", [draw.choice(["a", "b"])])
        case 3:
            await store.expunge(mailbox.id, None)
        case 4:
            await store.move(mailbox.id, uids, "Archive")
        case 5:
            await store.copy(mailbox.id, uids, "INBOX")


async def test_what_is_handed_out_is_the_callers(store: MailStore) -> None:
    """Who changes a snapshot's rows changes nobody else's."""
    await store.append("INBOX", b"x", [], 0, 0)
    first = await store.snapshot("INBOX")
    first.rows.clear()
    second = await store.snapshot("INBOX")
    second.rows.clear()
    assert list((await store.snapshot("INBOX")).rows) == [1]


async def test_a_mailbox_made_again_is_another(store: MailStore) -> None:
    """Nothing is kept of a deleted mailbox."""
    await store.create("again")
    await store.append("again", b"x", [], 0, 0)
    await store.snapshot("again")
    await store.delete("again")
    await store.create("again")
    assert (await store.snapshot("again")).rows == {}


async def test_open_mailbox_misses_nothing(store: MailStore) -> None:
    """What comes after the snapshot is in the watch, whether the rows were known or not."""
    for known in (False, True):
        snapshot, watch = await store.open_mailbox("INBOX")
        _, uid = await store.append("INBOX", b"x", [], 0, 0)
        news = [change for change in watch.take() if change.modseq > snapshot.mailbox.highest_modseq]
        assert [change.row.uid for change in news if isinstance(change, New)] == [uid], known
        watch.close()


def _snapshot(mailbox_id: int, modseq: int, count: int) -> Snapshot:
    rows = {uid: MessageRow(uid, modseq, frozenset(), 0, 0, 1) for uid in range(1, count + 1)}
    return Snapshot(Mailbox(mailbox_id, "name", None, False, 1, count + 1, modseq, count, 0, 0, count), rows)


def test_a_snapshot_older_than_the_news_is_not_kept() -> None:
    """Else later changes would be added to rows that lack the ones between."""
    snapshots = Snapshots()
    news: Change = New(MessageRow(3, 8, frozenset(), 0, 0, 1))
    snapshots.apply([(1, news)], [])
    snapshots.keep(_snapshot(1, 7, 2))
    assert snapshots.rows(1) is None
    snapshots.keep(_snapshot(1, 8, 3))
    assert snapshots.rows(1) is not None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailboxes opened longest ago are let go, and one that is too large is never kept."""
    monkeypatch.setattr("gateway.mailbox.snapshots.SNAPSHOT_MAILBOXES", 3)
    monkeypatch.setattr("gateway.mailbox.snapshots.SNAPSHOT_MESSAGES", 10)
    snapshots = Snapshots()
    for number in range(1, 5):
        snapshots.keep(_snapshot(number, 1, 2))
    assert snapshots.rows(1) is None
    assert snapshots.rows(2) is not None  # used: now the last to go
    snapshots.keep(_snapshot(5, 1, 7))
    assert [number for number in range(1, 6) if snapshots.rows(number) is not None] == [2, 5]
    snapshots.keep(_snapshot(6, 1, 11))
    assert snapshots.rows(6) is None
