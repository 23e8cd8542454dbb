"""gateway.mail.header_section: where a header ends, and its Message-ID."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mail.header_section import HEADER_READ, header_of, message_id


@pytest.mark.parametrize(
    ("content", "header"),
    [
        (b"", b"\r\n"),
        (b"\r\nbody", b""),
        (b"A: b\r\n\r\nbody\r\n\r\nmore", b"A: b\r\n"),
        (b"A: b\r\n", b"A: b\r\n\r\n"),
        (b"A: b", b"A: b\r\n"),
        (b"A: " + b"b" * HEADER_READ + b"\r\n\r\n", None),
        (b"A: " + b"b" * (HEADER_READ - 4), b"A: " + b"b" * (HEADER_READ - 4) + b"\r\n"),
    ],
)
def test_header_of(content: bytes, header: bytes | None, tmp_path: Path) -> None:
    """A header ends before its empty line, or with the message; one without an end in sight is none."""
    file = tmp_path / "content"
    file.write_bytes(content)
    assert header_of(content) == header_of(file) == header


@given(
    st.binary(max_size=200)
    | st.lists(st.sampled_from([b"\r\n", b"\n", b" ", b"A:", b"Message-ID:", b"<x>"])).map(b"".join)
)
def test_any_octets(content: bytes) -> None:
    """Invariant: every content has a header that it begins with, but for the last line's end, and no call raises."""
    header = header_of(content)
    assert header is not None
    assert (content + b"\r\n").startswith(header)
    assert len(message_id(header)) <= len(content)


@pytest.mark.parametrize(
    ("header", "identifier"),
    [
        (b"Message-ID:\r\n <1@example.org>\r\n", b"<1@example.org>"),
        (b"A: b\r\nmessage-id: <1@x>\r\nMessage-ID: <2@x>\r\n", b"<1@x>"),
        (b"A: b\r\n", b""),
        (None, b""),
    ],
)
def test_message_id(header: bytes | None, identifier: bytes) -> None:
    """The first field counts, unfolded."""
    assert message_id(header) == identifier
