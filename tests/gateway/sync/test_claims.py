"""Marking changes the names of fields that claim to be ours, and not one octet more, in memory and in a file."""

from pathlib import Path

import pytest

from gateway.mail.claims import names_us
from gateway.sync.claims import marked
from p2pcore.client.held_file import HeldFile

IS_OURS = names_us("example.org", ())
FORGED = b"Authentication-Results: mx.example.org; dmarc=pass\r\n"
FOREIGN = b"Authentication-Results: mx.example.net; dmarc=pass\r\n"
HEADER = b"Subject: x\r\n" + FORGED + FOREIGN + b"\r\n"
CONTENT = HEADER + FORGED + b"body\r\n"  # in the body it is a body
EXPECTED = CONTENT.replace(b"Authentication-Results: mx.example.org", b"X-Claimed-Auth-Results: mx.example.org", 1)


@pytest.mark.parametrize("size", [0, 3 << 20])
def test_only_the_name_changes(tmp_path: Path, size: int) -> None:
    """Octets, and a nameless file as large messages come in."""
    content = CONTENT + b"x" * size
    assert marked(content, IS_OURS) == EXPECTED + b"x" * size
    with HeldFile.temporary(tmp_path) as held:
        held.file.write(content)
        held.file.flush()
        path = marked(held.path, IS_OURS)
        assert isinstance(path, Path)
        assert path.read_bytes() == EXPECTED + b"x" * size


@pytest.mark.parametrize("content", [b"", b"\r\n" + FORGED, b"Subject: x\r\n\r\n", FOREIGN + b"\r\n"])
def test_what_claims_nothing_stays(content: bytes) -> None:
    """No header, another's claim, a claim in the body: the octets stay as they are."""
    assert marked(content, IS_OURS) is content


def test_a_header_without_an_end() -> None:
    """Is a header."""
    assert marked(FORGED.removesuffix(b"\r\n"), IS_OURS).startswith(b"X-Claimed")  # type: ignore[union-attr]
