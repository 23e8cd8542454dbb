"""InboxCounts: what the writer remembers of inboxes is what the table says once it is written."""

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.node import inbox_counts
from p2pcore.node.inbox_counts import InboxCounts

INBOXES = [bytes([number]) * 32 for number in range(3)]

steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from(INBOXES), st.integers(-3, 9), st.integers(-300, 900)),
        st.tuples(st.sampled_from(["of", "read"]), st.sampled_from(INBOXES), st.just(0), st.just(0)),
        st.tuples(st.sampled_from(["flush", "forget"]), st.just(b""), st.just(0), st.just(0)),
    ),
    max_size=40,
)


def database() -> apsw.Connection:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE inboxes (inbox_key BLOB PRIMARY KEY, entries, octets, last_read) WITHOUT ROWID")
    return db


@given(steps)
def test_counts_are_sums(steps: list[tuple[str, bytes, int, int]]) -> None:
    """Whenever it is asked and whenever it is written, a count is the sum of what was added."""
    db, counts = database(), InboxCounts()
    expected = dict.fromkeys(INBOXES, (0, 0))
    for step, inbox, entries, octets in steps:
        match step:
            case "add":
                counts.add(inbox, entries, octets)
                expected[inbox] = (expected[inbox][0] + entries, expected[inbox][1] + octets)
            case "of":
                assert counts.of(db, inbox) == expected[inbox]
            case "read":  # its owner read: the row may come before any entry
                db.execute("INSERT INTO inboxes VALUES (?, 0, 0, 1) ON CONFLICT DO NOTHING", (inbox,))
            case "flush":
                counts.flush(db)
            case "forget":  # as after a restart
                counts.flush(db)
                counts = InboxCounts()
    counts.flush(db)
    written = {key: (entries, octets) for key, entries, octets, _ in db.execute("SELECT * FROM inboxes")}
    assert {inbox: written.get(inbox, (0, 0)) for inbox in INBOXES} == expected


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where nothing ever changes: a full node is asked about any number of inboxes."""
    monkeypatch.setattr(inbox_counts, "_MOST", 3)
    db, counts = database(), InboxCounts()
    counts.add(INBOXES[0], 1, 100)
    for number in range(10):
        assert counts.of(db, bytes([9, number]) * 16) == (0, 0)
    assert len(counts._counts) <= 3
    assert counts.of(db, INBOXES[0]) == (1, 100)
