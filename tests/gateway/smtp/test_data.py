"""Content is taken octet for octet, only <CRLF>.<CRLF> ends it, and ambiguous octets are refused."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.smtp import params, replies
from gateway.smtp.data import ContentScanner, HeaderScanner

ALPHABET = st.sampled_from([b"\r\n", b".", b"a", b"\xff", b"\r\n.", b"\r\n..", b" "])
HOSTILE = st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"a", b"\0"])


def stuff(content: bytes) -> bytes:
    """What a client sends for `content`, which is empty or ends in CRLF (RFC 5321 §4.5.2)."""
    stuffed = content.replace(b"\r\n.", b"\r\n..")
    return (b"." if content.startswith(b".") else b"") + stuffed + b".\r\n"


def scan(octets: bytes, cuts: list[int], max_size: int = 1 << 30) -> tuple[bytes, bytes, ContentScanner]:
    """Feed `octets` cut at `cuts`; (content, what follows its end, the scanner)."""
    scanner, content, rest = ContentScanner(max_size), b"", b""
    places = [0, *sorted(cut for cut in cuts if cut <= len(octets)), len(octets)]
    for start, end in itertools.pairwise(places):
        if scanner.ended:
            rest += octets[start:end]
            continue
        piece, after = scanner.feed(octets[start:end])
        content += piece
        rest += after
    return content, rest, scanner


@given(st.lists(ALPHABET), st.lists(st.integers(0, 60)), st.binary(max_size=8))
def test_content_comes_out_as_it_was(parts: list[bytes], cuts: list[int], rest: bytes) -> None:
    """Invariant: however the network cuts it, unstuffing what a client stuffed gives the content back, and no more."""
    content = b"".join(parts)
    if content and not content.endswith(b"\r\n"):
        content += b"\r\n"
    out, after, scanner = scan(stuff(content) + rest, cuts)
    assert (out, after) == (content, rest)
    assert scanner.ended
    assert scanner.fault is None
    assert scanner.size == len(content)


@given(st.lists(HOSTILE), st.lists(st.integers(0, 40)))
def test_only_crlf_dot_crlf_ends_content(parts: list[bytes], cuts: list[int]) -> None:
    """Invariant: for any octets the end is where CRLF.CRLF first stands, and bare CR, bare LF and NUL are a fault."""
    octets = b"".join(parts)
    end = (b"\r\n" + octets).find(b"\r\n.\r\n")
    _out, rest, scanner = scan(octets, cuts)
    assert scanner.ended == (end >= 0)
    if end >= 0:
        content = octets[:end]
        assert rest == octets[end + 3 :]
        assert (scanner.fault is not None) == (not is_clean(content))


def is_clean(content: bytes) -> bool:
    left = content.replace(b"\r\n", b"")
    return not any(octet in left for octet in (b"\r", b"\n", b"\0"))


@pytest.mark.parametrize("length", [params.MAX_CONTENT_LINE - 1, params.MAX_CONTENT_LINE])
@pytest.mark.parametrize("step", [1_000, 65_536, 1 << 20])
def test_lines_to_64_kib_are_taken(length: int, step: int) -> None:
    """A line may have 65,536 octets besides its CRLF, wherever reads cut it."""
    octets = (b"x" * length + b"\r\n") * 3 + b".\r\n"
    out, _rest, scanner = scan(octets, list(range(step, len(octets), step)))
    assert scanner.fault is None
    assert out == octets[:-3]


@pytest.mark.parametrize("step", [1_000, 65_536, 1 << 20])
def test_longer_lines_are_refused(step: int) -> None:
    """One octet more is a fault."""
    octets = b"short\r\n" + b"x" * (params.MAX_CONTENT_LINE + 1) + b"\r\n.\r\n"
    _out, _rest, scanner = scan(octets, list(range(step, len(octets), step)))
    assert scanner.fault == replies.CONTENT_LINE_TOO_LONG
    assert scanner.ended


def test_oversize_is_a_fault_and_nothing_is_kept() -> None:
    """Past the limit pieces come out empty, and the end is still found."""
    scanner = ContentScanner(10)
    assert scanner.feed(b"12345678\r\n")[0] == b"12345678"  # the CRLF may belong to the end
    assert scanner.feed(b"x\r\n")[0] == b""
    assert scanner.fault == replies.too_large(10)
    assert scanner.feed(b".\r\nQUIT\r\n") == (b"", b"QUIT\r\n")
    assert scanner.ended


@given(st.binary(max_size=80), st.lists(st.integers(0, 80)))
def test_header_ends_at_the_first_empty_line(octets: bytes, cuts: list[int]) -> None:
    """Invariant: the header is what stands before and including the first empty line, however it arrives."""
    octets = octets.replace(b"a", b"\r\n")
    scanner = HeaderScanner()
    places = [0, *sorted(cut for cut in cuts if cut <= len(octets)), len(octets)]
    for start, end in itertools.pairwise(places):
        scanner.feed(octets[start:end])
    if octets.startswith(b"\r\n"):
        expected = b"\r\n"
    else:
        end = octets.find(b"\r\n\r\n")
        expected = octets if end < 0 else octets[: end + 4]
    assert scanner.octets == expected


@pytest.mark.parametrize(
    ("content", "begins"),
    [
        (b"\tx: y\r\n", True),
        (b" \r\nA: b\r\n\r\n", True),
        (b"A: b\r\n c\r\n\r\n", False),
        (b"\r\n a\r\n", False),
        (b"", False),
    ],
)
def test_a_header_that_begins_with_a_continuation_line(content: bytes, begins: bool) -> None:
    """RFC 5322 §2.2.3: it would belong to the field above, which is ours."""
    scanner = HeaderScanner()
    for octet in content:
        scanner.feed(bytes([octet]))
    assert scanner.begins_folded == begins


def test_received_fields_are_counted_in_the_header_only() -> None:
    """Name in any case, at the start of a line, and not in the body."""
    scanner = HeaderScanner()
    scanner.feed(b"RECEIVED: a\r\n\tReceived: folded\r\nX-Received: b\r\nreceived : c\r\n\r\nReceived: body\r\n")
    assert scanner.received_fields() == 2


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (b"A: b\r\nMESSAGE-ID : <a@b> \r\nMessage-ID: <c@d>\r\n\r\n", b"<a@b>"),
        (b"Message-Id:\r\n\t\r\n <a@b>\r\n (c)\r\n", b"<a@b>"),
        (b"Message-ID:\r\nA: b\r\n\r\n", b""),
        (b"X-Message-ID: a\r\n Message-ID: b\r\n\r\nMessage-ID: body\r\n", b""),
        (b"Message-ID:\r\n" * 70_000, b""),  # as many would take their time one by one
    ],
)
def test_the_message_id(header: bytes, found: bytes) -> None:
    """The first one counts, as far as it stands on one line; the search ends there."""
    scanner = HeaderScanner()
    scanner.feed(header)
    assert scanner.message_id() == found
