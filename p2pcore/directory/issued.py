"""The book's rows about certificates issued and revoked."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from p2pcore import names, params
from p2pcore.crypto.certificates import Certificate
from p2pcore.directory.database import Database
from p2pcore.records import Revocation, Role

Reason = Literal["retired", "compromised"]

_COLUMNS = "fingerprint, serial, role, name, public_key, epoch, not_before, not_after, der"


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """`name`: primary address, machine name, or the domain (directory); times in ms."""

    fingerprint: bytes
    serial: bytes
    role: Role
    name: str
    public_key: bytes
    epoch: int
    not_before: int
    not_after: int
    der: bytes

    @property
    def identifier(self) -> str:
        """What it is published under (Certificate.identifier)."""
        if self.role == "user":
            return names.certificate_identifier(self.name)
        return names.machine_certificate_identifier(self.role, hashlib.sha256(self.public_key).digest())

    @property
    def renewable_from(self) -> int:
        """Half of its lifetime, in ms since 1970 (docs/formats.md §5)."""
        return (self.not_before + self.not_after) // 2


class Issued:
    """Everything this directory had the CA sign. Changes belong in the book's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, certificate: Certificate, name: str) -> None:
        """Note an issued certificate; known already: nothing changes."""
        self._database.run(
            f"INSERT OR IGNORE INTO certificates ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            certificate.fingerprint,
            certificate.serial,
            certificate.role,
            name,
            certificate.public_key,
            certificate.epoch,
            certificate.not_before,
            certificate.not_after,
            certificate.der,
        )

    def _where(self, condition: str, *values: str | bytes) -> tuple[IssuedCertificate, ...]:
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM certificates WHERE {condition}", *values)  # noqa: S608
        return tuple(IssuedCertificate(*row) for row in rows)

    def get(self, fingerprint: bytes) -> IssuedCertificate | None:
        found = self._where("fingerprint = ?", fingerprint)
        return found[0] if found else None

    def by_serial(self, serial: bytes) -> IssuedCertificate | None:
        found = self._where("serial = ?", serial)
        return found[0] if found else None

    def by_name(self, role: Role, name: str) -> tuple[IssuedCertificate, ...]:
        return self._where("role = ? AND name = ?", role, name)

    def by_key(self, public_key: bytes) -> tuple[IssuedCertificate, ...]:
        return self._where("public_key = ?", public_key)

    def revocation(self, serial: bytes) -> Revocation | None:
        rows = self._database.rows("SELECT serial, reason, time FROM revocations WHERE serial = ?", serial)
        return Revocation(*rows[0]) if rows else None

    def revoke(self, serial: bytes, reason: Reason, now: int) -> None:
        """Revoke; a retired one may become compromised, nothing else changes a revocation."""
        self._database.run(
            "INSERT INTO revocations (serial, reason, time) VALUES (?, ?, ?) ON CONFLICT (serial)"
            " DO UPDATE SET reason = excluded.reason, time = excluded.time"
            " WHERE reason = 'retired' AND excluded.reason = 'compromised'",
            serial,
            reason,
            now,
        )

    def revocation_count(self) -> int:
        return int(self._database.rows("SELECT count(*) FROM revocations")[0][0])

    def revocations(self, now: int) -> tuple[Revocation, ...]:
        """Return the revocations that still matter: nothing signed by an older certificate can be accepted any more."""
        rows = self._database.rows(
            "SELECT r.serial, r.reason, r.time FROM revocations r LEFT JOIN certificates c ON c.serial = r.serial"
            " WHERE c.not_after IS NULL OR c.not_after >= ? ORDER BY r.serial",
            now - params.MAX_LIFETIME - params.JUDGING_TOLERANCE,
        )
        return tuple(Revocation(*row) for row in rows)
