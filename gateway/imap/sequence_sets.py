"""Sequence sets (RFC 3501 §9 `sequence-set`): sets of sequence numbers or UIDs as the client wrote them."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.imap.errors import Bad

_STAR = None


@dataclass(frozen=True, slots=True)
class SequenceSet:
    """Ranges in the client's order; None stands for "*", the largest number in use.

    `saved`: "$", what the last SEARCH saved (RFC 5182); `View.chosen` knows that, the methods here do not.
    """

    ranges: tuple[tuple[int | None, int | None], ...]
    saved: bool = False

    @classmethod
    def parse(cls, text: str) -> "SequenceSet":
        """Raises Bad: zero, empty parts, numbers above 32 bits."""
        if text == "$":
            return cls((), saved=True)
        return cls(tuple(_parse_range(part) for part in text.split(",")))

    def _bounds(self, largest: int) -> Iterable[tuple[int, int]]:
        for first, last in self.ranges:
            low = largest if first is None else first
            high = largest if last is None else last
            yield (low, high) if low <= high else (high, low)  # RFC 3501 §9: 4:2 is 2:4

    def positions(self, count: int) -> list[int]:
        """The sequence numbers of a mailbox with `count` messages, ascending, each once.

        Raises Bad for a number above `count` (RFC 3501 §9: seq-number). An empty mailbox has no "*": 1:* is nothing.
        """
        for first, last in self.ranges:
            if max(first or 0, last or 0) > count and not (count == 0 and None in (first, last)):
                raise Bad(f"there is no message {max(first or 0, last or 0)}; the mailbox has {count}")
        chosen: list[int] = []
        reached = 0
        for low, high in sorted(self._bounds(count)):  # each once, however often ranges overlap
            chosen.extend(range(max(low, reached + 1), min(high, count) + 1))
            reached = max(reached, high)
        return chosen

    def select(self, uids: Sequence[int]) -> list[int]:
        """Those of `uids` (ascending) that are in the set, ascending; UIDs that do not exist are no error."""
        if not uids:
            return []
        spans: list[tuple[int, int]] = []
        for low, high in self._bounds(uids[-1]):
            start, stop = bisect_left(uids, low), bisect_right(uids, high)
            if start < stop:
                spans.append((start, stop))
        if len(spans) == 1:
            return list(uids[spans[0][0] : spans[0][1]])
        chosen: list[int] = []
        reached = 0
        for start, stop in sorted(spans):
            chosen.extend(uids[max(start, reached) : stop])
            reached = max(reached, stop)
        return chosen


def _parse_range(part: str) -> tuple[int | None, int | None]:
    first, colon, last = part.partition(":")
    start = _parse_number(first)
    return start, _parse_number(last) if colon else start


def _parse_number(text: str) -> int | None:
    if text == "*":
        return _STAR
    # RFC 3501 §9: nz-number, so neither 0 nor a leading zero
    if not text or len(text) > 10 or not text.isdecimal() or text[0] == "0" or int(text) >= 2**32:
        raise Bad(f'"{text[:20]}" is not a sequence number')
    return int(text)


def format_sequence_set(numbers: Iterable[int]) -> str:
    """Numbers in the order given, runs written as ranges (RFC 4315 §3 needs COPYUID's order kept)."""
    parts: list[str] = []
    start = previous = None
    for number in numbers:
        if previous is not None and number == previous + 1:
            previous = number
            continue
        if start is not None:
            parts.append(str(start) if start == previous else f"{start}:{previous}")
        start = previous = number
    if start is not None:
        parts.append(str(start) if start == previous else f"{start}:{previous}")
    return ",".join(parts)
