"""SEARCH against RFC 9051 §6.4.4: each key finds what it should and nothing else."""

import asyncio
import base64
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox.contents import sent_day
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.matching import by_row
from gateway.mailbox.model import MessageRow, NewMessage
from gateway.mailbox.params import CONTENT_IN_ROW, SEARCH_CHUNK
from gateway.mailbox.search import (
    All,
    And,
    Body,
    Date,
    Flag,
    Header,
    Larger,
    ModSeq,
    Not,
    Or,
    SearchKey,
    Smaller,
    Text,
    Uids,
)
from gateway.mailbox.store import MailStore

FIRST = (
    b"From: =?utf-8?q?J=C3=BCrgen?= <jm@example.org>\r\nTo: team@example.net\r\nSubject: Quarterly\r\n numbers\r\n"
    b"Date: Tue, 31 Dec 2024 23:30:00 -0800\r\nX-Empty:\r\n\r\nThe profit is up.\r\n"
)
SECOND = (
    b"From: b@example.org\r\nSubject: Re: Quarterly numbers\r\nDate: nonsense\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    b"Content-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe und prof=\r\nit\r\n--b\r\n"
    b"Content-Type: application/octet-stream; name=table.xls\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"secretword")
    + b"--b--\r\n"
)
THIRD = (
    b"Subject: large\r\nDate: 1 Jan 25 00:10 +0100\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes(b"filler " * SEARCH_CHUNK + b"straddling needle " + b"filler " * 1000)
)
NOON_UTC = 1_735_646_400  # 2024-12-31 12:00


@pytest.fixture
async def filled(store: MailStore) -> MailStore:
    await store.append("INBOX", FIRST, ["\\Seen", "Work"], NOON_UTC, 0)
    await store.append("INBOX", SECOND, ["\\Flagged"], NOON_UTC, 13 * 60)  # there it is 2025-01-01 01:00
    await store.append("INBOX", THIRD, [], NOON_UTC + 86_400, 0)
    return store


EVE, NEW_YEAR = date(2024, 12, 31), date(2025, 1, 1)
CASES: list[tuple[SearchKey, tuple[int, ...]]] = [
    (All(), (1, 2, 3)),
    (And(()), (1, 2, 3)),
    (Flag("\\seen", True), (1,)),
    (Flag("\\Seen", False), (2, 3)),
    (Flag("WORK", True), (1,)),
    (Flag("absent", True), ()),
    (Header("subject", "quarterly NUMBERS"), (1, 2)),
    (Header("Subject", "quarterly  numbers"), ()),
    (Header("from", "JÜRGEN"), (1,)),
    (Header("from", "ju\u0308rgen"), (1,)),
    (Header("from", "=?utf-8"), ()),
    (Header("from", "example.org"), (1, 2)),
    (Header("to", ""), (1,)),
    (Header("x-empty", ""), (1,)),
    (Header("x-empty", "x"), ()),
    (Header("bcc", ""), ()),
    (Header("sub", "quarterly"), ()),
    (Body("PROFIT"), (1, 2)),
    (Body("grüSSe"), (2,)),
    (Body("numbers"), ()),
    (Body("secretword"), ()),
    (Body("c2VjcmV0"), ()),
    (Body("table.xls"), (2,)),
    (Body("straddling needle"), (3,)),
    (Text("numbers"), (1, 2)),
    (Text("profit"), (1, 2)),
    (Text("team@"), (1,)),
    (Text("no such words"), ()),
    (Date("internal", "on", EVE), (1,)),
    (Date("internal", "on", NEW_YEAR), (2, 3)),
    (Date("internal", "before", NEW_YEAR), (1,)),
    (Date("internal", "since", NEW_YEAR), (2, 3)),
    (Date("sent", "on", EVE), (1,)),
    (Date("sent", "on", NEW_YEAR), (3,)),
    (Date("sent", "before", NEW_YEAR), (1,)),
    (Date("sent", "since", EVE), (1, 3)),
    (Larger(len(FIRST)), (2, 3)),
    (Smaller(len(FIRST)), ()),
    (Smaller(len(FIRST) + 1), (1,)),
    (Uids(frozenset({1, 3, 9})), (1, 3)),
    (Uids(frozenset()), ()),
    (ModSeq(3), (2, 3)),
    (Not(Header("subject", "quarterly")), (3,)),
    (Not(Date("sent", "on", EVE)), (2, 3)),
    (Or(Flag("Work", True), Body("needle")), (1, 3)),
    (And((Header("subject", "quarterly"), Flag("\\Flagged", True))), (2,)),
    (And((Not(Body("profit")), Or(Smaller(1), Larger(10)))), (3,)),
]


@pytest.mark.parametrize(("key", "uids"), CASES, ids=lambda value: str(value)[:60])
async def test_key(filled: MailStore, key: SearchKey, uids: tuple[int, ...]) -> None:
    """What it finds."""
    assert await filled.search(1, key) == uids


KEYS = 20
ABSENT = And(tuple(Not(Header("subject", f"absent {number}")) for number in range(KEYS)))
SEARCHES: list[tuple[SearchKey, int]] = [
    (ABSENT, 1),  # the index is asked for each
    (And(tuple(Not(Body(chr(0x4E00 + number))) for number in range(KEYS))), 1),  # too short for the index
    (Flag("absent", present=False), KEYS),
]


@pytest.mark.parametrize(("query", "messages"), SEARCHES, ids=["index", "content", "rows"])
async def test_other_calls_get_their_turn(
    store: MailStore, monkeypatch: pytest.MonkeyPatch, query: SearchKey, messages: int
) -> None:
    """A search holds the store for one key or a few rows at a time."""
    monkeypatch.setattr("gateway.mailbox.worker.TURN", 0)
    monkeypatch.setattr("gateway.mailbox.matching.SEARCH_SLICE", 1)
    await store.append_many("INBOX", [NewMessage(FIRST, frozenset(), 0, 0)] * messages)
    await store.indexed()
    searching = asyncio.create_task(store.search(1, query))
    others = 0
    await asyncio.sleep(0)  # it is queued now
    while not searching.done():
        await store.setting("name")
        others += 1
    assert others >= KEYS
    assert await searching == tuple(range(1, messages + 1))


async def test_what_happens_meanwhile(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is as of the beginning: flags and arrivals of later do not count, what is expunged is left out."""
    monkeypatch.setattr("gateway.mailbox.worker.TURN", 0)
    large = FIRST + b"filler\r\n" * CONTENT_IN_ROW
    for content, flags in ((FIRST, []), (FIRST, ["\\Deleted"]), (large, ["\\Deleted"]), (FIRST, [])):
        await store.append("INBOX", content, flags, 0, 0)
    await store.indexed()
    searching = asyncio.create_task(store.search(1, And((ABSENT, Flag("late", False), Body("is")))))
    await asyncio.sleep(0)
    await store.setting("name")  # it has begun now
    await store.append("INBOX", FIRST, [], 0, 0)
    await store.store_flags(1, [1], "add", ["late"])
    assert await store.expunge(1, None) == (2, 3)
    assert not searching.done()
    assert await searching == (1, 4)


async def test_a_large_message_goes_meanwhile(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that is amid a message's text when it is expunged goes on, and leaves it out."""
    monkeypatch.setattr("gateway.mailbox.worker.TURN", 0)
    monkeypatch.setattr("gateway.mailbox.text.SEARCH_CHUNK", 1000)
    await store.append("INBOX", FIRST + b"filler\r\n" * CONTENT_IN_ROW, ["\\Deleted"], 0, 0)
    await store.append("INBOX", FIRST, [], 0, 0)
    searching = asyncio.create_task(store.search(1, Not(Body("zq"))))  # too short for the index
    for _ in range(10):
        await store.setting("name")
    assert await store.expunge(1, None) == (1,)
    assert not searching.done()
    assert await searching == (2,)


async def test_mailbox_deleted_meanwhile(store: MailStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no answer then."""
    monkeypatch.setattr("gateway.mailbox.worker.TURN", 0)
    mailbox = await store.create("short-lived")
    await store.append("short-lived", FIRST, [], 0, 0)
    searching = asyncio.create_task(store.search(mailbox.id, And(tuple(Body(f"{number}") for number in range(KEYS)))))
    await asyncio.sleep(0)
    await store.delete("short-lived")
    with pytest.raises(NoSuchMailbox):
        await searching


async def test_missing_mailbox(store: MailStore) -> None:
    """A deleted mailbox is said to be missing, not empty."""
    with pytest.raises(NoSuchMailbox):
        await store.search(99, All())


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (b"Tue, 31 Dec 2024 23:30:00 -0800", date(2024, 12, 31)),
        (b"1 Jan 99 00:00 GMT", date(1999, 1, 1)),
        (b"1 Jan 49 00:00 GMT", date(2049, 1, 1)),
        (b"Thu,\t13 FEB 1969 23:32 -0330 (Newfoundland Time)", date(1969, 2, 13)),
        (b"Thu,13 February 2020", date(2020, 2, 13)),
        (b"31 Feb 2020 00:00:00 +0000", None),
        (b"2020-02-13", None),
        (b"", None),
        (None, None),
    ],
)
def test_sent_day(value: bytes | None, day: date | None) -> None:
    """The day as written (RFC 5322 §3.3, obsolete years of §4.3), or none."""
    assert sent_day(value) == (day.toordinal() if day else None)


_LEAVES: st.SearchStrategy[SearchKey] = st.sampled_from(
    [All(), Flag("a", True), Flag("b", False), Larger(5), Uids(frozenset({1})), ModSeq(2), Body("x")]
)
_KEYS = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(Or, inner, inner),
        st.lists(inner, max_size=3).map(lambda keys: And(tuple(keys))),
    ),
)


def evaluated(key: SearchKey, row: MessageRow, body: bool) -> bool:
    """By plain two-valued logic, with the one key that needs the content given."""
    match key:
        case And(keys):
            return all(evaluated(one, row, body) for one in keys)
        case Or(a, b):
            return evaluated(a, row, body) or evaluated(b, row, body)
        case Not(inner):
            return not evaluated(inner, row, body)
        case Body():
            return body
    verdict = by_row(key, row)
    assert verdict is not None
    return verdict


@given(_KEYS, st.frozensets(st.sampled_from(["a", "b"])), st.integers(1, 3), st.integers(1, 10))
def test_rows_never_decide_wrongly(key: SearchKey, flags: frozenset[str], uid: int, size: int) -> None:
    """What a row decides is so whatever the content is; what it leaves open depends on it or may."""
    row = MessageRow(uid, uid, flags, 0, 0, size)
    verdict = by_row(key, row)
    for body in (True, False):
        assert verdict in (None, evaluated(key, row, body))


async def test_a_date_beyond_the_calendar(store: MailStore) -> None:
    """A message whose date INTERNALDATE cannot say counts as of 1970, as that says; the others are found."""
    await store.append("INBOX", FIRST, [], 10**15, 0)
    await store.append("INBOX", FIRST, [], 1_700_000_000, 0)
    assert await store.search(1, Date("internal", "since", date(2020, 1, 1))) == (2,)
    assert await store.search(1, Date("internal", "on", date(1970, 1, 1))) == (1,)
