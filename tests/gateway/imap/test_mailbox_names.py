"""Modified UTF-7 and LIST patterns."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.errors import No
from gateway.imap.mailbox_names import decode_mailbox_name, encode_mailbox_name, matches


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 §5.1.3's example
        ("Entwürfe", b"Entw&APw-rfe"),
        ("R&D", b"R&-D"),
        ("😀", b"&2D3eAA-"),
        ("a\tb", b"a&AAk-b"),
    ],
)
def test_known_pairs(name: str, wire: bytes) -> None:
    """Names and their modified UTF-7."""
    assert encode_mailbox_name(name) == wire
    assert decode_mailbox_name(wire) == name


@given(st.text().map(lambda text: unicodedata.normalize("NFC", text)))
def test_round_trip(name: str) -> None:
    """Every NFC name comes back from its wire form, which is printable ASCII."""
    if name.upper() == "INBOX":
        return
    wire = encode_mailbox_name(name)
    assert all(0x20 <= octet <= 0x7E for octet in wire)
    assert decode_mailbox_name(wire) == name


@given(st.binary() | st.text("&-,+/aAbQ=").map(str.encode))
def test_no_two_wire_forms_of_a_name(wire: bytes) -> None:
    """Decoding gives a name whose one wire form this is, or No; two spellings would be two mailboxes."""
    try:
        name = decode_mailbox_name(wire)
    except No:
        return
    composed = encode_mailbox_name(name) == wire  # else its wire form held a name that is not NFC
    assert name == "INBOX" or composed or unicodedata.normalize("NFD", name) != name


@pytest.mark.parametrize("wire", [b"&AGI-", b"&", b"a&b", b"&Jjo", b"\xc3\xa9", b"&2D0-", b"&AOk-&AOk-", b"&AOk=-"])
def test_refused_names(wire: bytes) -> None:
    """Shifted ASCII, open shifts, raw 8-bit, half surrogates and split shifts are refused."""
    with pytest.raises(No) as refused:
        decode_mailbox_name(wire)
    assert refused.value.code == "CANNOT"


def test_inbox_in_any_case() -> None:
    """INBOX is one name however it is written (RFC 3501 §5.1)."""
    assert decode_mailbox_name(b"iNbOx") == "INBOX"
    assert matches("inbox", "INBOX")
    assert not matches("archive", "Archive")


_NAME = st.text("ab/", max_size=8)


@given(st.text("ab/*%", max_size=8), _NAME)
def test_patterns_are_their_definition(pattern: str, name: str) -> None:
    """ "*" matches anything, "%" anything without the delimiter, everything else itself."""
    expression = "".join({"*": ".*", "%": "[^/]*"}.get(character, re.escape(character)) for character in pattern)
    assert matches(pattern, name) == (re.fullmatch(expression, name) is not None)


def test_hostile_pattern_is_cheap() -> None:
    """A pattern that makes backtracking matchers run for ever ends at once."""
    assert not matches("*a" * 200 + "b", "a" * 500)
    assert matches("%*" * 30_000, "a" * 500)
    assert matches("*" * 60_000 + "a", "a" * 500)
    assert not matches("a%" * 30_000, "a" * 500)
    assert not matches("%" * 60_000, "a/" * 250)
