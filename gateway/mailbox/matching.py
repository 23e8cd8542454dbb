"""SEARCH answered: by the rows and the full-text index, then, where they do not decide, by looking at headers and text.

The index only excludes, so a search finds what looking at every message would find.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.mail.mime_header import all_fields
from gateway.mail.structure import unpack_part
from gateway.mailbox import contents, messages
from gateway.mailbox.database import Database
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.indexing import Candidates
from gateway.mailbox.model import MessageRow
from gateway.mailbox.params import SEARCH_CHUNK, SEARCH_SLICE
from gateway.mailbox.rows import rows
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


@dataclass(frozen=True, slots=True)
class Decided:
    """What the rows alone tell."""

    found: tuple[int, ...]
    undecided: tuple[MessageRow, ...]

    def slices(self) -> Iterator[tuple[MessageRow, ...]]:
        """The undecided in portions for one turn of the store's thread."""
        for start in range(0, len(self.undecided), SEARCH_SLICE):
            yield self.undecided[start : start + SEARCH_SLICE]


def decide(database: Database, mailbox_id: int, query: SearchKey) -> Decided:
    """Judge every message of the mailbox by its row and the index. Raises NoSuchMailbox."""
    found: list[int] = []
    undecided: list[MessageRow] = []
    candidates = Candidates(database, mailbox_id, query)
    for row in rows(database, mailbox_id):
        verdict = by_row(query, row, candidates)
        if verdict is None:
            undecided.append(row)
        elif verdict:
            found.append(row.uid)
    return Decided(tuple(found), tuple(undecided))


def examine(database: Database, mailbox_id: int, query: SearchKey, undecided: Sequence[MessageRow]) -> list[int]:
    """UIDs of those that match, by their content; one that is gone does not."""
    found = []
    for row in undecided:
        try:
            if _Candidate(database, mailbox_id, row).matches(query):
                found.append(row.uid)
        except NoSuchMessage:
            continue
    return found


def by_row(query: SearchKey, row: MessageRow, candidates: Candidates | None = None) -> bool | None:
    """Whether the message matches; None where its row does not tell, nor `candidates` that it does not."""
    match query:
        case And(keys):
            verdicts = [by_row(key, row, candidates) for key in keys]
            return False if False in verdicts else None if None in verdicts else True
        case Or(a, b):
            pair = (by_row(a, row, candidates), by_row(b, row, candidates))
            return True if True in pair else None if None in pair else False
        case Not(key):
            verdict = by_row(key, row, candidates)
            return None if verdict is None else not verdict
        case Header() | Text() | Body():
            return False if candidates is not None and candidates.excludes(query, row.uid) else None
        case Date(kind="sent"):
            return None
    return _row_key(query, row)


def _row_key(key: SearchKey, row: MessageRow) -> bool:
    match key:
        case All():
            return True
        case Flag(name, present):
            wanted = name.casefold()
            return any(flag.casefold() == wanted for flag in row.flags) is present
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

    def __init__(self, database: Database, mailbox_id: int, row: MessageRow) -> None:
        self._database = database
        self._row = row
        self._stored = messages.stored(database, mailbox_id, row.uid)
        ((self._sent_day, self._packed, self._header_size),) = database.connection.execute(
            "SELECT sent_day, structure, header_size FROM messages m JOIN contents c ON c.id = content_id"
            " WHERE mailbox_id = ? AND uid = ?",
            (mailbox_id, row.uid),
        )
        self._fields: list[tuple[str, str]] | None = None

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
        if self._fields is None:
            self._fields = [
                (name.decode("ascii").lower(), folded(header_text(value))) for name, value in all_fields(self._head())
            ]
        wanted, needle = field.lower(), folded(text)
        return any(name == wanted and needle in value for name, value in self._fields)

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
            return 2
    return 0
