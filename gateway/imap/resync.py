"""QRESYNC (RFC 7162 §3.2): what a client that was away says of itself, and which UIDs it is told are gone."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet

Ranges = Sequence[tuple[int, int]]
"""Ascending ranges of UIDs that do not touch, both ends included."""

_RANGES_AT_ONCE = 1_000  # of one VANISHED response


@dataclass(frozen=True, slots=True)
class Resync:
    """The QRESYNC parameter of SELECT (RFC 7162 §3.2.5)."""

    uidvalidity: int
    modseq: int
    known: Ranges | None  # UIDs that the client has; None: any
    pairs: tuple[Ranges, Ranges] | None  # sequence numbers and the UIDs that they stood for

    @classmethod
    def parse(cls, lexer: Lexer) -> "Resync":
        """`(uidvalidity modseq [known-uids] [(seqs uids)])`. Raises Bad."""
        lexer.expect(b"(")
        uidvalidity = lexer.number()
        lexer.space()
        modseq = lexer.number64()
        if uidvalidity == 0 or modseq == 0:
            raise Bad("UIDVALIDITY and modseq are from 1 up")
        known, pairs = None, None
        more = lexer.skip(b" ")
        if more and not lexer.peek(b"("):
            known = _merged(_plain(lexer))
            more = lexer.skip(b" ")
        if more:
            lexer.expect(b"(")
            seqs = _plain(lexer)
            lexer.space()
            pairs = _ascending(seqs), _ascending(_plain(lexer))
            lexer.expect(b")")
            if sum(last - first for first, last in pairs[0]) + len(pairs[0]) != (
                sum(last - first for first, last in pairs[1]) + len(pairs[1])
            ):
                raise Bad("as many sequence numbers as UIDs belong together")  # RFC 7162 §3.2.5.2
        lexer.expect(b")")
        return cls(uidvalidity, modseq, known, pairs)

    def asks_about(self, uid: int) -> bool:
        """Whether the client wants to hear of changes to this message."""
        if self.known is None:
            return True
        place = bisect_right(self.known, (uid, 2**32)) - 1
        return place >= 0 and uid <= self.known[place][1]

    def unchanged_up_to(self, uids: Sequence[int]) -> int:
        """The last UID up to which nothing is missing: its sequence number is what the client says it was."""
        matched = 0
        if self.pairs is not None:
            seqs, known = (chain.from_iterable(range(a, b + 1) for a, b in side) for side in self.pairs)
            for seq, uid in zip(seqs, known, strict=True):
                if seq > len(uids) or uids[seq - 1] != uid:
                    break
                matched = uid
        return matched


def vanished(remembered: Ranges | None, known: Ranges | None, gaps: Ranges, above: int = 0) -> Ranges:
    """The UIDs to name in VANISHED (EARLIER).

    `remembered`: what went since (None: not remembered, so whatever is not there is named, above the UID `above`);
    `known`: what the client asks about (None: all); `gaps`: UIDs that were given and stand for no message now.
    """
    chosen = gaps if remembered is None else _both(_merged(remembered), gaps)
    if remembered is None and above:
        chosen = _both(chosen, [(above + 1, 2**32)])
    return chosen if known is None else _both(chosen, known)


def vanished_responses(ranges: Ranges, *, earlier: bool) -> Iterator[bytes]:
    """`* VANISHED (EARLIER) 41,43:116` (RFC 7162 §3.2.10), in responses of bounded size; none for no UIDs."""
    word = "* VANISHED (EARLIER) " if earlier else "* VANISHED "
    for start in range(0, len(ranges), _RANGES_AT_ONCE):
        part = ranges[start : start + _RANGES_AT_ONCE]
        uids = ",".join(str(first) if first == last else f"{first}:{last}" for first, last in part)
        yield f"{word}{uids}\r\n".encode("ascii")


def known_ranges(messages: SequenceSet, largest: int) -> Ranges:
    """The UIDs of a UID FETCH's set; `largest` is the highest UID that was given."""
    bounds = (
        tuple(sorted((largest if first is None else first, largest if last is None else last)))
        for first, last in messages.ranges
    )
    return _merged([(low, high) for low, high in bounds])


def _plain(lexer: Lexer) -> Ranges:
    """A set without "*" and "$"."""
    messages = lexer.sequence_set()
    found: list[tuple[int, int]] = []
    for first, last in messages.ranges:
        if first is None or last is None:
            raise Bad("* has no place here")
        found.append((min(first, last), max(first, last)))
    if not found:
        raise Bad("$ has no place here")
    return found


def _ascending(ranges: Ranges) -> Ranges:
    if any(later[0] <= earlier[1] for earlier, later in pairwise(ranges)):
        raise Bad("these numbers ascend")  # RFC 7162 §3.2.5.2
    return ranges


def _merged(ranges: Ranges) -> Ranges:
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def _both(some: Ranges, others: Ranges) -> Ranges:
    """What is in both."""
    found: list[tuple[int, int]] = []
    place = other = 0
    while place < len(some) and other < len(others):
        first = max(some[place][0], others[other][0])
        last = min(some[place][1], others[other][1])
        if first <= last:
            found.append((first, last))
        if some[place][1] < others[other][1]:
            place += 1
        else:
            other += 1
    return found
