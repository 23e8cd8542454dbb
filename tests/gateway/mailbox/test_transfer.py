"""Transfer encodings taken off piece by piece."""

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox.transfer import transfer_decoder


def decode(encoding: str, octets: bytes, size: int) -> bytes:
    decoder = transfer_decoder(encoding)
    assert decoder is not None
    pieces = [decoder.feed(octets[start : start + size]) for start in range(0, len(octets), size)]
    return b"".join([*pieces, decoder.finish()])


@given(st.binary(max_size=300), st.integers(1, 80))
def test_base64_comes_back(octets: bytes, size: int) -> None:
    """However it is cut, base64 in lines gives what was encoded (RFC 2045 §6.8)."""
    assert decode("base64", base64.encodebytes(octets), size) == octets


@given(st.binary(max_size=300), st.integers(1, 80))
def test_quoted_printable_comes_back(octets: bytes, size: int) -> None:
    """However it is cut, quoted-printable gives what was encoded (RFC 2045 §6.7)."""
    text = octets.replace(b"\r", b"")
    assert decode("quoted-printable", quopri.encodestring(text), size) == text


@given(st.sampled_from(["base64", "quoted-printable", "7bit"]), st.binary(max_size=200), st.integers(1, 40))
def test_any_octets_are_decoded_somehow(encoding: str, octets: bytes, size: int) -> None:
    """Whatever the octets are, nothing is raised, and the result is no longer than they are."""
    assert len(decode(encoding, octets, size)) <= len(octets)


@pytest.mark.parametrize("encoding", ["x-uuencode", "base-64", "quoted printable"])
def test_unknown_encoding(encoding: str) -> None:
    """An encoding that is not known has no decoder (RFC 3516 §4.2: UNKNOWN-CTE)."""
    assert transfer_decoder(encoding) is None
