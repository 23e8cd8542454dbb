"""What sessions are told: everything, once, in commit order."""

import asyncio

from gateway.mailbox.model import Change, Expunged, FlagsChanged, New, NewMessage
from gateway.mailbox.params import WATCH_LIMIT
from gateway.mailbox.store import MailStore
from gateway.mailbox.tracker import Tracker


def told(changes: list[Change]) -> list[tuple[str, int]]:
    return [
        (type(change).__name__, change.uid if isinstance(change, Expunged) else change.row.uid) for change in changes
    ]


async def test_a_reply_comes_with_its_changes(store: MailStore) -> None:
    """When a call returns, the watch already has what it did."""
    watch = store.tracker.watch(1)
    await store.append("INBOX", b"x", [], 0, 0)
    assert told(watch.take()) == [("New", 1)]
    await store.store_flags(1, [1], "add", ["\\Deleted"])
    await store.expunge(1, None)
    assert told(watch.take()) == [("FlagsChanged", 1), ("Expunged", 1)]
    assert watch.take() == []


async def test_only_its_mailbox(store: MailStore) -> None:
    """MOVE tells the source of the loss and the destination of the gain."""
    await store.append("INBOX", b"x", [], 0, 0)
    inbox, trash = store.tracker.watch(1), store.tracker.watch((await store.mailbox("Trash")).id)
    await store.move(1, [1], "Trash")
    assert told(inbox.take()) == [("Expunged", 1)]
    assert told(trash.take()) == [("New", 1)]


async def test_changed_wakes(store: MailStore) -> None:
    """A waiting session wakes for a change, and waits again once it has taken it."""
    watch = store.tracker.watch(1)
    waiting = asyncio.create_task(watch.changed())
    await store.snapshot("INBOX")
    assert not waiting.done()
    await store.append("INBOX", b"x", [], 0, 0)
    await waiting
    await watch.changed()
    watch.take()
    again = asyncio.create_task(watch.changed())
    await store.snapshot("INBOX")
    assert not again.done()
    again.cancel()


async def test_nothing_between_watch_and_snapshot(store: MailStore) -> None:
    """A session that starts amid changes and drops what its snapshot has ends with the mailbox as it is."""

    async def change() -> None:
        for number in range(30):
            await store.append_many("INBOX", [NewMessage(b"x", frozenset(), 0, 0)] * 2)
            await store.store_flags(1, [number, 2 * number], "add", ["\\Deleted", f"k{number}"])
            await store.expunge(1, [number])

    async def follow() -> None:
        watch = store.tracker.watch(1)
        snapshot = await store.snapshot("INBOX")
        view = {row.uid: row for row in snapshot.messages}
        await changing
        for change in watch.take():
            if change.modseq <= snapshot.mailbox.highest_modseq:
                continue
            match change:
                case New(row):
                    assert row.uid not in view
                    view[row.uid] = row
                case FlagsChanged(row):
                    assert row.uid in view
                    view[row.uid] = row
                case Expunged(uid):
                    del view[uid]
        watch.close()
        assert tuple(view.values()) == (await store.snapshot("INBOX")).messages

    changing = asyncio.create_task(change())
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(follow())
            await store.mailbox("INBOX")


async def test_overflow() -> None:
    """Above the limit the untaken are dropped and said to be; after a reset the watch goes on."""
    tracker = Tracker()
    watch = tracker.watch(1)
    changes = [(1, Expunged(uid, uid)) for uid in range(WATCH_LIMIT)]
    tracker.publish(changes, [])
    assert not watch.overflowed
    tracker.publish(changes[:1], [])
    assert watch.overflowed
    assert watch.take() == []
    await watch.changed()
    watch.reset()
    tracker.publish(changes[:1], [])
    assert watch.take() == [Expunged(0, 0)]


async def test_deleted_mailbox(store: MailStore) -> None:
    """A watch learns that its mailbox is gone, and a closed one learns nothing."""
    mailbox = await store.create("a")
    watch, closed = store.tracker.watch(mailbox.id), store.tracker.watch(mailbox.id)
    closed.close()
    closed.close()
    await store.delete("a")
    await watch.changed()
    assert watch.gone
    assert not closed.gone
