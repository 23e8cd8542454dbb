"""The book's rows about addresses: users, aliases, catch-all, postmaster. All addresses here are canonical."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from p2pcore.directory.database import Database
from p2pcore.errors import NoSuchAddress
from p2pcore.records import AddressList


@dataclass(frozen=True, slots=True)
class User:
    """`certificate` is the SHA-256 of the newest one issued to her."""

    address: str
    state: Literal["active", "removed"]
    certificate: bytes


class Addresses:
    """Who has mail here. Changes belong in the book's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def users(self) -> tuple[User, ...]:
        """Return every user there ever was, oldest first."""
        rows = self._database.rows("SELECT address, state, certificate FROM users ORDER BY id")
        return tuple(User(*row) for row in rows)

    def user(self, address: str) -> User | None:
        """Return the active user with this primary address."""
        rows = self._database.rows(
            "SELECT address, state, certificate FROM users WHERE address = ? AND state = 'active'", address
        )
        return User(*rows[0]) if rows else None

    def add(self, address: str, certificate: bytes) -> None:
        self._database.run(
            "INSERT INTO users (address, state, certificate) VALUES (?, 'active', ?)", address, certificate
        )

    def certify(self, address: str, certificate: bytes) -> None:
        """Note that `certificate` is now the active user's newest."""
        self._database.run(
            "UPDATE users SET certificate = ? WHERE address = ? AND state = 'active'", certificate, address
        )

    def remove(self, address: str) -> None:
        """Make her `removed`; aliases, catch-all and postmaster no longer name her. Raises NoSuchAddress."""
        number = self._number(address)
        self._database.run("UPDATE users SET state = 'removed' WHERE id = ?", number)
        self._database.run("DELETE FROM aliases WHERE user = ?", number)
        self._database.run("DELETE FROM catch_all WHERE user = ?", number)
        self._database.run("DELETE FROM settings WHERE name = 'postmaster' AND value = ?", number)

    def _number(self, address: str) -> int:
        rows = self._database.rows("SELECT id FROM users WHERE address = ? AND state = 'active'", address)
        if not rows:
            raise NoSuchAddress(f"{address} is not a user of this domain")
        return int(rows[0][0])

    def aliases(self) -> dict[str, tuple[str, ...]]:
        """Return each alias and the users it goes to, in the order given."""
        rows = self._database.rows(
            "SELECT a.address, u.address FROM aliases a JOIN users u ON u.id = a.user ORDER BY a.address, a.position"
        )
        found: dict[str, tuple[str, ...]] = {}
        for alias, target in rows:
            found[alias] = (*found.get(alias, ()), target)
        return found

    def is_alias(self, address: str) -> bool:
        return bool(self._database.rows("SELECT 1 FROM aliases WHERE address = ? LIMIT 1", address))

    def set_alias(self, address: str, targets: Sequence[str]) -> None:
        """Replace the alias's targets. Raises NoSuchAddress."""
        self.remove_alias(address)
        for position, target in enumerate(targets):
            number = self._number(target)
            self._database.run(
                "INSERT INTO aliases (address, position, user) VALUES (?, ?, ?)", address, position, number
            )

    def remove_alias(self, address: str) -> bool:
        """Return whether there was such an alias."""
        return self._database.run("DELETE FROM aliases WHERE address = ?", address) > 0

    def catch_all(self) -> tuple[str, ...]:
        rows = self._database.rows(
            "SELECT u.address FROM catch_all c JOIN users u ON u.id = c.user ORDER BY c.position"
        )
        return tuple(address for (address,) in rows)

    def set_catch_all(self, targets: Sequence[str]) -> None:
        """Replace who takes the rest; none: nobody does. Raises NoSuchAddress."""
        self._database.run("DELETE FROM catch_all")
        for position, target in enumerate(targets):
            self._database.run("INSERT INTO catch_all (user, position) VALUES (?, ?)", self._number(target), position)

    def postmaster(self) -> str:
        """Return the user chosen, else the first active one, else ""."""
        rows = self._database.rows(
            "SELECT address FROM users WHERE state = 'active'"
            " ORDER BY id IS NOT (SELECT value FROM settings WHERE name = 'postmaster'), id LIMIT 1"
        )
        return str(rows[0][0]) if rows else ""

    def set_postmaster(self, address: str) -> None:
        """Raises NoSuchAddress."""
        number = self._number(address)
        self._database.run("INSERT OR REPLACE INTO settings VALUES ('postmaster', ?)", number)

    def snapshot(self) -> AddressList:
        """Return the list as gateways get it."""
        users = tuple(user.address for user in self.users() if user.state == "active")
        return AddressList(users, self.aliases(), self.catch_all(), self.postmaster())

    def octets(self, overhead: int) -> int:
        """Return what users, aliases and their targets take in a record, with `overhead` octets for each."""
        rows = self._database.rows(
            "SELECT (SELECT coalesce(sum(length(CAST(address AS BLOB)) + ?1), 0) FROM users WHERE state = 'active')"
            " + (SELECT coalesce(sum(length(CAST(a.address AS BLOB)) + length(CAST(u.address AS BLOB)) + 2 * ?1), 0)"
            " FROM aliases a JOIN users u ON u.id = a.user)",
            overhead,
        )
        return int(rows[0][0])
