"""What is done to a submitted header, and what is never done to anything else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.header_section import FROM_READ
from gateway.mail.submission import MAX_HEADER, HeaderRewriter, check_authors, complete_header, is_among
from p2pcore.errors import Malformed, NotAuthorised

NOW = 1_790_000_000_000  # 2026-09-21 14:13:20 UTC
ADDED = b"Date: Mon, 21 Sep 2026 14:13:20 +0000\r\nMessage-ID: <id@example.org>\r\n"
HERS = ("alice@example.org", "al@example.org", '"quoted local"@example.org', "grüsse@example.org")

NAMES = st.sampled_from(["From", "To", "Subject", "X-Bcc", "Bccx", "Received", "Date", "date", "MESSAGE-ID"])
BLIND = st.sampled_from(["Bcc", "BCC", "bcc ", "Resent-Bcc"])
VALUES = st.sampled_from(["", " a@example.org", " Bcc: x", "\tx", " é", " a,\r\n b", "\r\n \r\n c", " x\r\n\tBcc: y"])
JUNK = st.sampled_from([b"no field\r\n", b"From mbox\r\n", b"Bcc no colon\r\n"])


def field_of(name: str, value: str) -> bytes:
    return f"{name}:{value}\r\n".encode()


LINES = st.lists(
    st.tuples(st.just(True), st.builds(field_of, NAMES, VALUES) | JUNK)
    | st.tuples(st.just(False), st.builds(field_of, BLIND, VALUES)),
    max_size=8,
)
BODIES = st.sampled_from([b"", b"\r\n", b"\r\nBcc: in the body\r\nx\r\n", b"\r\n\r\n\r\nFrom: y\r\n"])


@given(LINES, BODIES, st.lists(st.integers(0, 200), max_size=6))
def test_everything_else_stays(lines: list[tuple[bool, bytes]], body: bytes, cuts: list[int]) -> None:
    """Invariant: however it is cut, the content comes out as it was, less its Bcc fields, after what was added."""
    content = b"".join(line for _, line in lines) + body
    kept = b"".join(line for stays, line in lines if stays) + body
    rewriter = HeaderRewriter(lambda header: complete_header(header, NOW, "id@example.org"))
    passed, start = b"", 0
    for cut in [*sorted(cuts), len(content)]:
        passed += rewriter.feed(content[start:cut])
        start = max(start, cut)
    passed += rewriter.finish()
    assert passed.endswith(kept)
    names = {re.split(rb"[ \t]*:", line)[0].lower() for stays, line in lines if stays}
    added = passed[: len(passed) - len(kept)]
    assert added.startswith(b"Date: ") == (b"date" not in names)
    assert (b"Message-ID: <id@example.org>\r\n" in added) == (b"message-id" not in names)
    assert len(added) <= len(ADDED)


def test_what_is_added() -> None:
    """Date in UTC and Message-ID go to the top, where they are fields whatever follows."""
    assert complete_header(b"From: x\r\n\r\n", NOW, "id@example.org") == ADDED + b"From: x\r\n\r\n"
    assert complete_header(b"", NOW, "id@example.org") == ADDED
    complete = b"date: yesterday\r\nMessage-Id : <x>\r\n\r\n"
    assert complete_header(complete, NOW, "id@example.org") == complete


def test_blind_copies_go_with_their_continuations() -> None:
    """Bcc and Resent-Bcc are removed wherever they stand, also empty, folded, and last before the body."""
    header = b"Bcc:\r\nA: 1\r\nbCC : x,\r\n\ty,\r\n \r\nB: 2\r\nResent-Bcc: z\r\n\r\n"
    assert complete_header(b"Date: d\r\nMessage-ID: m\r\n" + header, NOW, "") == (
        b"Date: d\r\nMessage-ID: m\r\nA: 1\r\nB: 2\r\n\r\n"
    )


def test_a_header_without_end_is_not_held_for_ever() -> None:
    """MAX_HEADER octets pass when the header ends there, and one more does not, with or without an end."""
    fields = b"From: alice@example.org\r\n"
    rest = MAX_HEADER - len(fields) - 2
    longest = fields + b"X:" + b"y" * (rest - 4) + b"\r\n\r\n"
    assert len(longest) == MAX_HEADER
    assert HeaderRewriter(bytes).feed(longest + b"body") == longest + b"body"
    for content in (b"X" + longest, b"y" * (MAX_HEADER + 1)):
        with pytest.raises(Malformed, match="too long"):
            HeaderRewriter(bytes).feed(content)


@pytest.mark.parametrize(
    "header",
    [
        "From: alice@example.org",
        "From: Alice <ALICE+tag@Example.Org>",
        "FROM : <al@example.org>",
        "From: alice@example.org,\r\n al@example.org",
        'From: "bob@example.org" <alice@example.org>',
        "From: alice@example.org (bob@example.org)",
        'From: "quoted local"@example.org',
        "From: Team: alice@example.org, al@example.org;",
        "From: =?utf-8?q?bob=40example=2Eorg?= <alice@example.org>",
        "From: grüße@example.org",
        "From: alice@example.org\r\nSender: secretary@example.com",
        "X-From: bob@example.org\r\nFrom: alice@example.org",
    ],
)
def test_her_own_addresses(header: str) -> None:
    """Every author is one of her addresses, plus-tags and spelling aside; names and comments say nothing."""
    check_authors(f"{header}\r\n\r\n".encode(), HERS)


@pytest.mark.parametrize(
    "header",
    [
        "From: bob@example.org",
        "From: alice@example.com",
        "From: alice@example.org, bob@example.org",
        "From: alice@example.org bob@example.org",
        "From: <alice@example.org> <bob@example.org>",
        "From: alice@example.org <bob@example.org>",
        "From: (alice@example.org) bob@example.org",
        "From: alice@example.org@evil.example",
        "From: alice@example.org\r\n ,bob@example.org",
        "From: alice@example.org\r\n \r\n ,bob@example.org",
        "From: Team: alice@example.org, bob@example.org;",
        "From: alice",
        "From: @example.org",
        "From: <@relay.example:bob@example.org>",
        'From: "alice@example.org',
        "From: alicé@example.org",
    ],
)
def test_anybody_else(header: str) -> None:
    """One author who is not her is enough, and so is one that does not parse."""
    with pytest.raises(NotAuthorised):
        check_authors(f"{header}\r\n\r\n".encode(), HERS)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Subject: x",
        "From:",
        "From: undisclosed:;",
        "From: alice@example.org\r\nFrom: alice@example.org",
        "From: alice@example.org\r\n \r\nfrom: bob@example.org",
        "From: alice@example.org\r\nno field\r\nFROM\t: bob@example.org",
        "From alice@example.org: x",
    ],
)
def test_exactly_one_from(header: str) -> None:
    """None, an empty one and a second one are refused, wherever readers would see the header end."""
    with pytest.raises(Malformed):
        check_authors(f"{header}\r\n\r\n".encode(), HERS)


def test_a_from_field_that_recipients_would_not_read() -> None:
    """What her recipients' agents would refuse is refused at once."""
    fits = b"From: alice@example.org," + b" " * (FROM_READ - 38) + b"al@example.org"
    check_authors(fits + b"\r\n\r\n", HERS)
    with pytest.raises(Malformed, match="too long"):
        check_authors(fits + b",al@example.org\r\n\r\n", HERS)


@given(st.binary(max_size=60))
def test_no_from_field_breaks_the_check(value: bytes) -> None:
    """Invariant: whatever From holds, it passes or is refused, and nothing passes without her name in it."""
    try:
        check_authors(b"From: " + value.replace(b"\n", b"") + b"\r\n\r\n", HERS[:1])
    except (Malformed, NotAuthorised):
        return
    assert b"alice" in value.lower()


def test_is_among() -> None:
    """What is no address is nobody's."""
    assert is_among("ALICE+x@EXAMPLE.org.", HERS)
    assert not any(is_among(text, HERS) for text in ("", "alice", "alice@", "a b@example.org", "alice@[127.0.0.1]"))
