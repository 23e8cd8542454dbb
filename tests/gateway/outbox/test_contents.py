"""gateway.outbox.contents: dot-stuffing in pieces."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from gateway.outbox.contents import stuffed

_OCTETS = st.lists(st.sampled_from([b"\r\n", b".", b"x", b"\r\n.", b"..", b"\r\n.\r\n"])).map(b"".join)


@given(_OCTETS, st.lists(st.integers(0, 30)))
def test_what_was_stuffed_comes_back(content: bytes, cuts: list[int]) -> None:
    """However a content is cut into pieces: one final dot, at the end, and before it the content itself."""
    ends = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    pieces = [content[start:end] for start, end in pairwise(ends)]
    sent = b"\r\n" + b"".join(stuffed(iter(pieces)))
    assert sent.find(b"\r\n.\r\n") == len(sent) - 5
    lines = sent[2:-3].split(b"\r\n")
    received = b"\r\n".join(line.removeprefix(b".") for line in lines)
    assert received == content + (b"" if content.endswith(b"\r\n") or not content else b"\r\n")
