"""The choice of fields from a header, as HEADER.FIELDS asks for them (RFC 3501 §6.4.5)."""

import re
from collections.abc import Collection
from functools import lru_cache
from io import BytesIO
from typing import Final

_CR: Final = 0x0D
_NAME = re.compile(rb"[!-9;-~]+")  # RFC 5322 §2.2
_CHOICES: Final = 64  # lists of fields that are remembered; readers ask for a few

USUAL_FIELDS: Final = (
    *(b"From", b"To", b"Cc", b"Bcc", b"Subject", b"Date", b"Message-ID", b"Priority", b"X-Priority", b"References"),
    *(b"Newsgroups", b"In-Reply-To", b"Content-Type", b"Reply-To", b"Received"),
)
"""What Thunderbird 153 asks for of every message."""

_USUAL: Final = frozenset(name.upper() for name in USUAL_FIELDS)


def are_usual(names: Collection[bytes]) -> bool:
    """Whether all of these names are among USUAL_FIELDS."""
    return all(name.upper() in _USUAL for name in names)


def are_all_usual(names: Collection[bytes]) -> bool:
    """Whether these names are USUAL_FIELDS, in any order and case: what was put aside of a message is the answer."""
    return frozenset(name.upper() for name in names) == _USUAL


def choose_fields(header: bytes, names: Collection[bytes], *, exclude: bool) -> bytes:
    """The fields with (or without) these names, in order and unchanged, with the header's empty line if it has one."""
    pattern = None if exclude else _fields_named(tuple(names))
    lines = b"\n" + header
    end = _empty_line(lines)
    if pattern is not None and end >= 0:
        fields = b"".join(pattern.findall(lines[:end]))
        # RFC 3501 §6.4.5: the delimiting blank line is in all header fetches
        return (fields[1:] + b"\n" if fields else b"") + (b"\r\n" if lines[end + 1] == _CR else b"\n")
    wanted = frozenset(name.upper() for name in names)
    chosen = BytesIO()
    taking = False
    for line in BytesIO(header):  # ended by LF only: a bare CR stays inside its line
        if line in (b"\r\n", b"\n"):
            chosen.write(line)  # RFC 3501 §6.4.5: the delimiting blank line is in all header fetches
            break
        if line[:1] not in (b" ", b"\t"):
            name, colon, _ = line.partition(b":")
            taking = ((name.rstrip(b" \t").upper() in wanted) if colon else False) != exclude
        if taking:
            chosen.write(line)
    return chosen.getvalue()


def _empty_line(lines: bytes) -> int:
    """Where the LF before the first empty line is; -1 without one."""
    found = lines.find(b"\n\r\n")
    bare = lines.find(b"\n\n", 0, found + 1 if found >= 0 else len(lines))
    return bare if bare >= 0 else found


@lru_cache(_CHOICES)
def _fields_named(names: tuple[bytes, ...]) -> re.Pattern[bytes] | None:
    """Finds fields with one of these names, each with the line end before it and not its own; None for odd names."""
    if not all(_NAME.fullmatch(name) for name in names):
        return None
    listed = b"|".join(re.escape(name) for name in names)
    return re.compile(rb"\n(?:%s)[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*" % listed, re.IGNORECASE)
