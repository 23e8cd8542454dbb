"""SEARCH answered: by the rows and the full-text index, then, where they do not decide, by looking at headers and text.

The index only excludes, so a search finds what looking at every message would find.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from gateway.mail.mime_header import fields_named
from gateway.mail.structure import unpack_part
from gateway.mailbox import contents, mailboxes
from gateway.mailbox.contents import Stored
from gateway.mailbox.database import Database
from gateway.mailbox.indexing import Candidates
from gateway.mailbox.model import MessageRow
from gateway.mailbox.params import SEARCH_CHUNK, SEARCH_SLICE
from gateway.mailbox.rows import rows, uid_list
from gateway.mailbox.search import (
    All,
    And,
    Body,
    Date,
    Flag,
    Header,
    Instant,
    Larger,
    ModSeq,
    Not,
    Or,
    SearchKey,
    Smaller,
    Text,
    Uids,
)
from gateway.mailbox.text import body_texts, contains, folded, header_block, header_text

_BODY_COST: Final = 2
_EXAMINED: Final = (
    "SELECT uid, sent_day, structure, header_size, c.size, file, file_key, head, {rest}"
    " FROM messages JOIN contents c ON c.id = content_id"
    " WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?))"
)


@dataclass(frozen=True, slots=True)
class Decided:
    """What the rows alone tell."""

    found: tuple[int, ...]
    undecided: tuple[MessageRow, ...]

    def slices(self) -> Iterator[tuple[MessageRow, ...]]:
        """The undecided in portions for one turn of the store's thread."""
        for start in range(0, len(self.undecided), SEARCH_SLICE):
            yield self.undecided[start : start + SEARCH_SLICE]


def decide(
    database: Database, mailbox_id: int, query: SearchKey, known: tuple[int, dict[int, MessageRow]] | None = None
) -> Decided:
    """Judge every message of the mailbox by its row and the index. Raises NoSuchMailbox.

    `known`: its rows and the modseq that they are of, so that they need not be read where that is still the mailbox's.
    """
    modseq = mailboxes.by_id(database, mailbox_id).highest_modseq
    by_uid = known[1] if known is not None and known[0] == modseq else rows(database, mailbox_id)
    candidates = Candidates(database, mailbox_id, query)
    required = candidates.required(query)
    chosen = by_uid.values() if required is None else [by_uid[uid] for uid in sorted(required) if uid in by_uid]
    judge = _judge(query, candidates)
    found: list[int] = []
    undecided: list[MessageRow] = []
    for row in chosen:
        verdict = judge(row)
        if verdict is None:
            undecided.append(row)
        elif verdict:
            found.append(row.uid)
    return Decided(tuple(found), tuple(undecided))


def by_row(query: SearchKey, row: MessageRow) -> bool | None:
    """Whether the message matches; None where its row does not tell."""
    return _judge(query, None)(row)


def _judge(query: SearchKey, candidates: Candidates | None) -> Callable[[MessageRow], bool | None]:
    """What tells of a row whether its message matches; it says None where neither row nor `candidates` tell."""
    match query:
        case And(keys):
            judges = [_judge(key, candidates) for key in keys]
            return lambda row: _all([judge(row) for judge in judges])
        case Or(a, b):
            first, second = _judge(a, candidates), _judge(b, candidates)
            return lambda row: _any((first(row), second(row)))
        case Not(key):
            inner = _judge(key, candidates)
            return lambda row: None if (verdict := inner(row)) is None else not verdict
        case Header() | Text() | Body():
            return lambda row: False if candidates is not None and candidates.excludes(query, row.uid) else None
        case Date(kind="sent"):
            return lambda row: None
        case Flag(name, present):
            return _flag_judge(name.casefold(), present)
    return lambda row: _row_key(query, row)


def _all(verdicts: Collection[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _any(verdicts: Collection[bool | None]) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _flag_judge(wanted: str, present: bool) -> Callable[[MessageRow], bool]:
    verdicts: dict[frozenset[str], bool] = {}  # most messages share a few sets of flags

    def judge(row: MessageRow) -> bool:
        verdict = verdicts.get(row.flags)
        if verdict is None:
            verdict = verdicts[row.flags] = any(flag.casefold() == wanted for flag in row.flags) is present
        return verdict

    return judge


def examine(database: Database, mailbox_id: int, query: SearchKey, undecided: Sequence[MessageRow]) -> list[int]:
    """UIDs of those that match, by their content; one that is gone does not."""
    by_uid = {row.uid: row for row in undecided}
    rest = "rest" if _cost(query) == _BODY_COST else "NULL"  # its pages are not read where nobody asks for a body
    contents_of = database.connection.execute(_EXAMINED.format(rest=rest), (mailbox_id, uid_list(list(by_uid))))
    return [
        uid
        for uid, sent_day, packed, header_size, *stored in contents_of
        if _Candidate(database, by_uid[uid], sent_day, packed, header_size, Stored(*stored)).matches(query)
    ]


def _row_key(key: SearchKey, row: MessageRow) -> bool:
    match key:
        case All():
            return True
        case Flag(name, present):
            return _flag_judge(name.casefold(), present)(row)
        case Instant(op, when):
            return row.internal_date <= when if op == "until" else row.internal_date >= when
        case Larger(n):
            return row.size > n
        case Smaller(n):
            return row.size < n
        case Uids(uids):
            return row.uid in uids
        case ModSeq(n):
            return row.modseq >= n
        case Date():
            # RFC 9051 §6.4.4 disregards time and zone: the day is the one that INTERNALDATE shows.
            shown = datetime.fromtimestamp(row.internal_date + row.zone * 60, UTC)
            return _by_day(key, shown.toordinal())
    raise TypeError(f"not a search key: {key!r}")


def _by_day(key: Date, day: int) -> bool:
    wanted = key.day.toordinal()
    if key.op == "before":
        return day < wanted
    return day == wanted if key.op == "on" else day >= wanted


class _Candidate:
    """A message under examination; what it needs is read once, when first asked for."""

    def __init__(
        self,
        database: Database,
        row: MessageRow,
        sent_day: int | None,
        packed: bytes,
        header_size: int,
        stored: Stored,
    ) -> None:
        self._database = database
        self._row = row
        self._sent_day = sent_day
        self._packed = packed
        self._header_size = header_size
        self._stored = stored

    def matches(self, key: SearchKey) -> bool:
        match key:
            case And(keys):
                return all(self.matches(one) for one in sorted(keys, key=_cost))
            case Or(a, b):
                return any(self.matches(one) for one in sorted((a, b), key=_cost))
            case Not(inner):
                return not self.matches(inner)
            case Date(kind="sent"):
                return self._sent_day is not None and _by_day(key, self._sent_day)
            case Header(field, text):
                return self._header(field, text)
            case Body(text):
                return self._body(text)
            case Text(text):
                return contains((header_block(self._head()),), folded(text)) or self._body(text)
        return _row_key(key, self._row)

    def _head(self) -> bytes:
        return self._read(0, min(self._header_size, SEARCH_CHUNK))

    def _header(self, field: str, text: str) -> bool:
        needle = folded(text)
        return any(needle in folded(header_text(value)) for value in fields_named(self._head(), field.encode("utf-8")))

    def _body(self, text: str) -> bool:
        needle = folded(text)
        return any(contains(pieces, needle) for pieces in body_texts(unpack_part(self._packed), self._read))

    def _read(self, offset: int, length: int) -> bytes:
        return contents.read(self._database, self._stored, offset, length)


def _cost(key: SearchKey) -> int:
    """Cheap keys first."""
    match key:
        case And(keys):
            return max((_cost(one) for one in keys), default=0)
        case Or(a, b):
            return max(_cost(a), _cost(b))
        case Not(inner):
            return _cost(inner)
        case Header():
            return 1
        case Text() | Body():
            return _BODY_COST
    return 0
