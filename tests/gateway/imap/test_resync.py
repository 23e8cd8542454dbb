"""QRESYNC's parameter and the choice of UIDs that are told to be gone."""

from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.resync import Ranges, Resync, known_ranges, vanished, vanished_responses
from gateway.imap.sequence_sets import SequenceSet
from gateway.mailbox.expunged import runs


def parse(text: str) -> Resync:
    return Resync.parse(Lexer((text.encode("ascii"),)))


def members(ranges: Ranges) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


_UIDS = st.sets(st.integers(1, 40))


@given(_UIDS, st.none() | _UIDS, st.none() | _UIDS, st.integers(0, 40))
def test_vanished_is_its_definition(
    gone: set[int], remembered: set[int] | None, known: set[int] | None, above: int
) -> None:
    """Named is what is gone, asked about, and went since; where that is forgotten, whatever is gone above `above`."""
    expected = {
        uid
        for uid in gone
        if (known is None or uid in known) and (uid in remembered if remembered is not None else uid > above)
    }
    told = vanished(
        None if remembered is None else runs(sorted(remembered)),
        None if known is None else runs(sorted(known)),
        runs(sorted(gone)),
        above,
    )
    assert members(told) == expected


def test_pairs_say_where_to_begin() -> None:
    """Up to the last pair that still holds nothing is missing (RFC 7162 §3.2.5.2)."""
    resync = parse("(1 1 1:9 (2,4,6 2,5,9))")
    assert resync.unchanged_up_to([1, 2, 3, 5, 7, 8]) == 5
    assert resync.unchanged_up_to([2, 3, 5]) == 0
    assert resync.unchanged_up_to([]) == 0
    assert parse("(1 1)").unchanged_up_to([1]) == 0


def test_hostile_pairs_are_cheap() -> None:
    """Pairs of the whole number space are looked at only as far as the mailbox goes."""
    assert parse("(1 1 (1:4294967295 1:4294967295))").unchanged_up_to([1, 2, 3]) == 3


def test_asks_about() -> None:
    """Changes are told of the UIDs that the client knows."""
    resync = parse("(1 1 5:7,2,3)")
    assert [uid for uid in range(1, 10) if resync.asks_about(uid)] == [2, 3, 5, 6, 7]


def test_star_is_the_highest_uid_that_was_given() -> None:
    """1:* reaches messages that were the last ones and are gone."""
    assert known_ranges(SequenceSet.parse("*:8"), 10) == [(8, 10)]
    assert known_ranges(SequenceSet.parse("3:1,2:5"), 10) == [(1, 5)]
    assert known_ranges(SequenceSet.parse("$"), 10) == []


def test_long_answer_is_several() -> None:
    """VANISHED is cut into responses of bounded size."""
    lines = list(vanished_responses(runs(range(1, 5_000, 2)), earlier=True))
    assert len(lines) == 3
    assert all(line.startswith(b"* VANISHED (EARLIER) ") and line.endswith(b"\r\n") for line in lines)
    assert list(vanished_responses([], earlier=False)) == []


@given(st.text("()1290:,*$ ", max_size=30))
def test_any_parameter_is_read_or_bad(text: str) -> None:
    """Whatever stands there, it is read or Bad."""
    with suppress(Bad):
        assert parse(text).modseq > 0
