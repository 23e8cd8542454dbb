"""Rows of what is still to be filed in her mailbox: copies for Sent, and reports."""

import hashlib

from gateway.mailbox.database import Database, Transaction


def owe(transaction: Transaction, message_id: str, purpose: str, now: int, octets: bytes | None) -> None:
    """Note what is to be filed in her mailbox; its identity follows from the message and the purpose."""
    identity = hashlib.sha256(f"p2pmail outbox 1\0{message_id}\0{purpose}".encode()).digest()
    transaction.connection.execute(
        "INSERT INTO filings (identity, message_id, time, octets) VALUES (?, ?, ?, ?)",
        (identity, message_id, now, octets),
    )


def first(database: Database, after: int) -> tuple[int, bytes, str, int, bytes | None] | None:
    """Return (ID, identity, message ID, time, octets) of the oldest filing behind ID `after`."""
    rows = database.connection.execute(
        "SELECT id, identity, message_id, time, octets FROM filings WHERE id > ? ORDER BY id LIMIT 1", (after,)
    )
    return next(iter(list(rows)), None)


def forget(transaction: Transaction, filing: int) -> str:
    """Remove a filing that is done; gives its message ID, "" if it was removed with its message meanwhile."""
    rows = transaction.connection.execute("DELETE FROM filings WHERE id = ? RETURNING message_id", (filing,))
    return next((message_id for (message_id,) in list(rows)), "")
