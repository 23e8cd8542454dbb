"""Small durable values by name, for the agent."""

from gateway.mailbox.database import Database, Transaction


def get(database: Database, name: str) -> bytes | None:
    """The value, or None."""
    rows = list(database.connection.execute("SELECT value FROM settings WHERE name = ?", (name,)))
    return rows[0][0] if rows else None


def put(transaction: Transaction, name: str, value: bytes) -> None:
    """Keep a value; names beginning with "store." are the store's own."""
    if name.startswith("store."):
        raise ValueError(f"the setting {name!r} is the store's own")
    transaction.connection.execute(
        "INSERT INTO settings VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value)
    )
