"""What the query and header fields of single requests say (Table 3), parsed strictly. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from p2pcore import names, params
from p2pcore.errors import Malformed

Kind = Literal["object", "certificate", "domain"]

_HEX: Final = re.compile(r"(?:[0-9a-f]{2})*\Z")
_WAIT: Final = re.compile(r"(?:^|[,;\s])wait=(\d{1,6})(?=$|[,;\s])")  # RFC 7240 §4.3
_RANGE: Final = re.compile(r"bytes=(?:(\d{1,15})-(\d{0,15})|-(\d{1,15}))\Z")  # RFC 9110 §14.1.2, one range
_MAX_CURSOR: Final = 2**53


@dataclass(frozen=True, slots=True)
class ObjectQuery:
    """GET of an object: `digest` is empty where any will do."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class VersionQuery:
    """GET of a versioned object; the identifier hashes to the key."""

    kind: names.VersionedKind
    identifier: str


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """read-inbox: `incarnation` is empty for reading from the beginning, `instance` for all acknowledgements."""

    incarnation: bytes
    cursor: int
    instance: bytes = b""


def parse_fetch(key: bytes, query: Mapping[str, str]) -> ObjectQuery | VersionQuery:
    """Return what a GET of `key` asks for. Raises Malformed."""
    _only(query, "kind", "digest", "identifier")
    kind = query.get("kind", "object")
    if kind not in get_args(Kind):
        raise Malformed(f"kind {kind[:40]!r}: not one of {', '.join(get_args(Kind))}")
    if kind == "object":
        _only(query, "kind", "digest")
        return ObjectQuery(_octets(query, "digest", params.KEY_SIZE))
    _only(query, "kind", "identifier")
    identifier = query.get("identifier", "")
    if not 0 < len(identifier) <= 1_000:
        raise Malformed("identifier is missing, or longer than 1000 characters")
    try:
        hashed = names.key_of(identifier)
    except UnicodeEncodeError:
        raise Malformed("identifier is not UTF-8") from None
    if hashed != key:
        raise Malformed(f"identifier {identifier[:100]!r} does not hash to the key asked for")
    return VersionQuery(cast(names.VersionedKind, kind), identifier)


def parse_inbox(query: Mapping[str, str]) -> InboxQuery:
    """Return from where a read-inbox reads. Raises Malformed."""
    _only(query, "incarnation", "cursor", "instance")
    cursor = query.get("cursor", "0")
    if not (cursor.isascii() and cursor.isdigit()) or len(cursor) > 16 or int(cursor) > _MAX_CURSOR:
        raise Malformed(f"cursor {cursor[:40]!r}: not a number up to {_MAX_CURSOR}")
    return InboxQuery(_octets(query, "incarnation", 16), int(cursor), _octets(query, "instance", 16))


def parse_wait(prefer: str) -> int:
    """Return how long (ms) a Prefer field lets the answer wait, at most WATCH_WAIT; 0 where it says nothing of it."""
    found = _WAIT.search(prefer.lower())
    return min(int(found[1]) * params.SECOND, params.WATCH_WAIT) if found else 0


def parse_range(field: str, size: int) -> tuple[int, int] | None:
    """Return (start, stop) of the octets asked for, None for all of them.

    A field that is no single range of octets is ignored (RFC 9110 §14.2). Raises Malformed where the range has no octet
    within `size` (the answer is 416).
    """
    found = _RANGE.match(field.strip())
    if not found:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, stop = max(0, size - int(suffix)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None  # RFC 9110 §14.1.1: an invalid range
    if start >= stop:
        raise Malformed(f"range {field.strip()!r} of an object of {size} octets")
    return start, stop


def _octets(query: Mapping[str, str], name: str, size: int) -> bytes:
    text = query.get(name, "")
    if not _HEX.match(text) or len(text) not in (0, 2 * size):
        raise Malformed(f"{name} {text[:80]!r}: not {size} octets in lower-case hexadecimal")
    return bytes.fromhex(text)


def _only(query: Mapping[str, str], *known: str) -> None:
    for name in query:
        if name not in known:
            raise Malformed(f"query parameter {name[:40]!r} is unknown here")
