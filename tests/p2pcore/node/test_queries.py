"""Queries and framing of single requests (Table 3)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import names, params
from p2pcore.client.framing import LENGTH_OCTETS, MAX_STATEMENT, frame, statement_length
from p2pcore.errors import Malformed
from p2pcore.node.queries import (
    InboxQuery,
    ObjectQuery,
    VersionQuery,
    parse_fetch,
    parse_inbox,
    parse_range,
    parse_wait,
)
from p2pcore.records import SignedStatement, decode
from tests.support.identities import World, object_statement

KEY = names.key_of("alice@example.org-certificate")


def test_fetch_queries() -> None:
    """Without a kind an object is meant; a versioned one is named by an identifier that hashes to the key."""
    assert parse_fetch(KEY, {}) == ObjectQuery(b"")
    assert parse_fetch(KEY, {"kind": "object", "digest": "ab" * 32}) == ObjectQuery(b"\xab" * 32)
    query = {"kind": "certificate", "identifier": "alice@example.org-certificate"}
    assert parse_fetch(KEY, query) == VersionQuery("certificate", "alice@example.org-certificate")


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "inbox"},
        {"digest": "AB" * 32},
        {"digest": "ab" * 31},
        {"identifier": "alice@example.org-certificate"},
        {"kind": "certificate"},
        {"kind": "certificate", "identifier": "bob@example.org-certificate"},
        {"kind": "domain", "identifier": "\ud800"},
        {"wait": "1"},
    ],
)
def test_bad_fetch_queries(query: dict[str, str]) -> None:
    """Anything else is Malformed."""
    with pytest.raises(Malformed):
        parse_fetch(KEY, query)


@given(st.dictionaries(st.sampled_from(["kind", "digest", "identifier", "cursor", "incarnation", "x"]), st.text()))
def test_any_query_parses_or_is_malformed(query: dict[str, str]) -> None:
    """Invariant: a query gives a value within its bounds or Malformed, nothing else."""
    try:
        fetch = parse_fetch(KEY, query)
    except Malformed:
        pass
    else:
        assert isinstance(fetch, VersionQuery) or len(fetch.digest) in (0, 32)
    try:
        inbox = parse_inbox(query)
    except Malformed:
        pass
    else:
        assert 0 <= inbox.cursor <= 2**53
        assert len(inbox.incarnation) in (0, 16)


@given(st.binary(min_size=16, max_size=16), st.integers(0, 2**53))
def test_inbox_queries(incarnation: bytes, cursor: int) -> None:
    """Invariant: what a client writes into the query is what the node reads."""
    query = {"incarnation": incarnation.hex(), "cursor": str(cursor)}
    assert parse_inbox(query) == InboxQuery(incarnation, cursor)


@given(st.text())
def test_any_preference_is_a_bounded_wait(prefer: str) -> None:
    """Invariant: whatever Prefer says, nobody waits longer than WATCH_WAIT, and never a negative time."""
    assert 0 <= parse_wait(prefer) <= params.WATCH_WAIT


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [("wait=7", 7_000), ("respond-async, wait=10", 10_000), ("wait=999", 30_000), ("await=5", 0), ("wait=-1", 0)],
)
def test_preferences(prefer: str, wait: int) -> None:
    """RFC 7240 §4.3: wait is in whole seconds."""
    assert parse_wait(prefer) == wait


@given(st.text() | st.from_regex(r"bytes=\d*-\d*", fullmatch=True), st.integers(0, 10_000))
def test_any_range_lies_within_the_object(field: str, size: int) -> None:
    """Invariant: a range is ignored, Malformed, or a non-empty part of the object."""
    try:
        part = parse_range(field, size)
    except Malformed:
        return
    if part is not None:
        assert 0 <= part[0] < part[1] <= size


@pytest.mark.parametrize(
    ("field", "part"),
    [
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=-5", (95, 100)),
        ("bytes=90-1000", (90, 100)),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("lines=1-2", None),
    ],
)
def test_ranges(field: str, part: tuple[int, int] | None) -> None:
    """RFC 9110 §14.1.2: first-last, first-, -suffix."""
    assert parse_range(field, 100) == part


@given(st.binary(max_size=8))
def test_any_prefix_is_a_bounded_length(prefix: bytes) -> None:
    """Invariant: four octets give a length that a statement can have, or Malformed."""
    try:
        length = statement_length(prefix)
    except Malformed:
        return
    assert len(prefix) == LENGTH_OCTETS
    assert 0 < length <= MAX_STATEMENT


def test_frames() -> None:
    """A frame is the statement's length and the statement."""
    world = World()
    alice = world.user("alice")
    signed = alice.signer.sign([object_statement(alice.signer, world.clock())])[0]
    framed = frame(signed)
    assert statement_length(framed[:LENGTH_OCTETS]) == len(framed) - LENGTH_OCTETS
    assert decode(SignedStatement, framed[LENGTH_OCTETS:]) == signed
