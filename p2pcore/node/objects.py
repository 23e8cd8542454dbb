"""Sealed bodies under their keys: store, find, delete by revealed secrets (§2.1). Works on a transaction.

    state                    row in objects   tombstones           a Store gives        a Deletion gives
    unknown                  none             none                 held                 foretold
    foretold (tombstones     held = 0         fewer than rights    held                 foretold or deleted
      came before the body)
    held                     held = 1 or 2    fewer than rights    held (idempotent)    held or deleted
    (collected: unknown again, or foretold where it had tombstones; its file lost: as foretold, until the file is found)
    deleted                  held = 0         one for each right   deleted (idempotent) deleted (idempotent)

All end at expiry, those with tombstones TOMBSTONE_GRACE later. Identity, not key, tells objects apart, so another
digest under the same key is kept beside the first.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

import apsw

from p2pcore import params
from p2pcore.errors import NodeFull, NotAuthorised, NotFound
from p2pcore.node import certificates, charges
from p2pcore.node.admitted import Admitted
from p2pcore.node.collectable import Collectable
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Transaction
from p2pcore.records import Deletion, ObjectStatement, right_identity

_ABSENT: Final = 0
_IN_ROW: Final = 1
_IN_FILE: Final = 2
_FIND: Final = """
    SELECT number, signed, size, file, octets FROM objects LEFT JOIN bodies ON object = number
    WHERE object_key = ?1 AND held > 0 AND (?2 = x'' OR digest = ?2) ORDER BY number LIMIT 1
"""
_KNOWN: Final = """
    SELECT number, held, file, (SELECT count(*) FROM tombstones WHERE object = objects.number)
    FROM objects WHERE identity = ?
"""
_INSERT: Final = """
    INSERT INTO objects (identity, object_key, digest, size, rights, expires, signer, signed, held, file, used)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity) DO NOTHING
"""
_EXPIRED_BODIES: Final = "SELECT number, size, signer, file FROM objects WHERE expires <= ? AND held > 0 LIMIT ?"
_EXPIRED_ROWS: Final = """
    DELETE FROM objects WHERE number IN (
        SELECT number FROM objects WHERE expires <= ?1 AND held = 0
        AND (expires <= ?2 OR NOT EXISTS (SELECT 1 FROM tombstones WHERE object = objects.number)) LIMIT ?3
    ) RETURNING number, signer, length(signed), rights
"""
_IN_FILES: Final = """
    SELECT number, signer, size, file, held, rights > (SELECT count(*) FROM tombstones WHERE object = number)
    FROM objects WHERE file <> ''
"""
_HELD: Final = "SELECT number, signer, size, file, length(signed), rights FROM objects WHERE identity = ? AND held > 0"
_LEAST_USED: Final = """
    SELECT number, identity, object_key, used, size FROM objects
    WHERE held > 0 AND (used, number) > (?1, ?2) AND expires > ?3 ORDER BY used, number LIMIT ?4
"""


@dataclass(frozen=True, slots=True)
class Found:
    """An object held: its row, its encoded SignedStatement, and its octets or the name of their file."""

    number: int
    signed: bytes
    size: int
    octets: bytes
    file: str


def store(
    transaction: Transaction,
    settings: NodeSettings,
    admitted: Admitted[ObjectStatement],
    *,
    octets: bytes = b"",
    file: str = "",
) -> bool:
    """Hold an object whose body (checked against its digest) is `octets` or in `file`; return whether it was taken.

    False: it was there already, or all its rights are deleted; then `file` is the caller's to remove. Raises NodeFull.
    """
    db = transaction.db
    statement = admitted.statement
    held = _IN_FILE if file else _IN_ROW
    number = _insert_with_room(transaction, settings, admitted, held, file)
    if not number:
        number, earlier, _, revealed = _known(db, admitted.identity)
        if earlier or revealed >= len(statement.delete_rights):
            return False
        certificates.check_room(transaction, settings, admitted.certificate, statement.size)
        db.execute(
            "UPDATE objects SET held = ?, file = ?, used = ? WHERE number = ?", (held, file, transaction.now, number)
        )
    if not file:
        db.execute("INSERT INTO bodies VALUES (?, ?)", (number, octets))
    transaction.ledger.add(statement.signer, statement.size)
    transaction.ledger.count("objects", 1)
    return True


def _insert_with_room(
    transaction: Transaction, settings: NodeSettings, admitted: Admitted[ObjectStatement], held: int, file: str
) -> int:
    """Return the number of the new row, or 0 where there is one already, room or not. Raises NodeFull."""
    taken = admitted.statement.size + _charge(admitted)
    try:
        certificates.check_room(transaction, settings, admitted.certificate, taken)
    except NodeFull:
        if _known(transaction.db, admitted.identity)[0]:
            return 0
        raise
    return _insert(transaction, admitted, held, file)


def is_wanted(db: apsw.Connection, object_identity: bytes) -> bool:
    """Return whether `store` would take this object now: it is neither held nor deleted."""
    row = db.execute("SELECT number, held, rights FROM objects WHERE identity = ?", (object_identity,)).get
    if not isinstance(row, tuple):
        return True
    number, held, rights = row
    return not held and _revealed(db, number) < rights


def find(db: apsw.Connection, object_key: bytes, digest: bytes) -> Found:
    """Return an object held under this key, with this digest unless empty. Raises NotFound."""
    row: Any = db.execute(_FIND, (object_key, digest)).get
    if row is None:
        raise NotFound(f"object {object_key.hex()} is not held here")
    number, signed, size, file, octets = row
    return Found(number, signed, size, octets or b"", file)


def known(db: apsw.Connection, identities: Sequence[bytes]) -> frozenset[bytes]:
    """Return those of `identities` (at least one) whose statement was verified here before."""
    sql = "SELECT identity FROM objects WHERE identity IN (SELECT value FROM carray(?))"
    return frozenset(found for (found,) in db.execute(sql, (apsw.carray(tuple(identities)),)))


def delete(
    transaction: Transaction,
    settings: NodeSettings,
    deletion: Deletion,
    object_identity: bytes,
    admitted: Admitted[ObjectStatement] | None,
) -> tuple[str, ...]:
    """Reveal one right's secret; return the names of files that no row names any more.

    `admitted` may be None where the object's row is here (known). Raises NotAuthorised where the secret opens
    no right of the object, NotFound where neither row nor `admitted` is there, NodeFull where there is no room for the
    tombstone of an object that never came here.
    """
    db = transaction.db
    statement = deletion.object.statement
    assert isinstance(statement, ObjectStatement)
    if hashlib.sha256(deletion.secret).digest() not in statement.delete_rights:
        raise NotAuthorised(f"secret opens no delete right of object {statement.object_key.hex()}")
    number, held, file, revealed = _known(db, object_identity)
    if not number:
        if admitted is None:
            raise NotFound(f"object {statement.object_key.hex()} is not known here")
        certificates.check_room(transaction, settings, admitted.certificate, _charge(admitted))
        number = _insert(transaction, admitted, _ABSENT, "")
    tombstone = right_identity(object_identity, deletion.secret)
    db.execute("INSERT OR IGNORE INTO tombstones VALUES (?, ?, ?)", (tombstone, number, deletion.secret))
    news = db.changes()
    transaction.ledger.count("tombstones", news)
    if not held or revealed + news < len(statement.delete_rights):
        return ()
    _free_body(transaction, number, statement.signer, statement.size)
    return (file,) if file else ()


def record_uses(transaction: Transaction, uses: Mapping[int, int]) -> None:
    """Write down when objects were last fetched: row → ms."""
    transaction.db.executemany(
        "UPDATE objects SET used = ?2 WHERE number = ?1 AND held > 0 AND used < ?2", uses.items()
    )


def least_used(db: apsw.Connection, now: int, after: tuple[int, int], limit: int) -> list[Collectable]:
    """Return up to `limit` objects held and not expired, least recently used first, after this place in that order."""
    return [
        Collectable(identity, key, (used, number), size)
        for number, identity, key, used, size in db.execute(_LEAST_USED, (*after, now, limit))
    ]


def match_files(transaction: Transaction, present: Set[str]) -> int:
    """Hold the objects whose file is among those `present`, and of those in files no others; return how many do not.

    Their rows go on naming their files, which may be found again: perhaps a file system was not mounted.
    """
    db = transaction.db
    named: list[Any] = db.execute(_IN_FILES).fetchall()
    for number, signer, size, file, held, wanted in named:
        found = bool(wanted) and file in present
        if found == bool(held):
            continue
        db.execute("UPDATE objects SET held = ? WHERE number = ?", (_IN_FILE if found else _ABSENT, number))
        transaction.ledger.add(signer, size if found else -size)
        transaction.ledger.count("objects", 1 if found else -1)
    return sum(file not in present for *_, file, _, wanted in named if wanted)


def collect(transaction: Transaction, identities: Iterable[bytes]) -> tuple[int, tuple[str, ...]]:
    """Drop these objects, which others hold; return how many went, and the files that no row names any more.

    Tombstones of a part of the rights stay, with the row.
    """
    db = transaction.db
    files = []
    for identity in identities:
        row: Any = db.execute(_HELD, (identity,)).get
        if row is None:
            continue  # deleted meanwhile
        number, signer, size, file, statement, rights = row
        files.append(file)
        _free_body(transaction, number, signer, size)
        if not _revealed(db, number):
            db.execute("DELETE FROM objects WHERE number = ?", (number,))
            transaction.ledger.add(signer, -charges.of_statement(statement, rights))
    return len(files), tuple(file for file in files if file)


def _free_body(transaction: Transaction, number: int, signer: bytes, size: int) -> None:
    """Let go of an object's octets; its row stays. A file is the caller's to remove once this is committed."""
    transaction.db.execute("UPDATE objects SET held = 0, file = '' WHERE number = ?", (number,))
    transaction.db.execute("DELETE FROM bodies WHERE object = ?", (number,))
    transaction.ledger.add(signer, -size)
    transaction.ledger.count("objects", -1)


def _charge(admitted: Admitted[ObjectStatement]) -> int:
    return charges.of_statement(len(admitted.octets), len(admitted.statement.delete_rights))


def _known(db: apsw.Connection, object_identity: bytes) -> tuple[int, int, str, int]:
    """Return an object's row: number (0: there is none), held, file, and how many of its rights are revealed."""
    row: Any = db.execute(_KNOWN, (object_identity,)).get
    return row or (0, _ABSENT, "", 0)


def _insert(transaction: Transaction, admitted: Admitted[ObjectStatement], held: int, file: str) -> int:
    """Return the number of the new row, or 0 where there is one already."""
    statement = admitted.statement
    transaction.db.execute(
        _INSERT,
        (
            admitted.identity,
            statement.object_key,
            statement.digest,
            statement.size,
            len(statement.delete_rights),
            statement.expires,
            statement.signer,
            admitted.octets,
            held,
            file,
            transaction.now,
        ),
    )
    if not transaction.db.changes():
        return 0
    certificates.keep(transaction, admitted.certificate)
    transaction.ledger.add(statement.signer, _charge(admitted))
    return transaction.db.last_insert_rowid()


def drop_expired(transaction: Transaction, limit: int) -> tuple[int, tuple[str, ...]]:
    """Free up to `limit` expired bodies and rows each; return how many, and the files that no row names any more."""
    db = transaction.db
    freed: list[Any] = db.execute(_EXPIRED_BODIES, (transaction.now, limit)).fetchall()
    for number, size, signer, _file in freed:
        _free_body(transaction, number, signer, size)
    gone: list[Any] = db.execute(
        _EXPIRED_ROWS, (transaction.now, transaction.now - params.TOMBSTONE_GRACE, limit)
    ).fetchall()
    for number, signer, statement, rights in gone:
        db.execute("DELETE FROM tombstones WHERE object = ?", (number,))
        transaction.ledger.count("tombstones", -db.changes())
        transaction.ledger.add(signer, -charges.of_statement(statement, rights))
    return len(freed) + len(gone), tuple(file for *_, file in freed if file)


def _revealed(db: apsw.Connection, number: int) -> int:
    count = db.execute("SELECT count(*) FROM tombstones WHERE object = ?", (number,)).get
    assert isinstance(count, int)
    return count
