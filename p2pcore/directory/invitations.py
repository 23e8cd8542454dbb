"""The book's rows about invitations: one-time codes, whom they are for, and what used them."""

from dataclasses import dataclass

from p2pcore.directory.database import Database
from p2pcore.records import Role


@dataclass(frozen=True, slots=True)
class GivenInvitation:
    """`request` is the SHA-256 of the join request that used the code, `certificate` of what it got (None: open)."""

    code: bytes
    role: Role
    name: str
    expires: int
    request: bytes | None
    certificate: bytes | None


class Invitations:
    """Codes given out. Changes belong in the book's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, code: bytes, role: Role, name: str, expires: int) -> None:
        self._database.run(
            "INSERT INTO invitations (code, role, name, expires) VALUES (?, ?, ?, ?)", code, role, name, expires
        )

    def forget_expired(self, now: int) -> None:
        """Delete what expired unused."""
        self._database.run("DELETE FROM invitations WHERE request IS NULL AND expires < ?", now)

    def all(self) -> tuple[GivenInvitation, ...]:
        """Return every invitation kept, the used ones too."""
        rows = self._database.rows("SELECT code, role, name, expires, request, certificate FROM invitations")
        return tuple(GivenInvitation(*row) for row in rows)

    def use(self, code: bytes, request: bytes, certificate: bytes) -> None:
        """Use the code up."""
        self._database.run(
            "UPDATE invitations SET request = ?, certificate = ? WHERE code = ? AND request IS NULL",
            request,
            certificate,
            code,
        )
