"""The directory's durable state: who and what the domain lists, what was issued, revoked, invited and published.

One SQLite file (database.py); a call that changes something has it on disk when it returns.

| table        | a row says                                               | it changes when                            |
|--------------|----------------------------------------------------------|--------------------------------------------|
| settings     | domain, CA fingerprint, postmaster, number of revisions  | revision: any change of what is published  |
| certificates | a certificate (DER) was issued                           | never, and no row is deleted               |
| users        | an address is `active` or was `removed`                  | add, remove; `certificate`: renewal, keys |
| aliases      | an address goes to this user too                         | set, remove; rows go with their user       |
| catch_all    | what nothing else takes goes to this user too            | set; rows go with their user               |
| machines     | a gateway or node is `active` or was `removed`           | add, move, revoke; `certificate`: renewal  |
| revocations  | a serial counts no more                                  | `retired` → `compromised`, never back      |
| replication  | k and w from `since` on                                  | never                                      |
| invitations  | a code was given out; with `request` it is used up       | accepted once; deleted when expired unused |
| versions     | a domain record was signed; times strictly increase      | only the newest keeps its octets           |
| published    | a quorum took this content for this identifier at `at`   | after each publication                     |

| crash (SIGKILL, power)                     | afterwards                                                             |
|--------------------------------------------|------------------------------------------------------------------------|
| before a commit                            | nothing of the call happened: nobody is listed, no code is used        |
| after it, before the caller had its answer | it happened; a repeated join request gets the same certificate again   |
| record built, not published                | the newest version is kept and published as it is at the next start    |
| published, not noted                       | published again, which changes nothing at the nodes                    |
"""

from pathlib import Path
from typing import Final

from p2pcore import params
from p2pcore.directory.addresses import Addresses
from p2pcore.directory.database import Database
from p2pcore.directory.errors import BookUnusable
from p2pcore.directory.invitations import Invitations
from p2pcore.directory.issued import Issued
from p2pcore.directory.machines import Machines
from p2pcore.directory.versions import Versions
from p2pcore.errors import TooLarge

LAYOUT: Final = 1

SCHEMA: Final = """
CREATE TABLE settings (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE certificates (
    fingerprint BLOB PRIMARY KEY, serial BLOB NOT NULL UNIQUE, role TEXT NOT NULL, name TEXT NOT NULL,
    public_key BLOB NOT NULL, epoch INTEGER NOT NULL, not_before INTEGER NOT NULL, not_after INTEGER NOT NULL,
    der BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX certificates_by_name ON certificates (role, name);
CREATE INDEX certificates_by_key ON certificates (public_key);
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT, address TEXT NOT NULL, state TEXT NOT NULL,
    certificate BLOB NOT NULL REFERENCES certificates);
CREATE UNIQUE INDEX active_users ON users (address) WHERE state = 'active';
CREATE TABLE aliases (
    address TEXT NOT NULL, position INTEGER NOT NULL, user INTEGER NOT NULL REFERENCES users,
    PRIMARY KEY (address, user)) WITHOUT ROWID;
CREATE INDEX aliases_by_user ON aliases (user);
CREATE TABLE catch_all (user INTEGER PRIMARY KEY REFERENCES users, position INTEGER NOT NULL);
CREATE TABLE machines (
    id INTEGER PRIMARY KEY AUTOINCREMENT, role TEXT NOT NULL, name TEXT NOT NULL, node_id BLOB NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, state TEXT NOT NULL,
    certificate BLOB NOT NULL REFERENCES certificates);
CREATE UNIQUE INDEX active_machine_names ON machines (role, name) WHERE state = 'active';
CREATE UNIQUE INDEX active_machine_keys ON machines (role, node_id) WHERE state = 'active';
CREATE TABLE revocations (serial BLOB PRIMARY KEY, reason TEXT NOT NULL, time INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE replication (since INTEGER PRIMARY KEY, k INTEGER NOT NULL, w INTEGER NOT NULL);
CREATE TABLE invitations (
    code BLOB PRIMARY KEY, role TEXT NOT NULL, name TEXT NOT NULL, expires INTEGER NOT NULL,
    request BLOB, certificate BLOB REFERENCES certificates) WITHOUT ROWID;
CREATE TABLE versions (
    time INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, revision INTEGER NOT NULL, digest BLOB NOT NULL, published BLOB);
CREATE TABLE published (identifier TEXT PRIMARY KEY, digest BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
"""

# What one entry takes in an encoded domain record, rounded up (octets)
ADDRESS_ROOM: Final = 8  # beside the address itself
GATEWAY_ROOM: Final = 400 + 1_300  # GatewayInfo, and the address list's key sealed to it
REVOCATION_ROOM: Final = 64
FIXED_ROOM: Final = 64 << 10  # bootstrap contacts, replication history, statement


class Book:
    """The tables behind one transaction. Each part below is the rows of one subject; rules live in directory.py."""

    def __init__(self, path: Path, domain: str, authority: bytes | None, now: int) -> None:
        """Open or create the book of `domain` under the CA with this fingerprint (None: not at hand).

        Raises BookUnusable.
        """
        self._database = Database(path, SCHEMA, LAYOUT)
        self.addresses = Addresses(self._database)
        self.issued = Issued(self._database)
        self.machines = Machines(self._database)
        self.invitations = Invitations(self._database)
        self.versions = Versions(self._database)
        self.transaction = self._database.transaction
        self.on_commit = self._database.on_commit
        try:
            self._own(path, domain, authority, now)
        except BaseException:
            self.close()
            raise

    def _own(self, path: Path, domain: str, authority: bytes | None, now: int) -> None:
        with self.transaction():
            settings = dict(self._database.rows("SELECT name, value FROM settings"))
            if not settings:
                for name, value in (("domain", domain), ("authority", authority), ("revision", 0)):
                    self._database.run("INSERT INTO settings VALUES (?, ?)", name, value)
                self.versions.replicate(now, 1, 1)
            elif settings["domain"] != domain:
                raise BookUnusable(f"{path}: this is the book of {settings['domain']}, not of {domain}")
            elif authority is not None and settings["authority"] not in (None, authority):
                raise BookUnusable(f"{path}: this book belongs to another CA than the one given")

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def revision(self) -> int:
        """Return the number of changes of what is published so far."""
        return int(self._database.rows("SELECT value FROM settings WHERE name = 'revision'")[0][0])

    def revise(self) -> None:
        """Have the next domain record be a new version; nobody is called for it."""
        self._database.run("UPDATE settings SET value = value + 1 WHERE name = 'revision'")

    def touch(self) -> None:
        """Count a change of what is published; the transaction's commit calls the on_commit callbacks.

        Raises TooLarge (so that the transaction is undone) where the domain record would no longer fit.
        """
        self.revise()
        self._database.note_change()
        room = (
            FIXED_ROOM
            + self.addresses.octets(ADDRESS_ROOM)
            + self.machines.count("gateway") * GATEWAY_ROOM
            + self.issued.revocation_count() * REVOCATION_ROOM
        )
        if room > params.MAX_DOMAIN_RECORD:
            raise TooLarge(f"the domain record would take {room} octets, above {params.MAX_DOMAIN_RECORD}")
