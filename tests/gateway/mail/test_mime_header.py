"""Header fields and their parameters."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.mime_header import (
    all_fields,
    content_type,
    fields_named,
    nstring,
    parameter,
    reported_fields,
    unfold,
    word_and_params,
)


def test_fields() -> None:
    """Names are found in any case and with space before the colon (RFC 5322 §4.5), values unfolded."""
    header = b"SUBJECT : a\r\n\tb\r\nX-Subject: no\r\nnot a field\r\nTo:c@d\n"
    assert reported_fields(header) == {b"subject": b"a\tb", b"to": b"c@d"}
    assert all_fields(header) == [(b"SUBJECT", b"a\tb"), (b"X-Subject", b"no"), (b"To", b"c@d")]


def test_content_type() -> None:
    """Type and names in lower case, values unquoted, comments dropped (RFC 2045 §5.1)."""
    value = b'Text/HTML (x) ; Charset="a\\"b" ; name=a(1) b.txt; x=y (Plain)'
    assert content_type(value) == ("text", "html", (("charset", b'a"b'), ("name", b"a(1) b.txt"), ("x", b"y")))
    assert content_type(b"text") is None
    assert content_type(b"") is None


def test_parameter_pieces() -> None:
    """RFC 2231 §4.1: pieces in order, percent-encoded ones decoded, up to the first that is missing."""
    params = word_and_params(b"attachment; filename*1=\"b c\"; filename*0*=utf-8''a%20; filename*3=x")
    assert params is not None
    assert parameter(params[1], "filename") == b"a b c"
    assert parameter(params[1], "size") is None


def test_nstring() -> None:
    """RFC 9051 §9: NIL, quoted with escapes, or a literal."""
    assert nstring(None) == b"NIL"
    assert nstring(b'a"\\') == b'"a\\"\\\\"'
    assert nstring(b"\xe9") == b"{1}\r\n\xe9"


@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    """Whatever the bytes: no exception, and an unfolded value has neither line end nor NUL."""
    content_type(value)
    word_and_params(value)
    for found in [unfold(value), *reported_fields(value).values()]:
        assert not set(found) & set(b"\r\n\0")


@given(
    st.lists(
        st.sampled_from([b"A: 1", b"a:2", b"B : 3", b" fold", b"\tmore", b"x", b"\r\n", b"\n", b"A"]), max_size=12
    ),
    st.sampled_from([b"a", b"A", b"b", b"", b"a ", b":", b"x", b"a.b", b"(", "é".encode()]),
)
def test_fields_of_one_name(pieces: list[bytes], name: bytes) -> None:
    """Invariant: they are those of all fields that have the name, in any case, whatever is asked for."""
    header = b"".join(pieces)
    expected = [value for found, value in all_fields(header) if found.lower() == name.lower()]
    assert fields_named(header, name) == expected
