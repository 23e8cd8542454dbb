"""The book's rows about the domain record: replication history, versions signed, and what a quorum has taken."""

from dataclasses import dataclass

from p2pcore.directory.database import Database
from p2pcore.records import Replication


@dataclass(frozen=True, slots=True)
class RecordVersion:
    """`digest` is of the encoded DomainRecord; `published` is the encoded PublishedVersion; `revision` the book's."""

    time: int
    epoch: int
    revision: int
    digest: bytes
    published: bytes


class Versions:
    """What the directory has said and who has it. Changes belong in the book's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def replication(self) -> tuple[Replication, ...]:
        """Return the history of k and w, oldest first."""
        return tuple(
            Replication(*row) for row in self._database.rows("SELECT since, k, w FROM replication ORDER BY since")
        )

    def replicate(self, since: int, k: int, w: int) -> None:
        """Let k and w hold from `since` on (after the last change, whatever the clock says)."""
        self._database.run(
            "INSERT INTO replication SELECT max(?, coalesce(max(since) + 1, 0)), ?, ? FROM replication", since, k, w
        )

    def newest(self) -> RecordVersion | None:
        """Return the record signed last."""
        rows = self._database.rows(
            "SELECT time, epoch, revision, digest, published FROM versions ORDER BY time DESC LIMIT 1"
        )
        return RecordVersion(*rows[0]) if rows else None

    def add(self, version: RecordVersion) -> None:
        """Keep a newly signed record; of older ones only time, epoch and digest stay."""
        self._database.run("UPDATE versions SET published = NULL WHERE published IS NOT NULL")
        self._database.run(
            "INSERT INTO versions (time, epoch, revision, digest, published) VALUES (?, ?, ?, ?, ?)",
            version.time,
            version.epoch,
            version.revision,
            version.digest,
            version.published,
        )

    def published(self) -> dict[str, tuple[bytes, int]]:
        """Return (digest, time in ms) of what a quorum took last, by identifier."""
        rows = self._database.rows("SELECT identifier, digest, at FROM published")
        return {identifier: (digest, at) for identifier, digest, at in rows}

    def note_published(self, identifier: str, digest: bytes, at: int) -> None:
        self._database.run("INSERT OR REPLACE INTO published VALUES (?, ?, ?)", identifier, digest, at)
