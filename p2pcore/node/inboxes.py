"""Inboxes: append, acknowledge, read by cursor (§2.1). Works on a transaction or reading connection.

    state of an entry             row in entries   row in marks   an append gives      an acknowledgement gives
    unknown                       no               no             waiting              acknowledged (it may come later)
    waiting                       yes              no             waiting (idempotent) acknowledged, octets freed
    acknowledged                  no               yes            acknowledged         acknowledged (idempotent)

Entries and acknowledgements draw their numbers from one sequence, so one cursor covers both. A mark counts in its own
inbox only, else anybody could acknowledge another's mail in advance.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import apsw

from p2pcore import params
from p2pcore.errors import InboxFull, NodeFull
from p2pcore.node import certificates, charges
from p2pcore.node.admitted import Admitted
from p2pcore.node.collectable import Collectable
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
    UNION ALL SELECT number, iif(instance = ?3 AND ?3 <> x'', NULL, signed) FROM acknowledgements
    WHERE inbox_key = ?1 AND number > ?2
    ORDER BY number
"""
_LEFT_OUT: Final = 50_000  # a reader's own acknowledgements that one page may pass over
_KNOWN: Final = """
    SELECT 1 FROM entries WHERE identity = ?1
    UNION ALL SELECT 1 FROM marks WHERE entry = ?1 AND inbox_key = ?2
"""
_APPEND: Final = """
    INSERT INTO entries SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7
    WHERE NOT EXISTS (SELECT 1 FROM marks WHERE entry = ?2 AND inbox_key = ?3) ON CONFLICT (identity) DO NOTHING
"""
_MARK: Final = """
    INSERT INTO marks SELECT value, ?2, ?3, ?4 FROM carray(?1) WHERE true ON CONFLICT (entry, inbox_key)
    DO UPDATE SET acknowledgement = ?3, expires = ?4 WHERE expires < ?4
"""
# With the index of identities: an inbox may hold many more entries than are named
_NAMED: Final = "FROM entries WHERE identity IN (SELECT value FROM carray(?1)) AND +inbox_key = ?2"
_DROP_MARKS: Final = """
    DELETE FROM marks WHERE (entry, inbox_key) IN (SELECT entry, inbox_key FROM marks WHERE expires <= ? LIMIT ?)
"""
_DROP_ACKNOWLEDGEMENTS: Final = """
    DELETE FROM acknowledgements WHERE number IN (SELECT number FROM acknowledgements WHERE expires <= ? LIMIT ?)
    RETURNING signer, length(signed)
"""
_OLDEST: Final = (
    "SELECT number, identity, inbox_key, octets FROM entries WHERE number > ? AND expires > ? ORDER BY number LIMIT ?"
)
_COUNTED: Final = 10_000  # pairs of an inbox and a user whose entries are counted in memory


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
    octets = len(admitted.octets)
    try:
        _check_room(transaction, settings, admitted)
    except (InboxFull, NodeFull):
        if db.execute(_KNOWN, (admitted.identity, statement.inbox_key)).get is not None:
            return False
        raise
    db.execute(
        _APPEND,
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
    if not db.changes():
        return False
    certificates.keep(transaction, admitted.certificate)
    transaction.ledger.inboxes.add(statement.inbox_key, 1, octets)
    transaction.ledger.add(statement.signer, charges.of_entry(octets))
    transaction.ledger.count("entries", 1)
    pair = (statement.inbox_key, statement.signer)
    if pair in transaction.ledger.entries_of:
        transaction.ledger.entries_of[pair] += 1
    return True


def _check_room(transaction: Transaction, settings: NodeSettings, admitted: Admitted[EntryStatement]) -> None:
    """Return if this entry fits its inbox and this node. Raises InboxFull, NodeFull."""
    statement = admitted.statement
    limits = settings.limits
    octets = len(admitted.octets)
    entries, filled = transaction.ledger.inboxes.of(transaction.db, statement.inbox_key)
    if entries >= limits.inbox_entries or filled + octets > limits.inbox_octets:
        raise InboxFull(f"inbox {statement.inbox_key.hex()} holds {entries} entries of {filled} octets")
    if admitted.certificate.role == "user" and entries >= limits.inbox_entries_of_user:
        _check_share(transaction, limits, statement)
    certificates.check_room(transaction, settings, admitted.certificate, charges.of_entry(octets))


def _check_share(transaction: Transaction, limits: Limits, statement: EntryStatement) -> None:
    """Return if this user may have one more entry in this inbox. Raises InboxFull.

    Counted once, then kept up to date by `append` and `_free`: an inbox may hold many.
    """
    counted = transaction.ledger.entries_of
    pair = (statement.inbox_key, statement.signer)
    if pair not in counted:
        if len(counted) >= _COUNTED:
            counted.clear()
        count = transaction.db.execute("SELECT count(*) FROM entries WHERE inbox_key = ? AND signer = ?", pair).get
        assert isinstance(count, int)
        counted[pair] = count
    if counted[pair] >= limits.inbox_entries_of_user:
        raise InboxFull(f"inbox {statement.inbox_key.hex()} holds {counted[pair]} entries of this user")


def acknowledge(transaction: Transaction, settings: NodeSettings, admitted: Admitted[AcknowledgeStatement]) -> bool:
    """Mark entries, also ones that are not here (yet), and free their octets; return whether it is news.

    Raises NodeFull where there is no room for it and it frees less than it takes.
    """
    db = transaction.db
    statement = admitted.statement
    if db.execute("SELECT 1 FROM acknowledgements WHERE identity = ?", (admitted.identity,)).get is not None:
        return False
    taken = charges.of_acknowledgement(len(admitted.octets))
    try:
        certificates.check_room(transaction, settings, admitted.certificate, taken)
    except NodeFull:
        if _held(db, statement) < taken:
            raise
    certificates.keep(transaction, admitted.certificate)
    number = transaction.ledger.next_number()
    db.execute(
        "INSERT INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            admitted.identity,
            statement.inbox_key,
            statement.expires,
            statement.signer,
            admitted.octets,
            statement.instance,
        ),
    )
    transaction.ledger.add(statement.signer, taken)
    named = apsw.carray(statement.entries)
    db.execute(_MARK, (named, statement.inbox_key, number, statement.expires))
    _free(transaction, f"DELETE {_NAMED}", [(named, statement.inbox_key)])
    return True


def _held(db: apsw.Connection, statement: AcknowledgeStatement) -> int:
    """Return what the entries that `statement` names count here."""
    named = (apsw.carray(statement.entries), statement.inbox_key)
    return sum(charges.of_entry(octets) for (octets,) in db.execute(f"SELECT octets {_NAMED}", named))


def oldest(db: apsw.Connection, now: int, after: tuple[int, int], limit: int) -> list[Collectable]:
    """Return up to `limit` entries that have not expired, those that came first first, after this place."""
    return [
        Collectable(identity, inbox_key, (0, number), charges.of_entry(octets))
        for number, identity, inbox_key, octets in db.execute(_OLDEST, (after[1], now, limit))
    ]


def collect(transaction: Transaction, identities: Iterable[bytes]) -> int:
    """Drop these entries, which others hold; return how many went."""
    before = transaction.ledger.counts["entries"]
    _free(transaction, "DELETE FROM entries WHERE identity = ?", [(identity,) for identity in identities])
    return before - transaction.ledger.counts["entries"]


def page(db: apsw.Connection, inbox_key: bytes, cursor: int, instance: bytes = b"") -> Page:
    """Return what follows `cursor` in an inbox: at most PAGE_ENTRIES items and about PAGE_OCTETS octets.

    Acknowledgements that name `instance` are passed over, unless it is empty.
    """
    entries: list[SignedStatement] = []
    acknowledged: list[SignedStatement] = []
    octets = left_out = 0
    for number, encoded in db.execute(_PAGE, (inbox_key, cursor, instance)):
        full = len(entries) + len(acknowledged) >= params.PAGE_ENTRIES or octets > params.PAGE_OCTETS
        if full or left_out >= _LEFT_OUT:
            return Page(cursor, tuple(entries), tuple(acknowledged), more=True)
        cursor = number
        if encoded is None:
            left_out += 1
            continue
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
    dropped: list[Any] = db.execute(_DROP_ACKNOWLEDGEMENTS, now).fetchall()
    for signer, octets in dropped:
        transaction.ledger.add(signer, -charges.of_acknowledgement(octets))
    return db.total_changes() - changes


def _free(transaction: Transaction, sql: str, bindings: Iterable[tuple[Any, ...]]) -> None:
    """Execute a DELETE of entries and give their octets back."""
    freed: dict[bytes, tuple[int, int]] = {}
    returning = f"{sql} RETURNING inbox_key, octets, signer"
    for inbox_key, octets, signer in transaction.db.executemany(returning, bindings):
        transaction.ledger.add(signer, -charges.of_entry(octets))
        transaction.ledger.count("entries", -1)
        if (inbox_key, signer) in transaction.ledger.entries_of:
            transaction.ledger.entries_of[inbox_key, signer] -= 1
        entries, total = freed.get(inbox_key, (0, 0))
        freed[inbox_key] = (entries + 1, total + octets)
    for inbox_key, (entries, total) in freed.items():
        transaction.ledger.inboxes.add(inbox_key, -entries, -total)
