"""BODY[…] sections against messages taken apart by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.errors import Bad
from gateway.imap.fetch_items import Section, parse_fetch_items
from gateway.imap.lexer import Lexer
from gateway.imap.sections import locate
from gateway.mail.chosen_fields import choose_fields
from gateway.mail.structure import parse

INNER = (
    b"Subject: inner\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n"
    b"--i\r\n\r\none\r\n--i\r\nContent-Type: text/html\r\n\r\n<b>\r\n--i--"
)
MESSAGE = (
    b"Subject: outer\r\nContent-Type: multipart/mixed; boundary=o\r\n\r\npreamble\r\n"
    b"--o\r\nContent-Type: text/plain\r\n\r\nfirst\r\n"
    b"--o\r\nContent-Type: message/rfc822\r\n\r\n" + INNER + b"\r\n"
    b"--o\r\nContent-Type: multipart/mixed; boundary=n\r\n\r\n--n\r\n\r\ndeep\r\n--n--\r\n"
    b"--o--\r\n"
)
HEADER_SIZE = MESSAGE.index(b"preamble")


def section(text: str, message: bytes = MESSAGE) -> bytes | None:
    """What BODY[text] of the message is."""
    (item,) = parse_fetch_items(Lexer((f"BODY.PEEK[{text}]".encode("ascii"),)))
    assert isinstance(item, Section)
    place = locate(item, parse(message).root, len(message))
    return None if place is None else message[place[0] : place[0] + place[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", MESSAGE),
        ("HEADER", MESSAGE[:HEADER_SIZE]),
        ("TEXT", MESSAGE[HEADER_SIZE:]),
        ("1", b"first"),
        ("1.MIME", b"Content-Type: text/plain\r\n\r\n"),
        ("1.HEADER", None),
        ("1.1", None),
        ("2", INNER),
        ("2.MIME", b"Content-Type: message/rfc822\r\n\r\n"),
        ("2.HEADER", INNER[: INNER.index(b"--i")]),
        ("2.TEXT", INNER[INNER.index(b"--i") :]),
        ("2.1", b"one"),
        ("2.2", b"<b>"),
        ("2.2.MIME", b"Content-Type: text/html\r\n\r\n"),
        ("2.3", None),
        ("3", b"--n\r\n\r\ndeep\r\n--n--"),
        ("3.1", b"deep"),
        ("4", None),
    ],
)
def test_sections_of_a_nested_message(text: str, expected: bytes | None) -> None:
    """Part numbers, MIME, HEADER and TEXT as in RFC 3501 §6.4.5's example."""
    assert section(text) == expected


def test_part_one_of_a_plain_message() -> None:
    """A message that is no multipart has part 1, its body; it has no part 1.1 and no part 2 (RFC 3501 §6.4.5)."""
    plain = b"Subject: x\r\n\r\nbody\r\n"
    assert section("1", plain) == b"body\r\n"
    assert section("1.MIME", plain) == b"Subject: x\r\n\r\n"
    assert section("1.1", plain) is None
    assert section("2", plain) is None


HEADER = b"A: 1\r\nb : 2\r\n folded\r\nbroken line\r\nA: 3\r\n\r\n"


@pytest.mark.parametrize(
    ("names", "exclude", "expected"),
    [
        ([b"a"], False, b"A: 1\r\nA: 3\r\n\r\n"),
        ([b"B"], False, b"b : 2\r\n folded\r\n\r\n"),
        ([b"a"], True, b"b : 2\r\n folded\r\nbroken line\r\n\r\n"),
        ([b"x"], False, b"\r\n"),
    ],
)
def test_header_fields(names: list[bytes], exclude: bool, expected: bytes) -> None:
    """Fields are chosen by name without case, whole with their folded lines, and the empty line stays."""
    assert choose_fields(HEADER, names, exclude=exclude) == expected


@given(st.lists(st.sampled_from([b"A: 1\r\n", b"B: 2\r\n", b" fold\r\n", b"A:\r\n", b"x\r\n", b"C: \rz\n"])))
def test_choosing_and_excluding_divide_the_header(lines: list[bytes]) -> None:
    """Every line that a list of fields leaves out is in the complement, and no line is in both."""
    header = b"Z: 0\r\n" + b"".join(lines)
    chosen = choose_fields(header, [b"a"], exclude=False)
    others = choose_fields(header, [b"a"], exclude=True)
    assert len(chosen) + len(others) == len(header)


_PIECES = [b"a", b"A", b"b", b":", b" ", b"\t", b"\n", b"\r\n", b"\r", b"To", b"to:", b"\r\n\r\n", b"\n ", b"x"]
_ASKED = [[b"a"], [b"to", b"a"], [b"TO"], [b""], [b"a "], [b"b", b"x"], [b":"], [b" a"]]


def _line_by_line(header: bytes, names: list[bytes]) -> bytes:
    """The fields with these names, one line after the other."""
    wanted = {name.upper() for name in names}
    chosen, taking = b"", False
    for line in header.split(b"\n"):
        if line in (b"", b"\r"):
            return chosen + (line + b"\n" if header[len(header) - 1 :] == b"\n" or line else b"")
        if line[:1] not in (b" ", b"\t"):
            name, colon, _ = line.partition(b":")
            taking = bool(colon) and name.rstrip(b" \t").upper() in wanted
        chosen += line + b"\n" if taking else b""
    return chosen


@given(st.lists(st.sampled_from(_PIECES), max_size=14).map(b"".join), st.sampled_from(_ASKED))
def test_any_header_is_chosen_from(header: bytes, names: list[bytes]) -> None:
    """Invariant: whatever the header, the fields are those that reading it line by line finds."""
    header += b"\r\n\r\n"
    assert choose_fields(header, names, exclude=False) == _line_by_line(header, names)


def test_labels() -> None:
    """A response names the section as the client asked, with the origin of a partial only (RFC 3501 §7.4.2)."""
    (item,) = parse_fetch_items(Lexer((b'body.peek[1.2.header.fields (Date "X Y")]<3.4>',)))
    assert isinstance(item, Section)
    assert item.label == b'BODY[1.2.HEADER.FIELDS (Date "X Y")]<3>'
    assert item.peek
    assert item.partial == (3, 4)


@pytest.mark.parametrize(
    "text", [b"BODY[", b"BODY[1.]", b"BODY[0]", b"BODY[.1]", b"BODY[1]<0>", b"BODY[1]<0.0>", b"BODY[HEADER.FIELDS]"]
)
def test_what_is_no_section(text: bytes) -> None:
    """Broken sections are refused."""

    def parse_all() -> None:
        lexer = Lexer((text,))
        parse_fetch_items(lexer)
        lexer.end()

    with pytest.raises(Bad):
        parse_all()
