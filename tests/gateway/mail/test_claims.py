"""Whatever Authentication-Results says of itself, it is known whether it claims to be ours (RFC 8601 §5)."""

import email
import email.policy

import authres
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.claims import MARK, authserv_id, claims, header_end, names_us

IS_OURS = names_us("example.org", ("gw.hoster.example", "xn--bcher-kva.example", ""))
WORDS = st.sampled_from(
    b'Authentication-Results,authentication-results,:, ,\t,\r\n,mx.example.org,(,),",\\,;,1,a.example,\xff,x: y,\r,\n'
    .split(b",")
)  # fmt: skip


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.org; spf=pass",
        b"authentication-RESULTS:mx.example.org;none",
        b"Authentication-Results : example.org; none",
        b"Authentication-Results: EXAMPLE.ORG.; none",
        b"Authentication-Results: deep.down.Example.org; none",
        b"Authentication-Results: mx.example.org 1; spf=pass",
        b"Authentication-Results: gw.hoster.example; none",
        "Authentication-Results: bücher.example; none".encode(),
        b"Authentication-Results:\r\n\tmx.example.org;\r\n spf=pass",
        b"Authentication-Results: (a (nested) comment, with \\) in it)\r\n (another) mx.example.org; none",
        b'Authentication-Results: "mx.example.org"; none',
        b'Authentication-Results: "mx.ex\\ample.org" 1; none',
        b"Authentication-Results: mx.example.org(comment) ; none",
        # whatever cannot be read may be read by somebody
        b"Authentication-Results:",
        b"Authentication-Results: ; none",
        b"Authentication-Results: (open; none",
        b"Authentication-Results: \xff; none",
        b'Authentication-Results: "open; none',
    ],
)
def test_claims_are_found(field: bytes) -> None:
    """In any spelling that a reader might understand; the first octet of the name is told."""
    header = b"Subject: x\r\n" + field + b"\r\nFrom: a@b.example\r\n"
    assert claims(header, IS_OURS) == [12]
    assert header[12 : 12 + len(MARK)].lower() == b"authentication-results"


@pytest.mark.parametrize(
    "field",
    [
        b"Authentication-Results: mx.example.net; spf=pass",
        b"Authentication-Results: example.org.evil.example; none",
        b"Authentication-Results: notexample.org; none",
        b"Authentication-Results: a.example (mx.example.org); none",
        b"Authentication-Results: a.example; spf=pass smtp.mailfrom=mx.example.org",
        b"X-Authentication-Results: mx.example.org; none",
        b"ARC-Authentication-Results: i=1; mx.example.org; none",
        b"Subject: x\r\n Authentication-Results: mx.example.org; none",
    ],
)
def test_others_stay(field: bytes) -> None:
    """What other domains say in their own name is theirs, and may be useful."""
    assert claims(field + b"\r\n", IS_OURS) == []


def test_every_one_of_several_is_found() -> None:
    """Ours and others' between each other, and whatever a line ends with."""
    header = (
        b"Authentication-Results: mx.example.org; none\r\n"
        b"Authentication-Results: a.example; none\r\n"
        b"Authentication-Results: example.org; none\r\n"
        b"X: y\rAuthentication-Results: example.org; none\n"
        b"Authentication-Results: example.org; none\r\n"
    )
    assert [header[place : place + 22] for place in claims(header, IS_OURS)] == [b"Authentication-Results"] * 4


@given(st.lists(WORDS).map(b"".join))
def test_any_header_is_searched(header: bytes) -> None:
    """Invariant: each place told is where the name stands, and once marked nothing of ours is left for any parser."""
    marked = bytearray(header)
    for place in claims(header, IS_OURS):
        assert header[place : place + len(MARK)].lower() == b"authentication-results"
        marked[place : place + len(MARK)] = MARK
    assert claims(bytes(marked), IS_OURS) == []
    for name, value in email.message_from_bytes(bytes(marked), policy=email.policy.compat32).items():
        if name.strip().lower() == "authentication-results":
            assert not _read(str(value))


def _read(value: str) -> bool:
    """Whether authres, an independent parser, takes the field for ours."""
    try:
        found = authres.AuthenticationResultsHeader.parse_value(value)
    except authres.AuthResError:
        return False
    return IS_OURS(str(found.authserv_id))


@given(st.binary(max_size=60))
def test_any_octets_have_an_identifier_or_none(value: bytes) -> None:
    """Invariant: text or None, never an exception."""
    found = authserv_id(value)
    assert found is None or isinstance(found, str)


@pytest.mark.parametrize(
    ("octets", "end"), [(b"\r\nA: b\r\n\r\n", 0), (b"A: b\r\n\r\nC: d\r\n", 6), (b"A: b", 4), (b"", 0)]
)
def test_where_the_header_ends(octets: bytes, end: int) -> None:
    """At the first empty line, which may be the first line; or nowhere."""
    assert header_end(octets) == end


def test_the_mark_has_the_length_of_the_name() -> None:
    """So that nothing moves."""
    assert len(MARK) == len(b"Authentication-Results")
