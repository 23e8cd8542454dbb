"""gateway/mailbox/recent.py: what was read last is there without a read, and goes with its message."""

import asyncio

import pytest

from gateway.mailbox import recent
from gateway.mailbox.model import DELETED, Expunged, Octets, Precomputed
from gateway.mailbox.recent import RecentMessages
from gateway.mailbox.store import MailStore

MESSAGE = b"Subject: s\r\n\r\nbody %d\r\n"


def _message(size: int) -> Precomputed:
    return Precomputed(b"()", b"()", b"()", 0, size, b"", b"", b"x" * size)


async def _calls(store: MailStore, uids: list[int], octets: Octets) -> int:
    """How many jobs of the thread it took to read these."""
    before = store._worker.calls
    read = await store.precomputed(1, uids, octets)
    assert sorted(read) == [uid for uid in uids if uid in read]
    return store._worker.calls - before


async def _filled(store: MailStore, count: int) -> None:
    for number in range(count):
        await store.append("INBOX", MESSAGE % number, [], 0, 0)
    await store.indexed()


async def test_a_second_read_needs_no_thread(store: MailStore) -> None:
    """What was read with all octets answers for header and structure too, and never the other way round."""
    await _filled(store, 3)
    assert await _calls(store, [1], "none") == 1
    assert await _calls(store, [1], "none") == 0
    assert await _calls(store, [1], "header") == 1
    assert await _calls(store, [1, 2], "all") == 1
    for octets in ("none", "usual", "header", "all"):
        assert await _calls(store, [1, 2], octets) == 0
    assert (await store.precomputed(1, [2], "all"))[2].octets(0, 100) == MESSAGE % 1
    read = await store.precomputed(1, [1, 2, 3], "all")
    assert [read[uid].octets(0, 100) for uid in (1, 2, 3)] == [MESSAGE % number for number in range(3)]


async def test_it_goes_with_its_message(store: MailStore) -> None:
    """After an expunge, a move or a DELETE nothing of the message is left here, and its UID gives nothing."""
    await _filled(store, 3)
    await store.create("Other")
    other = (await store.mailbox("Other")).id
    await store.append("Other", MESSAGE % 9, [], 0, 0)
    await store.precomputed(1, [1, 2, 3], "all")
    await store.precomputed(other, [1], "all")
    await store.store_flags(1, [1], "add", [DELETED])
    await store.expunge(1, None)
    await store.move(1, [2], "Archive")
    await store.delete("Other")
    assert list(store._recent._kept) == [(1, 3)]
    assert list(await store.precomputed(1, [1, 2, 3], "all")) == [3]
    await store.repair(lambda what, done, of_all: None)
    assert not store._recent._kept
    assert store._recent._octets == 0


async def test_what_went_while_it_was_read_is_not_kept(store: MailStore) -> None:
    """A read that overtakes an expunge on its way back leaves nothing behind."""
    await _filled(store, 1)
    await store.store_flags(1, [1], "add", [DELETED])
    reading = asyncio.create_task(store.precomputed(1, [1], "all"))
    await asyncio.sleep(0)
    await store.expunge(1, None)
    assert list(await reading) == [1]
    assert not store._recent._kept


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages used last stay, up to RECENT_OCTETS; a long list of structures pushes nothing out."""
    monkeypatch.setattr(recent, "RECENT_OCTETS", 10_000)
    kept = RecentMessages()
    for uid in range(1, 6):
        kept.keep(1, {uid: _message(1_500)}, "all", 0)
        assert kept.of(1, [1], "all")
    assert sorted(uid for _, uid in kept._kept) == [1, 3, 4, 5]
    assert kept._octets == sum(one.octets for one in kept._kept.values()) <= 10_000
    kept.keep(1, {uid: _message(0) for uid in range(100, 200)}, "none", 0)
    kept.keep(1, {300: _message(0)}, "usual", 0)
    assert sorted(uid for _, uid in kept._kept) == [1, 3, 4, 5]
    kept.apply([(1, Expunged(3, 9)), (2, Expunged(4, 9))], [])
    kept.apply([], [7])
    assert sorted(uid for _, uid in kept._kept) == [1, 4, 5]
    kept.apply([], [1])
    assert not kept._kept
    assert kept._octets == 0
