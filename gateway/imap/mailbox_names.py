"""Mailbox names on the wire: modified UTF-7 (RFC 3501 §5.1.3), UTF-8 (RFC 6855 §3, RFC 9051 §5.1) and wildcards."""

import base64
import binascii
import re
import unicodedata
from functools import lru_cache

from gateway.imap.errors import No

DELIMITER = "/"

_WILDCARDS = re.compile(r"[*%]{2,}")
_PATTERNS = 128  # that are remembered: those of one LIST, used for each name
_PRINTABLE_RUN = re.compile(r"[\x20-\x7e]+|[^\x20-\x7e]+")


def encode_mailbox_name(name: str) -> bytes:
    """Text to modified UTF-7."""
    parts: list[bytes] = []
    for run in _PRINTABLE_RUN.findall(name):
        if " " <= run[0] <= "~":
            parts.append(run.replace("&", "&-").encode("ascii"))
        else:
            base = base64.b64encode(run.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
            parts.append(b"&" + base + b"-")
    return b"".join(parts)


def decode_utf8_name(raw: bytes) -> str:
    """UTF-8 to text as the client wrote it, INBOX in its one spelling. Raises No with CANNOT."""
    if raw.upper() == b"INBOX":
        return "INBOX"  # RFC 9051 §5.1
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise No("the mailbox name is not UTF-8", "CANNOT") from None


def decode_mailbox_name(raw: bytes) -> str:
    """Modified UTF-7 to text in NFC, INBOX in its one spelling.

    Raises No with CANNOT for what is not modified UTF-7, including names that have a shorter spelling (§5.1.3
    forbids them, and two spellings of one name would be two names).
    """
    if raw.upper() == b"INBOX":
        return "INBOX"  # RFC 3501 §5.1
    parts: list[str] = []
    try:
        position = 0
        while position < len(raw):
            shift = raw.find(b"&", position)
            if shift < 0:
                shift = len(raw)
            parts.append(raw[position:shift].decode("ascii"))
            position = shift
            if position < len(raw):
                end = raw.index(b"-", position)
                parts.append(_decode_shifted(raw[position + 1 : end]))
                position = end + 1
        name = "".join(parts)
    except (ValueError, binascii.Error):
        raise No("the mailbox name is not modified UTF-7", "CANNOT") from None
    if encode_mailbox_name(name) != raw:
        raise No("the mailbox name is not modified UTF-7 in its only form", "CANNOT")
    return unicodedata.normalize("NFC", name)


def _decode_shifted(base: bytes) -> str:
    if not base:
        return "&"
    padded = base.replace(b",", b"/") + b"=" * (-len(base) % 4)
    return base64.b64decode(padded, validate=True).decode("utf-16-be")


def matches(pattern: str, name: str) -> bool:
    """Whether `name` matches a LIST pattern: "*" is anything, "%" anything without the delimiter.

    Takes a step of some integers for each character of the name, whatever the pattern; INBOX is compared without case.
    """
    if name == "INBOX" or name.startswith("INBOX" + DELIMITER):
        head = pattern[:5]
        pattern = head.upper() + pattern[5:] if head.upper() == "INBOX" else pattern
    if _least_length(pattern) > len(name):
        return False
    places, anything, one_level, end = _compiled(pattern)
    wildcards = anything | one_level
    reached = 1 | (1 & wildcards) << 1  # a bit for each place in the pattern; a wildcard may match nothing
    for character in name:
        kept = reached & (anything if character == DELIMITER else wildcards)
        following = kept | (reached & places.get(character, 0)) << 1
        reached = following | (following & wildcards) << 1
    return bool(reached & end)


@lru_cache(_PATTERNS)
def _least_length(pattern: str) -> int:
    return len(pattern) - pattern.count("*") - pattern.count("%")


@lru_cache(_PATTERNS)
def _compiled(pattern: str) -> tuple[dict[str, int], int, int, int]:
    """Bits of the places of each character, of "*", of "%", and of the pattern's end; no two wildcards are together."""
    places: dict[str, int] = {}
    shortest = _WILDCARDS.sub(lambda run: "*" if "*" in run[0] else "%", pattern)
    for place, character in enumerate(shortest):
        places[character] = places.get(character, 0) | 1 << place
    return places, places.pop("*", 0), places.pop("%", 0), 1 << len(shortest)


def parents(name: str) -> list[str]:
    """The superior names of `name`, outermost first."""
    parts = name.split(DELIMITER)
    return [DELIMITER.join(parts[:depth]) for depth in range(1, len(parts))]
