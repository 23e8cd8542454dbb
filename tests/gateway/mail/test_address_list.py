"""Address lists as ENVELOPE shows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.address_list import has_one_reading, parse_addresses, simple_addresses, wire

CASES = [
    (b"a@b.example", b'((NIL NIL "a" "b.example"))'),
    (b"Joe Q. Public <john.q.public@example.com>", b'(("Joe Q. Public" NIL "john.q.public" "example.com"))'),
    (b'"Joe  \\"Q\\"" <a@b>', b'(("Joe  \\"Q\\"" NIL "a" "b"))'),
    (b"Joe   Q <a@b>", b'(("Joe Q" NIL "a" "b"))'),
    (b'"A, B" <a@b>, c@d , E <e@f>', b'(("A, B" NIL "a" "b")(NIL NIL "c" "d")("E" NIL "e" "f"))'),
    (b"a@b, ", b'((NIL NIL "a" "b"))'),
    (b"a@b (Joe (the) Smith)", b'(("Joe (the) Smith" NIL "a" "b"))'),
    (b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", b'(("Pete" NIL "pete" "silly.test"))'),
    (b'"joe smith"@b', b'((NIL NIL "joe smith" "b"))'),
    (b"<@a.example,@b.example:c@d>", b'((NIL "@a.example,@b.example" "c" "d"))'),
    (b"<@a.example,@b.example:c@d, e@f>", b'((NIL "@a.example,@b.example" "c" "d")(NIL NIL "e" "f"))'),
    (b"<@a:b@c> <@d,@e:f@g>", b'((NIL "@a" "b" "c")(NIL "@d,@e" "f" "g"))'),
    (b"a . b @ c . d", b'((NIL NIL "a.b" "c.d"))'),
    (b"a@[192.0.2.1]", b'((NIL NIL "a" "[192.0.2.1]"))'),
    (b"=?utf-8?q?J=C3=BC?= <a@b>", b'(("=?utf-8?q?J=C3=BC?=" NIL "a" "b"))'),
    (b"J\xc3\xbc <a@b>", b'(({3}\r\nJ\xc3\xbc NIL "a" "b"))'),
    (b"root", b'((NIL NIL "root" ""))'),
    (b"Foo <a@b, Bar <c@d>", b'(("Foo" NIL "a" "b")("Bar" NIL "c" "d"))'),
    (b"", b"NIL"),
    (b" ,;, <>", b"NIL"),
    (b"undisclosed-recipients:;", b'((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))'),
    (
        b"A Group:Chris Jones <c@a.test>,joe@where.test;, x@y",
        b'((NIL NIL "A Group" NIL)("Chris Jones" NIL "c" "a.test")(NIL NIL "joe" "where.test")'
        b'(NIL NIL NIL NIL)(NIL NIL "x" "y"))',
    ),
    (b"Open: a@b", b'((NIL NIL "Open" NIL)(NIL NIL "a" "b")(NIL NIL NIL NIL))'),
]


@pytest.mark.parametrize(("value", "expected"), CASES)
def test_case(value: bytes, expected: bytes) -> None:
    """RFC 5322 §3.4 and appendix A in the form of RFC 3501 §7.4.2, and the usual mistakes."""
    assert wire(parse_addresses(value)) == expected


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"<" + b"@a," * 150_000, 1),
        (b"<@a" + b",@a" * 150_000 + b":b@c>", 1),
        (b"<" + b":" * 150_000 + b"a@b>", 1),
        ((b"x" * 99 + b" ") * 300_000, 1),
        ((b"x" * 99 + b"@") * 300_000, 1),
        (b"<" + (b"x" * 99 + b" ") * 300_000 + b">", 1),
        (b'"",' * 150_000, 150_000),
        (b"(" * 1_000_000, 0),
    ],
    ids=["route", "whole route", "colons", "words", "at signs", "words inside", "empty", "comments"],
)
def test_time_is_linear_in_length(value: bytes, found: int) -> None:
    """Where it grew with the square, as it did for some of these, this would take many minutes."""
    assert len(parse_addresses(value)) == found
    has_one_reading(value)


@given(st.lists(st.sampled_from([b"a", b"b.", b".c", b"@", b'""', b'"q"', b'"."']), max_size=12))
def test_words_of_a_local_part(words: list[bytes]) -> None:
    """Invariant: one space before each word but at the beginning, next to a dot and behind an "@"."""
    expected = b""
    for word in words:
        text = word.strip(b'"')
        if expected and word != b"@" and not (expected.endswith((b".", b"@")) or text.startswith(b".")):
            expected += b" "
        expected += text
    (*_, address) = parse_addresses(b" ".join(words) + b" @ c") or [None]
    assert (address is None and not words) or (address is not None and address.mailbox == expected)


_PIECES = st.sampled_from([b"a", b"b.c", b"@", b"<", b">", b",", b";", b":", b'"', b"\\", b"(", b")", b"[", b"]", b" "])


@given(st.lists(_PIECES | st.binary(max_size=2), max_size=30).map(b"".join))
def test_any_bytes(value: bytes) -> None:
    """Whatever the bytes: no exception, every group that begins ends, and only groups have no host."""
    depth = 0
    for address in parse_addresses(value):
        if address.host is None:
            depth += 1 if address.mailbox is not None else -1
        else:
            assert address.mailbox is not None
        assert depth in (0, 1)
    assert depth == 0


@given(st.lists(_PIECES, max_size=30).map(b"".join), st.integers(1, 4))
def test_so_many_and_no_more(value: bytes, most: int) -> None:
    """Invariant: they are the first ones, and a group that is cut off ends."""
    found = parse_addresses(value, most)
    assert found[:most] == parse_addresses(value)[:most]
    assert len(found) <= most + 1
    assert sum(1 if address.mailbox is not None else -1 for address in found if address.host is None) == 0


_PARTS = [
    "a@b.example",
    "Joe Q",
    '"q, r"',
    "<c@d>",
    "<",
    ">",
    ",",
    ";",
    ":",
    "@",
    "(x)",
    "(",
    '"',
    "\\",
    "[",
    " ",
    "\t",
]


@given(st.lists(st.sampled_from(_PARTS), max_size=8).map("".join))
def test_what_is_simple_has_one_reading(text: str) -> None:
    """Invariant: where a field body is nothing but simple addresses, they are the ones found, and read by everybody."""
    value = text.encode()
    found = simple_addresses(value)
    if found is not None:
        assert found == parse_addresses(value)
        assert has_one_reading(value)
