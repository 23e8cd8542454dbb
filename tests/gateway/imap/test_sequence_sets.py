"""Sequence sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.errors import Bad
from gateway.imap.sequence_sets import SequenceSet, format_sequence_set


def test_star_is_the_largest() -> None:
    """ "*" is the largest number in use, on either side of ":" (RFC 3501 §9)."""
    assert SequenceSet.parse("*").positions(5) == [5]
    assert SequenceSet.parse("*:4").positions(5) == [4, 5]
    assert SequenceSet.parse("1:*").positions(3) == [1, 2, 3]


def test_uid_range_above_the_last_means_the_last() -> None:
    """559:* contains the last message even if its UID is below 559 (RFC 3501 §6.4.8)."""
    assert SequenceSet.parse("559:*").select([3, 7, 9]) == [9]


def test_numbers_in_any_order_come_ascending_and_once() -> None:
    """Order and repetition in the set do not matter."""
    assert SequenceSet.parse("4,2:3,3,5:4").positions(9) == [2, 3, 4, 5]
    assert SequenceSet.parse("4,2:3,3,5:4").select(range(1, 10)) == [2, 3, 4, 5]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1))
def test_a_set_is_what_its_ranges_have_together(ranges: list[tuple[int, int]]) -> None:
    """The numbers chosen are those that some range has, whatever the order and overlap of the ranges."""
    chosen = SequenceSet.parse(",".join(f"{first}:{last}" for first, last in ranges))
    expected = sorted({number for ends in ranges for number in range(min(ends), max(ends) + 1)})
    assert chosen.positions(9) == chosen.select(range(1, 10)) == expected


def test_hostile_set_is_cheap() -> None:
    """All messages of a large mailbox as often as a line can say it are gone through once."""
    assert len(SequenceSet.parse(",".join(["1:*"] * 16_000)).positions(100_000)) == 100_000


def test_sequence_number_out_of_range() -> None:
    """A sequence number that no message has is an error; a UID is not."""
    for text in ("6", "1:6", "6:*"):
        with pytest.raises(Bad, match="no message 6"):
            SequenceSet.parse(text).positions(5)
    assert SequenceSet.parse("6").select([1, 2]) == []


def test_empty_mailbox() -> None:
    """In an empty mailbox 1:* is nothing, 1 is an error."""
    assert SequenceSet.parse("1:*").positions(0) == []
    assert SequenceSet.parse("*").select([]) == []
    with pytest.raises(Bad):
        SequenceSet.parse("1").positions(0)


@pytest.mark.parametrize("text", ["", "0", "01", "1:", ":1", "1,,2", "1:2:3", "4294967296", "1-2", "9" * 30, ","])
def test_what_is_no_set(text: str) -> None:
    """Zero, leading zeros, missing parts and numbers above 32 bits are refused."""
    with pytest.raises(Bad):
        SequenceSet.parse(text)


def test_huge_range_is_cheap() -> None:
    """A range over all UIDs costs what the mailbox has."""
    assert SequenceSet.parse("1:4294967295").select([5, 4_000_000_000]) == [5, 4_000_000_000]


_NUMBER = st.integers(1, 40)
_RANGE = (
    _NUMBER.map(str)
    | st.just("*")
    | st.tuples(_NUMBER | st.just("*"), _NUMBER | st.just("*")).map(lambda pair: f"{pair[0]}:{pair[1]}")
)


@given(st.lists(_RANGE, min_size=1, max_size=6).map(",".join), st.sets(_NUMBER))
def test_select_is_the_definition(text: str, uids: set[int]) -> None:
    """`select` gives exactly the UIDs that some range of the set covers."""
    ordered = sorted(uids)
    largest = ordered[-1] if ordered else 0
    wanted: set[int] = set()
    for part in text.split(",") if ordered else []:
        ends = [largest if end == "*" else int(end) for end in part.split(":")]
        wanted |= {uid for uid in uids if min(ends) <= uid <= max(ends)}
    assert SequenceSet.parse(text).select(ordered) == sorted(wanted)


@given(st.lists(st.integers(1, 2**32 - 1), min_size=1))
def test_format_keeps_numbers_and_order(numbers: list[int]) -> None:
    """What is written, read range by range, is what was given."""
    read: list[int] = []
    for part in format_sequence_set(numbers).split(","):
        first, _, last = part.partition(":")
        read.extend(range(int(first), int(last or first) + 1))
    assert read == numbers
