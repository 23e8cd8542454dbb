"""SEARCH answered: by the rows and the full-text index, then, where they do not decide, by looking at headers and text.

The index only excludes, so a search finds what looking at every message would find. The answer is as of the commit that
it begins with, less what is expunged by its end. It is made in steps (Worker.read_in_turns): a key is asked of the
index, some rows are judged, a text is looked for in a piece of a message.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.mailbox import mailboxes
from gateway.mailbox.database import Database
from gateway.mailbox.examined import Examined, examined
from gateway.mailbox.indexing import Candidates, text_keys
from gateway.mailbox.model import EPOCH, MessageRow, shown_time
from gateway.mailbox.params import SEARCH_OCTETS, SEARCH_SLICE
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
from gateway.mailbox.text import folded
from gateway.mailbox.worker import Steps

_AT_ONCE: Final = 4_096  # UIDs of one statement

Judge = Callable[[MessageRow, Examined | None], bool | None]
"""Whether a message matches; None where neither its row nor the index tell, nor what is known of its content."""


@dataclass(frozen=True, slots=True)
class Decided:
    """What the rows and the index tell."""

    found: tuple[int, ...]
    undecided: tuple[MessageRow, ...]
    candidates: Candidates


def search(
    database: Database, mailbox_id: int, query: SearchKey, known: tuple[int, dict[int, MessageRow]] | None
) -> Steps[tuple[int, ...]]:
    """Ascending UIDs of the messages that match. Raises NoSuchMailbox.

    `known`: the mailbox's rows and the modseq that they are of, so that they need not be read where that is still its.
    """
    modseq = mailboxes.by_id(database, mailbox_id).highest_modseq
    by_uid = known[1] if known is not None and known[0] == modseq else rows(database, mailbox_id)
    decided = yield from decide(database, mailbox_id, query, by_uid)
    examined_too = yield from examine(database, mailbox_id, query, decided.undecided, decided.candidates)
    found = sorted([*decided.found, *examined_too])
    if mailboxes.by_id(database, mailbox_id).highest_modseq != modseq:
        found = yield from _still_there(database, mailbox_id, found)
    return tuple(found)


def decide(database: Database, mailbox_id: int, query: SearchKey, by_uid: dict[int, MessageRow]) -> Steps[Decided]:
    """Judge every message by its row and the index."""
    candidates = Candidates(database, mailbox_id)
    yield from candidates.ask(query)
    required = candidates.required(query)
    chosen = list(by_uid.values()) if required is None else [by_uid[uid] for uid in sorted(required) if uid in by_uid]
    judge = _judge(query, candidates)
    found: list[int] = []
    undecided: list[MessageRow] = []
    for start in range(0, len(chosen), SEARCH_SLICE):
        for row in chosen[start : start + SEARCH_SLICE]:
            verdict = judge(row, None)
            if verdict is None:
                undecided.append(row)
            elif verdict:
                found.append(row.uid)
        yield
    return Decided(tuple(found), tuple(undecided), candidates)


def examine(
    database: Database,
    mailbox_id: int,
    query: SearchKey,
    undecided: Sequence[MessageRow],
    candidates: Candidates | None = None,
) -> Steps[list[int]]:
    """UIDs of those that match, by their content; one that is gone does not."""
    judge = _judge(query, candidates)
    texts = {key: folded(key.text) for key in text_keys(query) if not isinstance(key, Header)}
    found: list[int] = []
    for some in _slices(undecided):
        by_uid = {row.uid: row for row in some}
        with examined(database, mailbox_id, list(by_uid), bodies=bool(texts)) as messages:
            for uid, message in messages:
                verdict = judge(by_uid[uid], message)
                if verdict is None:
                    excluded = candidates.excludes if candidates is not None else _nothing
                    yield from message.look_for({text for key, text in texts.items() if not excluded(key, uid)})
                    verdict = judge(by_uid[uid], message)
                if verdict:
                    found.append(uid)
                yield
    return found


def _nothing(key: SearchKey, uid: int) -> bool:
    return False


def _slices(undecided: Sequence[MessageRow]) -> Iterator[list[MessageRow]]:
    """Messages to be read at once: a few, or a large one."""
    some: list[MessageRow] = []
    octets = 0
    for row in undecided:
        if some and (len(some) == SEARCH_SLICE or octets + row.size > SEARCH_OCTETS):
            yield some
            some, octets = [], 0
        some.append(row)
        octets += row.size
    if some:
        yield some


def _still_there(database: Database, mailbox_id: int, uids: Sequence[int]) -> Steps[list[int]]:
    sql = "SELECT uid FROM messages WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?)) ORDER BY uid"
    there: list[int] = []
    for start in range(0, len(uids), _AT_ONCE):
        listed = uid_list(uids[start : start + _AT_ONCE])
        there += [uid for (uid,) in database.connection.execute(sql, (mailbox_id, listed))]
        yield
    return there


def by_row(query: SearchKey, row: MessageRow) -> bool | None:
    """Whether the message matches; None where its row does not tell."""
    return _judge(query, None)(row, None)


def _judge(query: SearchKey, candidates: Candidates | None) -> Judge:
    match query:
        case And((key,)):
            return _judge(key, candidates)
        case And(keys):
            judges = [_judge(key, candidates) for key in keys]
            return lambda row, message: _all([judge(row, message) for judge in judges])
        case Or(a, b):
            first, second = _judge(a, candidates), _judge(b, candidates)
            return lambda row, message: _any((first(row, message), second(row, message)))
        case Not(key):
            inner = _judge(key, candidates)
            return lambda row, message: None if (verdict := inner(row, message)) is None else not verdict
        case Header() | Text() | Body():
            return _text_judge(query, candidates)
        case Date(kind="sent"):
            return lambda row, message: None if message is None else _by_sent_day(query, message.sent_day)
        case Flag(name, present):
            return _flag_judge(name.casefold(), present)
    return lambda row, message: _row_key(query, row)


def _all(verdicts: Collection[bool | None]) -> bool | None:
    return False if False in verdicts else None if None in verdicts else True


def _any(verdicts: Collection[bool | None]) -> bool | None:
    return True if True in verdicts else None if None in verdicts else False


def _text_judge(key: Header | Text | Body, candidates: Candidates | None) -> Judge:
    needle = folded(key.text)

    def judge(row: MessageRow, message: Examined | None) -> bool | None:
        if candidates is not None and candidates.excludes(key, row.uid):
            return False
        if message is None:
            return None
        match key:
            case Header(field):
                return message.field_has(field, needle)
            case Text():
                return message.header_has(needle) or message.body_has(needle)
        return message.body_has(needle)

    return judge


def _flag_judge(wanted: str, present: bool) -> Judge:
    verdicts: dict[frozenset[str], bool] = {}  # most messages share a few sets of flags

    def judge(row: MessageRow, message: Examined | None) -> bool:
        verdict = verdicts.get(row.flags)
        if verdict is None:
            verdict = verdicts[row.flags] = any(flag.casefold() == wanted for flag in row.flags) is present
        return verdict

    return judge


def _row_key(key: SearchKey, row: MessageRow) -> bool:
    match key:
        case All():
            return True
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
            shown = shown_time(row.internal_date, row.zone) or EPOCH
            return _by_day(key, shown.toordinal())
    raise TypeError(f"not a search key: {key!r}")


def _by_sent_day(key: Date, day: int | None) -> bool:
    return day is not None and _by_day(key, day)


def _by_day(key: Date, day: int) -> bool:
    wanted = key.day.toordinal()
    if key.op == "before":
        return day < wanted
    return day == wanted if key.op == "on" else day >= wanted
