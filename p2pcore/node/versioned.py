"""Certificates and domain records: the only mutable kind, the highest version wins (docs/formats.md §4).

A version is ordered by (epoch, time), then by digest, so that all nodes agree where a signer used a time twice.
"""

import hashlib
from typing import Any, Final, cast

import apsw

from p2pcore import names
from p2pcore.crypto.trust import Trust
from p2pcore.errors import Malformed, NotAuthorised, NotFound, Superseded, Tampered
from p2pcore.node import certificates, charges
from p2pcore.node.admitted import Admitted
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Transaction
from p2pcore.records import (
    DomainRecord,
    HeadStatement,
    PublishedVersion,
    SignedStatement,
    VersionStatement,
    decode,
)

_VERSION: Final = """
    SELECT epoch, time, digest, expires, signer, length(signed), length(content) FROM versions
    WHERE kind = ? AND object_key = ?
"""
_DROP_EXPIRED: Final = """
    DELETE FROM versions WHERE rowid IN (SELECT rowid FROM versions WHERE expires <= ? LIMIT ?)
    RETURNING signer, length(signed), length(content)
"""


def check_content(statement: VersionStatement, content: bytes, trust: Trust) -> None:
    """Return if `content` is what `statement` says and what its identifier names; who signed it is judged elsewhere.

    A certificate chains to the authority and names the identifier's primary address, or has its role and key; its
    version is its notBefore. A domain record is of the identifier's domain, its version its own epoch and time. Raises
    Tampered, Malformed, CertificateRefused, NotAuthorised.
    """
    if len(content) != statement.size or hashlib.sha256(content).digest() != statement.digest:
        raise Tampered(f"{statement.identifier}: content does not match the version's digest")
    if statement.kind == "domain":
        record = decode(DomainRecord, content)
        said = (names.domain_identifier(record.domain), record.epoch, record.time)
        if said != (statement.identifier, statement.epoch, statement.time):
            raise NotAuthorised(f"{statement.identifier}: the record inside is another, or another version")
        return
    certificate = trust.add(content)
    if certificate.identifier != statement.identifier:
        raise NotAuthorised(f"{statement.identifier}: certificate of {certificate.name}")
    if (statement.epoch, statement.time) != (0, certificate.not_before):
        raise NotAuthorised(f"{statement.identifier}: version is not the certificate's notBefore")


def publish(
    transaction: Transaction, settings: NodeSettings, admitted: Admitted[VersionStatement], content: bytes
) -> bool:
    """Hold a version whose content is checked; return whether it is news. Raises Superseded, NodeFull.

    There is one domain record, and it revokes: it counts, and is refused only for its signer's share.
    """
    db = transaction.db
    statement = admitted.statement
    key = names.key_of(statement.identifier)
    row: Any = db.execute(_VERSION, (statement.kind, key)).get
    freed = 0
    if row is not None:
        offered = (statement.epoch, statement.time, statement.digest)
        if row[:3] > offered:
            raise Superseded(f"{statement.identifier}: version {row[0]}.{row[1]} is here already")
        if row[:3] == offered and row[3] >= statement.expires:
            return False
        freed = charges.of_version(*row[5:])
    octets = charges.of_version(len(admitted.octets), len(content))
    _check_room(transaction, settings, admitted, octets - freed)
    if row is None:
        transaction.ledger.count("versions", 1)
    else:
        transaction.ledger.add(row[4], -freed)
    transaction.ledger.add(statement.signer, octets)
    certificates.keep(transaction, admitted.certificate)
    db.execute(
        "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            statement.kind,
            key,
            admitted.identity,
            statement.epoch,
            statement.time,
            statement.digest,
            statement.expires,
            statement.signer,
            admitted.octets,
            content,
        ),
    )
    return True


def _check_room(
    transaction: Transaction, settings: NodeSettings, admitted: Admitted[VersionStatement], octets: int
) -> None:
    if octets <= 0:
        return
    if admitted.statement.kind == "domain":
        taken = transaction.ledger.octets_of.get(admitted.certificate.fingerprint, 0)
        certificates.check_share(settings, admitted.certificate, taken + octets)
    else:
        certificates.check_room(transaction, settings, admitted.certificate, octets)


def resolve(db: apsw.Connection, kind: str, identifier: str) -> PublishedVersion:
    """Return the version held under the key of `identifier`. Raises NotFound."""
    row = db.execute(
        "SELECT signed, content FROM versions WHERE kind = ? AND object_key = ?", (kind, names.key_of(identifier))
    ).get
    if not isinstance(row, tuple):
        raise NotFound(f"{identifier} is not held here")
    return PublishedVersion(decode(SignedStatement, row[0]), row[1])


def take_head(transaction: Transaction, admitted: Admitted[HeadStatement]) -> bool:
    """Hold the head of a domain unless a newer one is here; return whether it is news."""
    statement = admitted.statement
    row = transaction.db.execute("SELECT issued FROM heads WHERE domain = ?", (statement.domain,)).get
    if isinstance(row, int) and row >= statement.issued:
        return False
    certificates.keep(transaction, admitted.certificate)
    transaction.db.execute(
        "INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?)",
        (statement.domain, statement.issued, statement.expires, statement.signer, admitted.octets),
    )
    return True


def heads(db: apsw.Connection) -> tuple[SignedStatement, ...]:
    """Return the newest head of each domain."""
    return tuple(decode(SignedStatement, cast(bytes, signed)) for (signed,) in db.execute("SELECT signed FROM heads"))


def check_head(published: PublishedVersion) -> None:
    """Return if nothing is attached to a head. Raises Malformed."""
    if published.content:
        raise Malformed("a head has no content")


def drop_expired(transaction: Transaction, limit: int) -> int:
    """Drop up to `limit` expired versions, and expired heads; return how many versions went."""
    transaction.db.execute("DELETE FROM heads WHERE expires <= ?", (transaction.now,))
    gone: list[Any] = transaction.db.execute(_DROP_EXPIRED, (transaction.now, limit)).fetchall()
    for signer, signed, content in gone:
        transaction.ledger.add(signer, -charges.of_version(signed, content))
    transaction.ledger.count("versions", -len(gone))
    return len(gone)
