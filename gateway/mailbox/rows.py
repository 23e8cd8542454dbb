"""Rows of the messages table, with the mailbox's counters, modseq and watches in step: the only writer of both."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.expunged import remember
from gateway.mailbox.model import DELETED, SEEN, Expunged, FlagsChanged, MessageRow, New

_CHOSEN: Final = "AND uid IN (SELECT value FROM json_each(?)) "
_ROW: Final = "SELECT uid, modseq, flags, internal_date, zone, size FROM messages WHERE mailbox_id = ? "


@dataclass(frozen=True, slots=True)
class Placed:
    """A message about to be in a mailbox; its content's reference is already counted."""

    content_id: int
    size: int
    flags: frozenset[str]  # canonical
    internal_date: int
    zone: int


@dataclass(frozen=True, slots=True)
class Held:
    """A message that is in a mailbox."""

    uid: int
    placed: Placed


def rows(database: Database, mailbox_id: int) -> dict[int, MessageRow]:
    """All messages by ascending UID. Raises NoSuchMailbox."""
    require(database, mailbox_id)
    return {row.uid: row for row in _rows(database, _ROW + "ORDER BY uid", (mailbox_id,))}


def selected(database: Database, mailbox_id: int, uids: Sequence[int]) -> tuple[MessageRow, ...]:
    """Those of the messages that are there, by ascending UID. Raises NoSuchMailbox."""
    require(database, mailbox_id)
    return tuple(_rows(database, _ROW + _CHOSEN + "ORDER BY uid", (mailbox_id, uid_list(uids))))


def require(database: Database, mailbox_id: int) -> None:
    """Raises NoSuchMailbox if it was deleted."""
    if not list(database.connection.execute("SELECT 1 FROM mailboxes WHERE id = ?", (mailbox_id,))):
        raise NoSuchMailbox("the mailbox was deleted")


def held(database: Database, mailbox_id: int, uids: Sequence[int] | None) -> list[Held]:
    """Those of the messages that are there (None: all), by ascending UID, with their content."""
    sql = "SELECT uid, content_id, size, flags, internal_date, zone FROM messages WHERE mailbox_id = ? "
    if uids is None:
        found = database.connection.execute(sql + "ORDER BY uid", (mailbox_id,))
    else:
        found = database.connection.execute(sql + _CHOSEN + "ORDER BY uid", (mailbox_id, uid_list(uids)))
    return [
        Held(uid, Placed(content_id, size, frozenset(text.split()), internal_date, zone))
        for uid, content_id, size, text, internal_date, zone in found
    ]


def place(transaction: Transaction, mailbox_id: int, placed: Sequence[Placed]) -> tuple[int, ...]:
    """Give the messages the mailbox's next UIDs, in order, and one new modseq."""
    if not placed:
        return ()
    connection = transaction.connection
    ((uidnext, modseq),) = connection.execute(
        "UPDATE mailboxes SET uidnext = uidnext + ?1, highest_modseq = highest_modseq + 1,"
        " messages = messages + ?1, unseen = unseen + ?2, deleted = deleted + ?3, size = size + ?4"
        " WHERE id = ?5 RETURNING uidnext, highest_modseq",
        (len(placed), *_counted(placed), mailbox_id),
    )
    uids = tuple(range(uidnext - len(placed), uidnext))
    for uid, one in zip(uids, placed, strict=True):
        connection.execute(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                mailbox_id,
                uid,
                modseq,
                _encoded(one.flags),
                one.internal_date,
                one.zone,
                one.size,
                one.content_id,
            ),
        )
        row = MessageRow(uid, modseq, one.flags, one.internal_date, one.zone, one.size)
        transaction.changes.append((mailbox_id, New(row)))
    return uids


def reflag(
    transaction: Transaction, mailbox_id: int, changes: Sequence[tuple[MessageRow, frozenset[str]]]
) -> tuple[MessageRow, ...]:
    """Give messages other flags under one new modseq; gives the rows as they are now."""
    if not changes:
        return ()
    ((modseq,),) = transaction.connection.execute(
        "UPDATE mailboxes SET highest_modseq = highest_modseq + 1, unseen = unseen + ?, deleted = deleted + ?"
        " WHERE id = ? RETURNING highest_modseq",
        (
            sum((SEEN in row.flags) - (SEEN in new) for row, new in changes),
            sum((DELETED in new) - (DELETED in row.flags) for row, new in changes),
            mailbox_id,
        ),
    )
    rows_now = tuple(MessageRow(row.uid, modseq, new, row.internal_date, row.zone, row.size) for row, new in changes)
    transaction.connection.executemany(
        "UPDATE messages SET modseq = ?, flags = ? WHERE mailbox_id = ? AND uid = ?",
        ((modseq, _encoded(row.flags), mailbox_id, row.uid) for row in rows_now),
    )
    transaction.changes.extend((mailbox_id, FlagsChanged(row)) for row in rows_now)
    return rows_now


def take_out(transaction: Transaction, mailbox_id: int, held: Sequence[Held]) -> None:
    """Remove rows; what becomes of their content's reference is the caller's business."""
    if not held:
        return
    connection = transaction.connection
    ((modseq,),) = connection.execute(
        "UPDATE mailboxes SET highest_modseq = highest_modseq + 1, messages = messages - ?1,"
        " unseen = unseen - ?2, deleted = deleted - ?3, size = size - ?4 WHERE id = ?5 RETURNING highest_modseq",
        (len(held), *_counted([one.placed for one in held]), mailbox_id),
    )
    connection.executemany(
        "DELETE FROM messages WHERE mailbox_id = ? AND uid = ?", ((mailbox_id, one.uid) for one in held)
    )
    remember(transaction, mailbox_id, modseq, sorted(one.uid for one in held))
    transaction.changes.extend((mailbox_id, Expunged(one.uid, modseq)) for one in held)


def _counted(placed: Sequence[Placed]) -> tuple[int, int, int]:
    """(unseen, deleted, octets) among them."""
    unseen = sum(SEEN not in one.flags for one in placed)
    deleted = sum(DELETED in one.flags for one in placed)
    return unseen, deleted, sum(one.size for one in placed)


def _rows(database: Database, sql: str, bindings: tuple[int | str, ...]) -> Iterator[MessageRow]:
    spelled: dict[str, frozenset[str]] = {}  # most messages of a mailbox share a few sets of flags
    for uid, modseq, text, internal_date, zone, size in database.connection.execute(sql, bindings):
        its_flags = spelled.get(text)
        if its_flags is None:
            its_flags = spelled[text] = frozenset(text.split())
        yield MessageRow(uid, modseq, its_flags, internal_date, zone, size)


def uid_list(uids: Sequence[int]) -> str:
    """UIDs as a binding for json_each."""
    return json.dumps(list(uids))


def _encoded(flags: frozenset[str]) -> str:
    return " ".join(sorted(flags))
