"""Entries whose message could not be had: what stands in the mailbox in their place, until it comes.

| state                       | reached by                          | then                                            |
|-----------------------------|-------------------------------------|-------------------------------------------------|
| `since`, not shown          | the first time it was looked for    | looked for again; shown after a while           |
| shown, with the placeholder | one commit with the placeholder     | the commit that files the message removes both  |
| shown, without              | she deleted the placeholder         | not shown again; the message comes all the same |
| row gone                    | the message filed, or expired       | a placeholder that is left says what happened   |
"""

from gateway.mailbox import contents, mailboxes
from gateway.mailbox.database import Transaction
from gateway.mailbox.flags import canonical
from gateway.mailbox.model import NewMessage
from gateway.mailbox.rows import Placed, held, place, take_out


def missed(
    transaction: Transaction, entry_id: bytes, placeholder: NewMessage, now: int, expires: int, patience: int
) -> int | None:
    """See MailStore.missed."""
    connection = transaction.connection
    connection.execute("DELETE FROM missing WHERE expires < ?", (now,))
    connection.execute(
        "INSERT OR IGNORE INTO missing (entry_id, since, expires, shown) VALUES (?, ?, ?, 0)", (entry_id, now, expires)
    )
    due = list(
        connection.execute(
            "SELECT 1 FROM missing WHERE entry_id = ? AND NOT shown AND since <= ?", (entry_id, now - patience)
        )
    )
    if not due:
        return None
    content_id, size = contents.insert(transaction, placeholder.content, b"", limit=None)
    inbox = mailboxes.by_name(transaction.database, "INBOX")
    flags = canonical(placeholder.flags)
    (uid,) = place(
        transaction, inbox.id, [Placed(content_id, size, flags, placeholder.internal_date, placeholder.zone)]
    )
    connection.execute("UPDATE missing SET shown = 1, content_id = ? WHERE entry_id = ?", (content_id, entry_id))
    return uid


def arrived(transaction: Transaction, entry_id: bytes) -> None:
    """Take out what stood in the place of a message that has come, wherever she has put it."""
    connection = transaction.connection
    found = list(connection.execute("DELETE FROM missing WHERE entry_id = ? RETURNING content_id", (entry_id,)))
    for (content_id,) in found:
        if content_id is None:
            continue
        copies: dict[int, list[int]] = {}
        for mailbox_id, uid in connection.execute(
            "SELECT mailbox_id, uid FROM messages WHERE content_id = ?", (content_id,)
        ):
            copies.setdefault(mailbox_id, []).append(uid)
        for mailbox_id, uids in copies.items():
            take_out(transaction, mailbox_id, held(transaction.database, mailbox_id, uids))
            contents.release(transaction, [content_id] * len(uids))
