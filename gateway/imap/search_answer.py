"""What SEARCH answers: the numbers (RFC 3501 §7.2.5), or the results that were asked for (RFC 4731); pure."""

from collections.abc import Iterator, Sequence

from gateway.imap import params
from gateway.imap.sequence_sets import format_sequence_set


def search_response(numbers: Sequence[int], modseq: int | None) -> Iterator[bytes]:
    """`* SEARCH 2 84 (MODSEQ 917)` in pieces of bounded size."""
    yield b"* SEARCH"
    for start in range(0, len(numbers), params.NUMBERS_AT_ONCE):
        yield "".join(f" {number}" for number in numbers[start : start + params.NUMBERS_AT_ONCE]).encode("ascii")
    # RFC 7162 §3.1.5: the highest modseq of what was found, never with an empty answer
    yield b"\r\n" if modseq is None else b" (MODSEQ %d)\r\n" % modseq


def esearch_response(
    tag: str, returns: frozenset[str], numbers: Sequence[int], modseq: int | None, *, by_uid: bool
) -> bytes:
    """`* ESEARCH (TAG "a") UID MIN 2 COUNT 3 ALL 2,10:11`; `numbers` ascend. MIN, MAX and ALL want a match."""
    items = [f'* ESEARCH (TAG "{tag}")']
    if by_uid:
        items.append("UID")
    if numbers and "MIN" in returns:
        items.append(f"MIN {numbers[0]}")
    if numbers and "MAX" in returns:
        items.append(f"MAX {numbers[-1]}")
    if "COUNT" in returns:
        items.append(f"COUNT {len(numbers)}")
    if numbers and "ALL" in returns:
        items.append(f"ALL {format_sequence_set(numbers)}")
    if modseq is not None:
        items.append(f"MODSEQ {modseq}")
    return " ".join(items).encode("ascii") + b"\r\n"


def reported(uids: Sequence[int], returns: frozenset[str] | None) -> Sequence[int]:
    """Those of the matches that the answer speaks of: with only MIN, MAX or both it is these (RFC 7162 §3.1.10)."""
    options = (returns or frozenset({"ALL"})) - {"SAVE"}
    if not uids or not options or options - {"MIN", "MAX"}:
        return uids
    return sorted({*(uids[:1] if "MIN" in options else ()), *(uids[-1:] if "MAX" in options else ())})
