"""Filing what the network brought: message, seen identity, duplicate hash and clean-up task in one transaction."""

from collections.abc import Sequence

from gateway.mailbox import contents, mailboxes, missing
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.flags import canonical
from gateway.mailbox.model import Filed, Incoming, Mailbox, NewMessage
from gateway.mailbox.params import DUPLICATE_WINDOW, SEEN_LIFETIME
from gateway.mailbox.rows import Placed, place


def file(transaction: Transaction, items: Sequence[Incoming], now: int) -> tuple[Filed, ...]:
    """See MailStore.file_incoming; `now` in Unix seconds."""
    _forget(transaction, now - SEEN_LIFETIME)
    placed: dict[str, list[Placed]] = {}
    waiting: list[tuple[str, int] | None] = []  # by item: where its Placed stands
    for item in items:
        first_time = _remember(transaction, item, now)
        _owe(transaction, item, now * 1_000 + item.keep if first_time and item.keep else 0)
        missing.arrived(transaction, item.entry_id)
        if not first_time:
            waiting.append(None)
            continue
        # No limit: a gateway has promised this message; it keeps to its own.
        content_id, size = contents.insert(transaction, item.content, item.trace, limit=None)
        queue = placed.setdefault(item.mailbox, [])
        waiting.append((item.mailbox, len(queue)))
        queue.append(Placed(content_id, size, canonical(item.keywords), item.internal_date, 0))
    uids = {name: place(transaction, _target(transaction, name).id, queue) for name, queue in placed.items()}
    return tuple(
        Filed(item.entry_id, None if where is None else uids[where[0]][where[1]])
        for item, where in zip(items, waiting, strict=True)
    )


def file_once(
    transaction: Transaction, identity: bytes, special_use: str | None, message: NewMessage, now: int
) -> int | None:
    """See MailStore.file_once; `now` in Unix seconds."""
    transaction.connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (identity, now))
    if transaction.connection.changes() == 0:
        return None
    name = special_use.removeprefix("\\") if special_use else "INBOX"
    target = (
        mailboxes.for_special_use(transaction, special_use, name)
        if special_use
        else mailboxes.by_name(transaction.database, name)
    )
    content_id, size = contents.insert(transaction, message.content, b"", limit=None)
    placed = Placed(content_id, size, canonical(message.flags), message.internal_date, message.zone)
    return place(transaction, target.id, [placed])[0]


def owe_cleanup(transaction: Transaction, entry_id: bytes, task: bytes, now: int) -> None:
    """See MailStore.owe_cleanup."""
    transaction.connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (entry_id, now))
    transaction.connection.execute(
        "INSERT INTO cleanup (task, entry_id) SELECT ?1, ?2 WHERE NOT EXISTS"
        " (SELECT 1 FROM cleanup WHERE entry_id = ?2)",
        (task, entry_id),
    )


def seen(database: Database, entry_ids: Sequence[bytes]) -> frozenset[bytes]:
    """Those that were filed."""
    connection = database.connection
    return frozenset(
        entry_id
        for entry_id in entry_ids
        if list(connection.execute("SELECT 1 FROM seen WHERE entry_id = ?", (entry_id,)))
    )


def pending_cleanup(database: Database, limit: int, after: int) -> tuple[tuple[int, bytes], ...]:
    """The oldest tasks behind number `after`."""
    return tuple(
        database.connection.execute(
            "SELECT id, task FROM cleanup WHERE due = 0 AND id > ? ORDER BY id LIMIT ?", (after, limit)
        )
    )


def release_kept(transaction: Transaction, now: int, messages: int, octets: int) -> int | None:
    """See MailStore.release_kept."""
    connection = transaction.connection
    # With new numbers: whoever works them off goes by number, and is past the old ones.
    ((oldest_kept,),) = connection.execute(
        "SELECT max(id) FROM (SELECT id, due, row_number() OVER newest AS messages, sum(octets) OVER newest AS octets"
        " FROM cleanup WHERE due > 0 WINDOW newest AS (ORDER BY id DESC)) WHERE messages > ? OR octets > ?",
        (messages, octets),
    )
    connection.execute(
        "INSERT INTO cleanup (task, entry_id, octets) SELECT task, entry_id, octets FROM cleanup"
        " WHERE due > 0 AND (due <= ?1 OR id <= ?2) ORDER BY id",
        (now, oldest_kept or 0),
    )
    connection.execute("DELETE FROM cleanup WHERE due > 0 AND (due <= ?1 OR id <= ?2)", (now, oldest_kept or 0))
    ((next_due,),) = connection.execute("SELECT min(due) FROM cleanup WHERE due > 0")
    return None if next_due is None else int(next_due)


def cleanup_done(transaction: Transaction, ids: Sequence[int]) -> None:
    """Forget tasks."""
    transaction.connection.executemany("DELETE FROM cleanup WHERE id = ?", ((number,) for number in ids))


def _owe(transaction: Transaction, item: Incoming, due: int) -> None:
    """Note the clean-up task; not a second one where the message is kept in the network still."""
    connection = transaction.connection
    if due or not list(connection.execute("SELECT 1 FROM cleanup WHERE entry_id = ? AND due > 0", (item.entry_id,))):
        connection.execute(
            "INSERT INTO cleanup (task, entry_id, due, octets) VALUES (?, ?, ?, ?)",
            (item.cleanup, item.entry_id, due, item.octets),
        )


def _remember(transaction: Transaction, item: Incoming, now: int) -> bool:
    """Note identity and hash; whether the message is to be shown."""
    connection = transaction.connection
    connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (item.entry_id, now))
    if connection.changes() == 0:
        return False
    if item.duplicate_of is None:
        return True
    near = (item.duplicate_of, item.internal_date - DUPLICATE_WINDOW, item.internal_date + DUPLICATE_WINDOW)
    if list(connection.execute("SELECT 1 FROM duplicates WHERE hash = ? AND received BETWEEN ? AND ?", near)):
        return False
    connection.execute("INSERT INTO duplicates VALUES (?, ?, ?)", (item.duplicate_of, item.internal_date, now))
    return True


def _forget(transaction: Transaction, before: int) -> None:
    """Drop what no entry still alive can repeat."""
    transaction.connection.execute("DELETE FROM seen WHERE filed < ?", (before,))
    transaction.connection.execute("DELETE FROM duplicates WHERE filed < ?", (before,))


def _target(transaction: Transaction, name: str) -> Mailbox:
    if name == "Junk":
        return mailboxes.for_special_use(transaction, "\\Junk", name)
    return mailboxes.by_name(transaction.database, name)
