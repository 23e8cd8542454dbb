"""Filing from the network: once, whole, and remembered."""

from pathlib import Path

import pytest

from gateway.mailbox.model import Incoming, NewMessage
from gateway.mailbox.params import DAY, SEEN_LIFETIME
from gateway.mailbox.store import MailStore

TRACE = b"Return-Path: <a@b>\r\nReceived: from x\r\n by y\r\n"
CONTENT = b"From: a@b\r\nSubject: s\r\n\r\ntext"


def entry(number: int) -> bytes:
    return number.to_bytes(32)


def incoming(
    number: int,
    *,
    duplicate_of: bytes | None = None,
    day: int = 0,
    mailbox: str = "INBOX",
    content: bytes | Path = CONTENT,
) -> Incoming:
    return Incoming(
        entry_id=entry(number),
        duplicate_of=duplicate_of,
        trace=TRACE,
        content=content,
        internal_date=1_700_000_000 + day * DAY,
        mailbox=mailbox,
        keywords=frozenset({"$x"}),
        cleanup=b"task %d" % number,
    )


async def shown(store: MailStore, *items: Incoming) -> list[int | None]:
    return [filed.uid for filed in await store.file_incoming(items)]


async def test_trace_then_content(store: MailStore, tmp_path: Path) -> None:
    """The message is trace and content, whether small, large or in a file; its structure is of both."""
    large = tmp_path / "large"
    large.write_bytes(CONTENT + b"x" * 100_000)
    assert await shown(store, incoming(1), incoming(2, content=large)) == [1, 2]
    assert await store.read(1, 1) == TRACE + CONTENT
    assert await store.read(1, 2) == TRACE + large.read_bytes()
    for uid, one in (await store.precomputed(1, [1, 2])).items():
        whole = await store.read(1, uid)
        part = one.structure
        assert one.header_size == len(TRACE) + 25
        assert whole[part.body_offset :][: part.body_length] == whole[one.header_size :]
    row = (await store.snapshot("INBOX")).messages[0]
    assert (row.flags, row.internal_date, row.zone) == (frozenset({"$x"}), 1_700_000_000, 0)


async def test_an_entry_is_filed_once(store: MailStore) -> None:
    """An entry met again, in the same call or later, is not shown again; its clean-up is still to be done."""
    assert await shown(store, incoming(1), incoming(1)) == [1, None]
    assert await shown(store, incoming(1), incoming(2)) == [None, 2]
    assert await store.seen([entry(n) for n in (1, 2, 3)]) == {entry(1), entry(2)}
    tasks = await store.pending_cleanup(10)
    assert [task for _, task in tasks] == [b"task 1", b"task 1", b"task 1", b"task 2"]


async def test_duplicates(store: MailStore) -> None:
    """One copy of one duplicate hash within 7 days of reception, in any order; without it nothing is collapsed."""
    h = b"H" * 32
    assert await shown(store, incoming(1, duplicate_of=h, day=10), incoming(2, duplicate_of=h, day=17)) == [1, None]
    assert await shown(store, incoming(3, duplicate_of=h, day=3)) == [None]
    assert await shown(store, incoming(4, duplicate_of=h, day=18)) == [2]
    assert await shown(store, incoming(5, duplicate_of=b"I" * 32, day=10)) == [3]
    assert await shown(store, incoming(6), incoming(7)) == [4, 5]
    assert len(await store.seen([entry(n) for n in range(1, 8)])) == 7


async def test_a_duplicate_of_an_expunged_message_stays_away(store: MailStore) -> None:
    """What she has deleted does not come back with the sender's second attempt."""
    await shown(store, incoming(1, duplicate_of=b"H" * 32))
    await store.store_flags(1, [1], "add", ["\\Deleted"])
    await store.expunge(1, None)
    assert await shown(store, incoming(2, duplicate_of=b"H" * 32)) == [None]


async def test_junk(store: MailStore) -> None:
    """Junk is the mailbox with that special use, by whatever name; where there is none it is made."""
    await store.rename("Junk", "Rubbish")
    await shown(store, incoming(1, mailbox="Junk"))
    assert (await store.mailbox("Rubbish")).messages == 1
    await store.delete("Rubbish")
    await shown(store, incoming(2, mailbox="Junk"), incoming(3), incoming(4, mailbox="Junk"))
    junk = await store.mailbox("Junk")
    assert (junk.messages, junk.special_use) == (2, "\\Junk")


async def test_one_transaction(store: MailStore, tmp_path: Path) -> None:
    """An item that cannot be filed leaves nothing of the whole call."""
    with pytest.raises(FileNotFoundError):
        await store.file_incoming(
            [incoming(1, content=CONTENT + b"x" * 100_000), incoming(2, content=tmp_path / "missing")]
        )
    assert await store.seen([entry(1)]) == frozenset()
    assert await store.pending_cleanup(1) == ()
    assert await store.counts() == (6, 0)
    assert not list((tmp_path / "account" / "messages").iterdir())


async def test_cleanup_queue(store: MailStore) -> None:
    """Tasks come back oldest first until they are done."""
    await shown(store, *(incoming(n) for n in range(5)))
    first = await store.pending_cleanup(2)
    assert [task for _, task in first] == [b"task 0", b"task 1"]
    await store.cleanup_done(number for number, _ in first)
    assert [task for _, task in await store.pending_cleanup(9)] == [b"task 2", b"task 3", b"task 4"]
    last = (await store.pending_cleanup(9))[-1][0]
    assert [number for number, _ in await store.pending_cleanup(9, last - 2)] == [last - 1, last]
    assert await store.pending_cleanup(9, last) == ()


async def test_an_entry_without_a_message(store: MailStore) -> None:
    """It is seen and its task kept; it is not filed when it is met again."""
    await store.owe_cleanup(entry(1), b"owed")
    assert await store.seen([entry(1)]) == {entry(1)}
    assert await shown(store, incoming(1)) == [None]
    assert [task for _, task in await store.pending_cleanup(9)] == [b"owed", b"task 1"]


async def test_identities_outlive_every_entry(tmp_path: Path, key: bytes) -> None:
    """They are kept two days longer than any entry can live, and not for ever."""
    now = [1_700_000_000.0]
    store = await MailStore.open(tmp_path / "account", key, clock=lambda: now[0])
    await store.file_incoming([incoming(1, duplicate_of=b"H" * 32)])
    now[0] += SEEN_LIFETIME
    assert await shown(store, incoming(1)) == [None]
    now[0] += 1
    assert await shown(store, incoming(1, duplicate_of=b"H" * 32)) == [2]
    await store.close()


async def test_settings(store: MailStore) -> None:
    """Small values are kept and replaced; the store's own are not to be touched."""
    assert await store.setting("cursor") is None
    await store.set_setting("cursor", b"1")
    await store.set_setting("cursor", b"2")
    assert await store.setting("cursor") == b"2"
    with pytest.raises(ValueError, match="own"):
        await store.set_setting("store.uidvalidity", b"")


async def test_what_this_machine_makes_is_filed_once(store: MailStore) -> None:
    """The same identity again files nothing, wherever it would go; a missing special mailbox is made."""
    message = NewMessage(CONTENT, frozenset({"\\Seen"}), 1_700_000_000, 0)
    await store.delete("Sent")
    assert await store.file_once(entry(1), "\\Sent", message) == 1
    assert await store.file_once(entry(1), None, message) is None
    assert await store.file_once(entry(2), None, message) == 1
    assert (await store.mailbox("Sent")).messages == 1
    row = (await store.snapshot("Sent")).messages[0]
    assert row.flags == frozenset({"\\Seen"})


async def test_what_is_kept_is_bounded(store: MailStore) -> None:
    """The oldest kept task beyond the number or the octets is pending at once, under a new number; no number twice."""
    made = [
        Incoming(entry(number), None, b"", b"Subject: x\r\n\r\n", 0, "INBOX", frozenset(), b"%d" % number, 1_000, 10)
        for number in range(5)
    ]
    await store.file_incoming(made)
    assert await store.pending_cleanup(9) == ()
    assert await store.release_kept(0, 4, 1_000) is not None
    first = await store.pending_cleanup(9)
    assert [task for _, task in first] == [b"0"]
    assert await store.release_kept(0, 9, 25) is not None
    later = await store.pending_cleanup(9, first[-1][0])
    assert [task for _, task in later] == [b"1", b"2"]
    assert await store.release_kept(2**42, 9, 25) is None
    assert [task for _, task in await store.pending_cleanup(9, later[-1][0])] == [b"3", b"4"]
