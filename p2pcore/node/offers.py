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


def _by_key(key: str, table: str, identity: str = "identity", *, rest: str = "number > ?3", order: str = "1, 2") -> str:
    """Return the SELECT of what lies under keys, by key and number: the `rest` of key ?2, then what follows up to ?6.

    Two SELECTs, each in the order of an index: a key may have very many.
    """
    select = f"SELECT {key}, number, {identity} FROM {table} WHERE expires > ?1"  # noqa: S608 - names given below
    return f"{select} AND {key} = ?2 AND {rest} UNION ALL {select} AND {key} > ?2 AND {key} <= ?6 ORDER BY {order}"


_HELD: Final[dict[Kind, str]] = {
    "object": _by_key("object_key", "(SELECT * FROM objects WHERE held > 0)"),
    "entry": _by_key("inbox_key", "entries"),
    "acknowledge": _by_key("inbox_key", "acknowledgements"),
    "deletion": _by_key(
        "object_key",
        "objects JOIN tombstones ON object = number",
        "tombstones.identity",
        rest="number >= ?3 AND (number, tombstones.identity) > (?3, ?4)",
        order="1, 2, 3",
    ),
    # These have no index by key alone
    "version": (
        "SELECT object_key, 0, identity FROM versions WHERE expires > ?1"
        " AND identity > ?4 AND object_key BETWEEN ?5 AND ?6 ORDER BY identity"
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
Row = tuple[bytes, int, bytes]  # key, number, identity
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
    db: apsw.Connection, kind: Kind, now: int, span: tuple[bytes, bytes], after: Row | None, limit: int
) -> tuple[list[Held], Row | None]:
    """Return up to `limit` unexpired items of this kind with keys in `span` (first, last), and the last one's row.

    They are those that follow the row `after`; None: from the beginning.
    """
    first, last = span
    rows = list(db.execute(f"{_HELD[kind]} LIMIT ?7", (now, *(after or (first, 0, b"")), first, last, limit)))
    return [Held(identity, key) for key, _, identity in rows], rows[-1] if rows else after


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
