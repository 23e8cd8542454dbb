"""Inboxes: append, acknowledge, read by cursor (§2.1; DESIGN §5). Works on a transaction or reading connection.

    state of an entry             row in entries   row in marks   an append gives      an acknowledgement gives
    unknown                       no               no             waiting              acknowledged (it may come later)
    waiting                       yes              no             waiting (idempotent) acknowledged, octets freed
    acknowledged                  no               yes            acknowledged         acknowledged (idempotent)

Entries and acknowledgements draw their numbers from one sequence, so one cursor covers both. A mark counts in its own
inbox only, else anybody could acknowledge another's mail in advance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import apsw

from p2pcore import params
from p2pcore.errors import InboxFull
from p2pcore.node import certificates
from p2pcore.node.admitted import Admitted
from p2pcore.node.settings import Limits, NodeSettings
from p2pcore.node.storage import Transaction
from p2pcore.records import (
    AcknowledgeStatement,
    EntryStatement,
    InboxStatus,
    SignedStatement,
    decode,
)

_PAGE: Final = """
    SELECT number, signed FROM entries WHERE inbox_key = ?1 AND number > ?2
    UNION ALL SELECT number, signed FROM acknowledgements WHERE inbox_key = ?1 AND number > ?2
    ORDER BY number LIMIT ?3
"""
_KNOWN: Final = """
    SELECT 1 FROM entries WHERE identity = ?1
    UNION ALL SELECT 1 FROM marks WHERE entry = ?1 AND inbox_key = ?2
"""
_COUNT: Final = """
    INSERT INTO inboxes VALUES (?1, ?2, ?3, 0)
    ON CONFLICT (inbox_key) DO UPDATE SET entries = entries + ?2, octets = octets + ?3
"""


_MARK: Final = """
    INSERT INTO marks VALUES (?1, ?2, ?3, ?4) ON CONFLICT (entry, inbox_key)
    DO UPDATE SET acknowledgement = ?3, expires = ?4 WHERE expires < ?4
"""
_DROP_MARKS: Final = """
    DELETE FROM marks WHERE (entry, inbox_key) IN (SELECT entry, inbox_key FROM marks WHERE expires <= ? LIMIT ?)
"""
_DROP_ACKNOWLEDGEMENTS: Final = """
    DELETE FROM acknowledgements WHERE number IN (SELECT number FROM acknowledgements WHERE expires <= ? LIMIT ?)
"""


@dataclass(frozen=True, slots=True)
class Page:
    """What came after a cursor; `cursor` is that of the last item, `more`: others follow."""

    cursor: int
    entries: tuple[SignedStatement, ...]
    acknowledged: tuple[SignedStatement, ...]
    more: bool


def append(transaction: Transaction, settings: NodeSettings, admitted: Admitted[EntryStatement]) -> bool:
    """Add an entry; return whether it is news. Raises InboxFull, NodeFull."""
    db = transaction.db
    statement = admitted.statement
    if db.execute(_KNOWN, (admitted.identity, statement.inbox_key)).get is not None:
        return False
    octets = len(admitted.octets)
    row = db.execute("SELECT entries, octets FROM inboxes WHERE inbox_key = ?", (statement.inbox_key,)).get
    entries, filled = row if isinstance(row, tuple) else (0, 0)
    if entries >= settings.limits.inbox_entries or filled + octets > settings.limits.inbox_octets:
        raise InboxFull(f"inbox {statement.inbox_key.hex()} holds {entries} entries of {filled} octets")
    certificates.check_room(transaction, settings, admitted.certificate, octets)
    certificates.keep(transaction, admitted.certificate)
    db.execute(
        "INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            transaction.ledger.next_number(),
            admitted.identity,
            statement.inbox_key,
            octets,
            statement.expires,
            statement.signer,
            admitted.octets,
        ),
    )
    db.execute(_COUNT, (statement.inbox_key, 1, octets))
    transaction.ledger.add(statement.signer, octets)
    transaction.ledger.count("entries", 1)
    return True


def acknowledge(transaction: Transaction, admitted: Admitted[AcknowledgeStatement]) -> bool:
    """Mark entries, also ones that are not here (yet), and free their octets; return whether it is news."""
    db = transaction.db
    statement = admitted.statement
    if db.execute("SELECT 1 FROM acknowledgements WHERE identity = ?", (admitted.identity,)).get is not None:
        return False
    certificates.keep(transaction, admitted.certificate)
    number = transaction.ledger.next_number()
    db.execute(
        "INSERT INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?)",
        (number, admitted.identity, statement.inbox_key, statement.expires, statement.signer, admitted.octets),
    )
    for entry in statement.entries:
        db.execute(_MARK, (entry, statement.inbox_key, number, statement.expires))
    marked = [(entry, statement.inbox_key) for entry in statement.entries]
    _free(transaction, "DELETE FROM entries WHERE identity = ? AND inbox_key = ?", marked)
    return True


def page(db: apsw.Connection, inbox_key: bytes, cursor: int) -> Page:
    """Return what follows `cursor` in an inbox: at most PAGE_ENTRIES items and about PAGE_OCTETS octets."""
    entries: list[SignedStatement] = []
    acknowledged: list[SignedStatement] = []
    octets = 0
    for number, encoded in db.execute(_PAGE, (inbox_key, cursor, params.PAGE_ENTRIES + 1)):
        if len(entries) + len(acknowledged) >= params.PAGE_ENTRIES or octets > params.PAGE_OCTETS:
            return Page(cursor, tuple(entries), tuple(acknowledged), more=True)
        cursor = number
        octets += len(encoded)
        signed = decode(SignedStatement, encoded)
        if isinstance(signed.statement, AcknowledgeStatement):
            acknowledged.append(signed)
        else:
            entries.append(signed)
    return Page(cursor, tuple(entries), tuple(acknowledged), more=False)


def status(db: apsw.Connection, inbox_key: bytes, limits: Limits, *, room: bool) -> InboxStatus:
    """Return an inbox's counts; `room`: whether the node itself has room for one more entry."""
    row = db.execute("SELECT entries, octets, last_read FROM inboxes WHERE inbox_key = ?", (inbox_key,)).get
    entries, octets, last_read = row if isinstance(row, tuple) else (0, 0, 0)
    fits = entries < limits.inbox_entries and octets + params.MAX_NOTIFICATION <= limits.inbox_octets
    return InboxStatus(entries, octets, last_read, room and fits)


def record_reads(transaction: Transaction, reads: dict[bytes, int]) -> None:
    """Write down when owners last read: inbox key → ms."""
    transaction.db.executemany(
        "INSERT INTO inboxes VALUES (?1, 0, 0, ?2)"
        " ON CONFLICT (inbox_key) DO UPDATE SET last_read = max(last_read, ?2)",
        reads.items(),
    )


def drop_expired(transaction: Transaction, limit: int) -> int:
    """Drop up to `limit` expired entries, marks and acknowledgements each; return how many went."""
    changes = transaction.db.total_changes()
    now = (transaction.now, limit)
    _free(
        transaction,
        "DELETE FROM entries WHERE number IN (SELECT number FROM entries WHERE expires <= ? LIMIT ?)",
        [now],
    )
    db = transaction.db
    db.execute(_DROP_MARKS, now)
    db.execute(_DROP_ACKNOWLEDGEMENTS, now)
    return db.total_changes() - changes


def _free(transaction: Transaction, sql: str, bindings: Iterable[tuple[bytes | int, ...]]) -> None:
    """Execute a DELETE of entries and give their octets back."""
    freed: dict[bytes, tuple[int, int]] = {}
    returning = f"{sql} RETURNING inbox_key, octets, signer"
    for inbox_key, octets, signer in transaction.db.executemany(returning, bindings):
        transaction.ledger.add(signer, -octets)
        transaction.ledger.count("entries", -1)
        entries, total = freed.get(inbox_key, (0, 0))
        freed[inbox_key] = (entries + 1, total + octets)
    for inbox_key, (entries, total) in freed.items():
        transaction.db.execute(_COUNT, (inbox_key, -entries, -total))
