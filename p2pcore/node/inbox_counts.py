"""How many entries an inbox holds and their octets: kept in memory by the writer, written once per transaction."""

from typing import Final

import apsw

_MOST: Final = 10_000  # inboxes whose counts are remembered

_WRITE: Final = """
    INSERT INTO inboxes VALUES (?1, ?2, ?3, 0)
    ON CONFLICT (inbox_key) DO UPDATE SET entries = entries + ?2, octets = octets + ?3
"""
_DROP: Final = "DELETE FROM inboxes WHERE inbox_key = ? AND entries = 0 AND octets = 0 AND last_read = 0"


class InboxCounts:
    """What the table `inboxes` says, together with what is not written yet."""

    def __init__(self) -> None:
        self._counts: dict[bytes, tuple[int, int]] = {}
        self._changes: dict[bytes, tuple[int, int]] = {}  # of the transaction under way

    def of(self, db: apsw.Connection, inbox_key: bytes) -> tuple[int, int]:
        """Return the entries of an inbox and their octets."""
        counts = self._counts.get(inbox_key)
        if counts is None:
            if len(self._counts) >= _MOST:
                self._counts.clear()
            row = db.execute("SELECT entries, octets FROM inboxes WHERE inbox_key = ?", (inbox_key,)).get
            written = row if isinstance(row, tuple) else (0, 0)
            counts = self._counts[inbox_key] = _sum(written, self._changes.get(inbox_key, (0, 0)))
        return counts

    def add(self, inbox_key: bytes, entries: int, octets: int) -> None:
        """Count entries that came (or went: negative)."""
        change = (entries, octets)
        self._changes[inbox_key] = _sum(self._changes.get(inbox_key, (0, 0)), change)
        if inbox_key in self._counts:
            self._counts[inbox_key] = _sum(self._counts[inbox_key], change)

    def flush(self, db: apsw.Connection) -> None:
        """Write what has changed, inside the transaction that changed it.

        An inbox without entries keeps its row only where its owner has read: anybody who may append can make inboxes.
        """
        if self._changes:
            db.executemany(_WRITE, [(inbox_key, *change) for inbox_key, change in self._changes.items()])
            db.executemany(_DROP, [(inbox_key,) for inbox_key, (entries, _) in self._changes.items() if entries <= 0])
            self._changes.clear()


def _sum(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]
