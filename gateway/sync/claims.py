"""What a message claims in our name is marked before it is filed, in place, however the message is held."""

from collections.abc import Callable
from pathlib import Path

from gateway.mail.claims import MARK, MAX_HEADER, claims, header_end


def marked(content: bytes | Path, is_ours: Callable[[str], bool]) -> bytes | Path:
    """Return `content` with the names of such fields replaced; in a file they are so on return. Raises OSError."""
    if isinstance(content, bytes):
        found = _claims(content, is_ours)
        return _overwritten(content, found) if found else content
    with content.open("rb") as file:
        found = _claims(file.read(MAX_HEADER + 2), is_ours)
    if found:
        with content.open("r+b") as file:
            for position in found:
                file.seek(position)
                file.write(MARK)
    return content


def _claims(start: bytes, is_ours: Callable[[str], bool]) -> list[int]:
    return claims(start[: header_end(start)], is_ours)


def _overwritten(content: bytes, found: list[int]) -> bytes:
    octets = bytearray(content)
    for position in found:
        octets[position : position + len(MARK)] = MARK
    return bytes(octets)
