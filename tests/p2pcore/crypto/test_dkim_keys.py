"""Keys for DKIM and the record that publishes them."""

import re

import dkim
import pytest

from p2pcore.crypto.dkim_keys import dkim_record, make_dkim_key, zone_line
from p2pcore.errors import Malformed


def test_the_record_carries_the_key_that_verifies() -> None:
    """A signature made with the key verifies under its record, which names RSA and DKIM1."""
    key = make_dkim_key()
    record = dkim_record(key)
    message = b"From: a@example.org\r\n\r\nbody\r\n"
    signature = dkim.sign(message, b"s1", b"example.org", key)
    assert record.startswith("v=DKIM1; k=rsa; p=")
    assert dkim.verify(signature + message, dnsfunc=lambda name, timeout=5: record.encode())


def test_the_zone_line_is_made_of_short_strings() -> None:
    """No character-string has more than 255 octets, and together they are the record."""
    key = make_dkim_key()
    line = zone_line("s1", "example.org", key)
    strings = re.findall(r'"([^"]*)"', line)
    assert line.startswith("s1._domainkey.example.org. IN TXT ")
    assert max(map(len, strings)) <= 255
    assert "".join(strings) == dkim_record(key)


def test_something_else_is_not_a_key() -> None:
    """What is no RSA key in PEM is Malformed."""
    with pytest.raises(Malformed):
        dkim_record(b"-----BEGIN NOTHING-----")
