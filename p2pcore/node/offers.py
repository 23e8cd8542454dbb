"""What is here, named by identities, for nodes that compare what they hold (docs/formats.md §8)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import apsw

from p2pcore.records import (
    Acknowledge,
    Append,
    Delete,
    Deletion,
    OfferReply,
    Operation,
    Publish,
    PublishedVersion,
    SignedStatement,
    Store,
    decode,
)

Kind = Literal["object", "entry", "acknowledge", "deletion", "version"]

# Tombstones and acknowledgements first: what they speak of need not travel then
KINDS: Final[tuple[Kind, ...]] = ("acknowledge", "deletion", "version", "object", "entry")

_PRESENT: Final[dict[Kind, str]] = {
    "object": (
        "SELECT 1 FROM objects WHERE identity = ? AND (held > 0"
        " OR rights <= (SELECT count(*) FROM tombstones WHERE object = number))"
    ),
    "entry": "SELECT 1 FROM entries WHERE identity = ?",
    "acknowledge": "SELECT 1 FROM acknowledgements WHERE identity = ?",
    "deletion": "SELECT 1 FROM tombstones WHERE identity = ?",
    "version": "SELECT 1 FROM versions WHERE identity = ?",
}
_SETTLED: Final[dict[Kind, str]] = {
    "object": (
        "SELECT 1 FROM objects WHERE identity = ? AND held = 0"
        " AND rights <= (SELECT count(*) FROM tombstones WHERE object = number)"
    ),
    "entry": "SELECT 1 FROM marks WHERE entry = ?1 AND NOT EXISTS (SELECT 1 FROM entries WHERE identity = ?1)",
}
_HELD: Final[dict[Kind, str]] = {
    "object": (
        "SELECT identity, object_key FROM objects WHERE held > 0 AND expires > ?1"
        " AND (object_key, identity) > (?2, ?3) AND object_key <= ?5 ORDER BY object_key, identity"
    ),
    "entry": (
        "SELECT identity, inbox_key FROM entries WHERE expires > ?1"
        " AND (inbox_key, identity) > (?2, ?3) AND inbox_key <= ?5 ORDER BY inbox_key, identity"
    ),
    "acknowledge": (
        "SELECT identity, inbox_key FROM acknowledgements WHERE expires > ?1"
        " AND (inbox_key, identity) > (?2, ?3) AND inbox_key <= ?5 ORDER BY inbox_key, identity"
    ),
    "deletion": (
        "SELECT tombstones.identity, object_key FROM tombstones JOIN objects ON number = object WHERE expires > ?1"
        " AND (object_key, tombstones.identity) > (?2, ?3) AND object_key <= ?5"
        " ORDER BY object_key, tombstones.identity"
    ),
    # These have no index by key alone
    "version": (
        "SELECT identity, object_key FROM versions WHERE expires > ?1"
        " AND identity > ?3 AND object_key BETWEEN ?4 AND ?5 ORDER BY identity"
    ),
}


# In order of their places: when they were stored or last fetched, with a number; the insertion number
_STORED: Final[dict[Kind, str]] = {
    "object": (
        "SELECT used, number, identity, object_key FROM objects"
        " WHERE held > 0 AND (used, number) > (?1, ?2) AND used <= ?3 AND expires > ?4 ORDER BY used, number LIMIT ?5"
    ),
    "entry": (
        "SELECT number, 0, identity, inbox_key FROM entries"
        " WHERE number > ?1 AND number <= ?3 AND expires > ?4 ORDER BY number LIMIT ?5"
    ),
}

Place = tuple[int, int]
_EVERY_NUMBER: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Held:
    """An identity held here, and the key whose closest nodes should hold it."""

    identity: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Moment:
    """In the life of a store: `time` in ms, and the insertion `number` given last."""

    time: int
    number: int


@dataclass(frozen=True, slots=True)
class Stored:
    """The bodies and entries that were stored after one moment and up to another."""

    after: Moment
    last: Moment

    def window(self, kind: Kind) -> tuple[Place, int]:
        """Return between what `stored` has these."""
        if kind == "object":
            return (self.after.time, _EVERY_NUMBER), self.last.time
        return (self.after.number, 0), self.last.number


@dataclass(frozen=True, slots=True)
class LargeObject:
    """An object whose body travels in a PUT of its own."""

    signed: SignedStatement
    file: str


def compare(db: apsw.Connection, kind: Kind, identities: Sequence[bytes]) -> OfferReply:
    """Return which of `identities` are missing here and which are settled (OfferReply says what that means)."""

    def places(sql: str | None, *, there: bool) -> tuple[int, ...]:
        if sql is None:
            return ()
        found = (db.execute(sql, (wanted,)).get is not None for wanted in identities)
        return tuple(index for index, present in enumerate(found) if present == there)

    return OfferReply(places(_PRESENT[kind], there=False), places(_SETTLED.get(kind), there=True))


def held(
    db: apsw.Connection, kind: Kind, now: int, span: tuple[bytes, bytes], after: Held | None, limit: int
) -> list[Held]:
    """Return up to `limit` unexpired items of this kind with keys in `span` (first, last), those that follow `after`.

    In order of key and identity, where there is an index for that.
    """
    first, last = span
    key, identity = (after.key, after.identity) if after is not None else (first, b"")
    rows = db.execute(f"{_HELD[kind]} LIMIT ?6", (now, key, identity, first, last, limit))
    return [Held(*row) for row in rows]


def stored(db: apsw.Connection, kind: Kind, now: int, after: Place, last: int, limit: int) -> tuple[list[Held], Place]:
    """Return up to `limit` unexpired items that were stored after `after` and up to `last`, and the last one's place.

    For entries these are insertion numbers, for objects times (ms), and what was fetched then is among them.
    """
    rows = list(db.execute(_STORED[kind], (*after, last, now, limit)))
    return [Held(identity, key) for _, _, identity, key in rows], rows[-1][:2] if rows else after


def operations(db: apsw.Connection, kind: Kind, identities: Sequence[bytes]) -> Iterator[Operation | LargeObject]:
    """Yield what passes these items on; those that went meanwhile are left out."""
    for wanted in identities:
        operation = _operation(db, kind, wanted)
        if operation is not None:
            yield operation


def _operation(db: apsw.Connection, kind: Kind, wanted: bytes) -> Operation | LargeObject | None:
    row = db.execute(_CONTENT[kind], (wanted,)).get
    if row is None:
        return None
    first, *rest = row if isinstance(row, tuple) else (row,)
    signed = decode(SignedStatement, first)
    match kind:
        case "entry":
            return Append(signed)
        case "acknowledge":
            return Acknowledge(signed)
        case "deletion":
            return Delete(Deletion(signed, rest[0]))
        case "version":
            return Publish(PublishedVersion(signed, rest[0]))
        case "object":
            octets, file = rest
            return LargeObject(signed, file) if file else Store(signed, octets)


_CONTENT: Final[dict[Kind, str]] = {
    "object": (
        "SELECT signed, octets, file FROM objects LEFT JOIN bodies ON object = number WHERE identity = ? AND held > 0"
    ),
    "entry": "SELECT signed FROM entries WHERE identity = ?",
    "acknowledge": "SELECT signed FROM acknowledgements WHERE identity = ?",
    "deletion": ("SELECT signed, secret FROM tombstones JOIN objects ON number = object WHERE tombstones.identity = ?"),
    "version": "SELECT signed, content FROM versions WHERE identity = ?",
}
