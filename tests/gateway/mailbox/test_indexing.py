"""The full-text index changes how fast SEARCH is, never what it finds."""

import base64
import random
import statistics
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TypeVar, cast

import apsw
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.mailbox import contents, database, indexing, matching, messages
from gateway.mailbox.database import Database
from gateway.mailbox.flags import store_flags
from gateway.mailbox.model import NewMessage
from gateway.mailbox.params import INDEX_SLICE, SEARCH_CHUNK
from gateway.mailbox.rows import rows
from gateway.mailbox.search import And, Body, Header, Not, Or, SearchKey, Text
from gateway.mailbox.store import MailStore
from gateway.mailbox.worker import Steps

T = TypeVar("T")

KEY = bytes(range(32))
ALPHABET = "abAB \"'*:-\u00e9e\u0301\u00df\u1e9es\ufb01fi\u0130\u0131\u03a3\u03c3\u03c2\u4f60\u597d\U0001f600\0"
WORDS = st.text(ALPHABET, max_size=12)


def _message(subject: str, body: str, attachment: str) -> bytes:
    encoded = base64.b64encode(subject.encode()).decode()
    return (
        (
            f"Subject: =?utf-8?b?{encoded}?=\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
            f"--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{body}\r\n"
            f"--b\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n"
            f"Content-Description: {attachment}\r\n\r\n"
        ).encode()
        + base64.encodebytes(attachment.encode())
        + b"--b--\r\n"
    )


def _keys(text: str) -> list[SearchKey]:
    return [Text(text), Body(text), Header("subject", text), Header("content-type", text)]


_LEAF = WORDS.flatmap(lambda text: st.sampled_from(_keys(text)))
QUERIES: st.SearchStrategy[SearchKey] = st.recursive(
    _LEAF,
    lambda inner: st.one_of(
        st.builds(Not, inner), st.builds(Or, inner, inner), st.tuples(inner, inner).map(lambda keys: And(keys))
    ),
    max_leaves=4,
)


def _finished(steps: Steps[T]) -> T:
    """What the steps come to."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast(T, end.value)


def _scan(opened: Database, query: SearchKey) -> tuple[int, ...]:
    """What looking at every message finds."""
    every = tuple(rows(opened, 1).values())
    return tuple(_finished(matching.examine(opened, 1, query, every)))


def _indexed(opened: Database, query: SearchKey) -> tuple[int, ...]:
    return _finished(matching.search(opened, 1, query, None))


def _undecided(opened: Database, query: SearchKey) -> list[int]:
    """UIDs of the messages that must be looked at."""
    return [row.uid for row in _finished(matching.decide(opened, 1, query, rows(opened, 1))).undecided]


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[Database]:
    await (await MailStore.open(tmp_path / "account", KEY)).close()
    opened = Database.open(tmp_path / "account", KEY, 0)
    yield opened
    opened.close()


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=4), st.lists(QUERIES, min_size=1, max_size=6))
def test_finds_what_a_scan_finds(raw: Database, mails: list[tuple[str, str, str]], queries: list[SearchKey]) -> None:
    """Invariant: for any mails, indexed or not, and any query, SEARCH by the index and by scan find the same."""
    queries = queries + _keys(mails[0][1][1:7]) + _keys(mails[-1][0][-5:])
    with raw.transaction() as transaction:
        uids = list(rows(raw, 1))
        store_flags(transaction, 1, uids, "replace", frozenset({"\\Deleted"}), None)
        messages.expunge(transaction, 1, None)
    for later in (False, True):
        with raw.transaction() as transaction:
            for mail in mails:
                new = NewMessage(_message(*mail), frozenset(), 0, 0)
                messages.append(transaction, "INBOX", [new])
            if not later:
                while indexing.index_slice(transaction):
                    continue
        with raw.reading():
            for query in queries:
                assert _indexed(raw, query) == _scan(raw, query)


async def test_index_is_used(store: MailStore) -> None:
    """A message without the needle's trigrams is not looked at; one that is not indexed yet is."""
    for number in range(3):
        await store.append("INBOX", _message(f"number {number}", "text", "file"), [], 0, 0)
    await store.indexed()
    await store.append("INBOX", _message("late", "text", "file"), [], 0, 0)
    assert await store._worker.read(_undecided, Header("subject", "number 1")) == [2, 4]
    assert await store.search(1, Header("subject", "number 1")) == (2,)
    assert await store.search(1, Not(Text("number"))) == (4,)


async def test_many_in_the_index(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However few contents are taken from the index at once, all are; copies of one message count as messages."""
    monkeypatch.setattr("gateway.mailbox.indexing.SEARCH_FOUND", 2)
    for number in range(7):
        await store.append("INBOX", _message(f"{'odd' if number % 2 else 'even'} number", "text", "file"), [], 0, 0)
    await store.copy(1, [2, 3], "INBOX")
    await store.copy(1, [4], "Archive")
    await store.indexed()
    for key, uids in ((Header("subject", "number"), [*range(1, 10)]), (Header("subject", "odd"), [2, 4, 6, 8])):
        assert await store._worker.read(_undecided, key) == uids
        assert await store.search(1, key) == tuple(uids)


async def test_more_candidates_than_are_kept(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that has many makes no other dearer, and finds what it should."""
    monkeypatch.setattr("gateway.mailbox.indexing.SEARCH_CANDIDATES", 2)
    for number in range(4):
        await store.append("INBOX", _message(f"number {number}", "text", "file"), [], 0, 0)
    await store.indexed()
    many, few = Header("subject", "number"), Header("subject", "number 2")
    assert await store._worker.read(_undecided, many) == [1, 2, 3, 4]
    assert await store._worker.read(_undecided, And((many, few))) == [3]
    assert await store.search(1, And((many, Not(few)))) == (1, 2, 4)


async def test_more_text_than_the_index_takes(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text beyond the cap is found all the same."""
    monkeypatch.setattr("gateway.mailbox.indexing.INDEXED_TEXT", 100)
    await store.append("INBOX", b"Subject: x\r\n\r\n" + b"filler " * 100 + b"needle\r\n", [], 0, 0)
    await store.indexed()
    assert await store.search(1, Body("needle")) == (1,)


async def test_expunged_contents_leave_no_trace(store: MailStore) -> None:
    """A content's number used again does not find the old text."""
    await store.append("INBOX", _message("old words", "", ""), ["\\Deleted"], 0, 0)
    await store.indexed()
    await store.expunge(1, None)
    await store.append("INBOX", _message("new words", "", ""), [], 0, 0)
    await store.indexed()
    assert not await store._worker.read(_undecided, Text("old words"))
    assert await store.search(1, Text("new words")) == (2,)


async def test_index_fills_by_itself(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """New mail is indexed without being asked for, after a moment."""
    monkeypatch.setattr("gateway.mailbox.index_job.INDEX_GATHER", 0)
    done = store._index.wanted
    await store.append("INBOX", _message("by itself", "", ""), [], 0, 0)
    assert done.is_set()
    while await store._worker.read(_count_unindexed):
        await store._worker.quiet.wait()


def test_a_turn_takes_the_same_however_much_is_indexed(raw: Database) -> None:
    """Each turn looks only at what it indexes: a large mailbox is filled in linear time."""
    with raw.transaction() as transaction:
        messages.append(transaction, "INBOX", [NewMessage(b"\r\nx\r\n", frozenset(), 0, 0)] * (INDEX_SLICE * 20))
    steps: list[int] = []

    def note() -> bool:
        steps[-1] += 1
        return False

    raw.connection.set_progress_handler(note, 50)
    more = True
    while more:
        steps.append(0)
        with raw.transaction() as transaction:
            more = indexing.index_slice(transaction)
    raw.connection.set_progress_handler(None)
    assert steps[-2] < 1.25 * steps[1], steps


def test_no_turn_puts_the_whole_index_together(raw: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work of merging what turns have added is shared out among them."""
    monkeypatch.setattr("gateway.mailbox.indexing.INDEX_SLICE", 1)
    draw = random.Random(1)
    mails = [b"\r\n" + draw.randbytes(1_500).hex().encode() + b"\r\n" for _ in range(300)]
    with raw.transaction() as transaction:
        messages.append(transaction, "INBOX", [NewMessage(mail, frozenset(), 0, 0) for mail in mails])
    pages: list[int] = []
    more = True
    raw.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, reset=True)
    while more:
        with raw.transaction() as transaction:
            more = indexing.index_slice(transaction)
        pages.append(raw.connection.status(apsw.SQLITE_DBSTATUS_CACHE_WRITE, reset=True)[0])
    assert max(pages) < 20 * statistics.median(pages)


def _count_unindexed(opened: Database) -> int:
    ((count,),) = opened.connection.execute("SELECT count(*) FROM unindexed")
    return int(count)


async def test_a_store_of_layout_1_is_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older store opens with all its mail, which is then indexed."""
    with monkeypatch.context() as older:
        older.setattr(database, "UPGRADES", {})
        older.setattr(database, "SCHEMA_VERSION", 1)
        older.setattr(contents, "HEAD_IN_ROW", 0)  # and so no fields in a table that layout 4 has
        opened = Database.open(tmp_path / "account", KEY, 0)
        with opened.transaction() as transaction:
            new = NewMessage(_message("kept", "over the years", ""), frozenset(), 0, 0)
            messages.append(transaction, "INBOX", [new])
        opened.close()
    store = await MailStore.open(tmp_path / "account", KEY)
    await store.indexed()
    assert await store.search(1, Text("years")) == (1,)
    await store.close()


async def test_large_text_in_pieces(store: MailStore) -> None:
    """A needle over the seam of two pieces is found, with marks that combine there."""
    text = ("a" * (SEARCH_CHUNK - 31) + "e\u0301" * 20 + "needle").encode()
    await store.append("INBOX", b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + text, [], 0, 0)
    for needle in ("\u00e9" * 20 + "needle", "e\u0301e\u0301", "needle"):
        assert await store.search(1, Body(needle)) == (1,)


def test_no_plain_text_on_disk(tmp_path: Path) -> None:
    """The index is encrypted with the rest."""
    opened = Database.open(tmp_path / "account", KEY, 0)
    with opened.transaction() as transaction:
        new = NewMessage(_message("x", "unmistakable phrase", ""), frozenset(), 0, 0)
        messages.append(transaction, "INBOX", [new])
        indexing.index_slice(transaction)
    opened.close()
    files = [path for path in (tmp_path / "account").rglob("*") if path.is_file()]
    assert not any(b"unmis" in path.read_bytes() for path in files)
