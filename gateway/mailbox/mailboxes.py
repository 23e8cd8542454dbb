"""Mailboxes: their rows with stored counters, CREATE, RENAME, DELETE, subscriptions."""

from typing import Any, Final

import apsw

from gateway.mailbox import contents, rows
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import (
    InvalidMailboxName,
    MailboxExists,
    MailboxHasChildren,
    NoSuchMailbox,
)
from gateway.mailbox.model import Mailbox
from gateway.mailbox.names import DELIMITER, INBOX, canonical, superiors
from gateway.mailbox.schema import UIDVALIDITY_SETTING

SPECIAL_USES: Final = frozenset({"\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash"})
"""RFC 6154 §2 without \\All and \\Flagged, which would be views."""

_SELECT = (
    "SELECT id, name, special_use, name IN (SELECT name FROM subscriptions), uidvalidity, uidnext,"
    " highest_modseq, messages, unseen, deleted, size FROM mailboxes "
)


def listed(database: Database) -> tuple[Mailbox, ...]:
    """All mailboxes, INBOX first, then by name without case."""
    found = [_mailbox(row) for row in database.connection.execute(_SELECT)]
    return tuple(sorted(found, key=lambda one: (one.name != INBOX, one.name.casefold(), one.name)))


def by_name(database: Database, name: str) -> Mailbox:
    """Raises NoSuchMailbox, for names that cannot be too."""
    try:
        found = _find(database.connection, canonical(name))
    except InvalidMailboxName as error:
        raise NoSuchMailbox(f"no mailbox {name!r}") from error
    if found is None:
        raise NoSuchMailbox(f"no mailbox {name!r}")
    return found


def by_id(database: Database, mailbox_id: int) -> Mailbox:
    """Raises NoSuchMailbox."""
    for row in list(database.connection.execute(_SELECT + "WHERE id = ?", (mailbox_id,))):
        return _mailbox(row)
    raise NoSuchMailbox("the mailbox was deleted")


def for_special_use(transaction: Transaction, special_use: str, name: str) -> Mailbox:
    """The mailbox with this special use, else the one of this name, else a new one of this name."""
    connection = transaction.connection
    for row in list(connection.execute(_SELECT + "WHERE special_use = ?", (special_use,))):
        return _mailbox(row)
    return _find(connection, name) or create(transaction, name, special_use)


def create(transaction: Transaction, name: str, special_use: str | None = None) -> Mailbox:
    """See MailStore.create."""
    connection = transaction.connection
    name = canonical(name.removesuffix(DELIMITER))  # RFC 9051 §6.3.4: a delimiter at the end declares an intent
    if _find(connection, name) is not None:
        raise MailboxExists(f"the mailbox {name!r} exists")
    if special_use is not None:
        taken = list(connection.execute("SELECT 1 FROM mailboxes WHERE special_use = ?", (special_use,)))
        if special_use not in SPECIAL_USES or taken:
            raise InvalidMailboxName(f"special use {special_use} is unknown or taken", "USEATTR")
    _make_superiors(connection, name)
    _insert(connection, name, special_use)
    return by_name(transaction.database, name)


def rename(transaction: Transaction, old: str, new: str) -> None:
    """See MailStore.rename."""
    connection, database = transaction.connection, transaction.database
    source = by_name(database, old)
    new = canonical(new.removesuffix(DELIMITER))
    if _find(connection, new) is not None:
        raise MailboxExists(f"the mailbox {new!r} exists")
    if source.name == INBOX:
        made = create(transaction, new)
        held = rows.held(database, source.id, None)
        rows.place(transaction, made.id, [one.placed for one in held])
        rows.take_out(transaction, source.id, held)
        return
    below = source.name + DELIMITER
    if new.startswith(below):
        raise InvalidMailboxName(f"{source.name!r} cannot be moved below itself")
    moving = [(source.name, new)]
    for (name,) in connection.execute("SELECT name FROM mailboxes"):
        if name.startswith(below):
            moving.append((name, canonical(new + DELIMITER + name[len(below) :])))
    for _, target in moving:
        if _find(connection, target) is not None:
            raise MailboxExists(f"the mailbox {target!r} exists")
    _make_superiors(connection, new)
    connection.executemany("UPDATE mailboxes SET name = ? WHERE name = ?", ((target, name) for name, target in moving))


def delete(transaction: Transaction, name: str) -> None:
    """See MailStore.delete."""
    connection = transaction.connection
    mailbox = by_name(transaction.database, name)
    if mailbox.name == INBOX:
        raise InvalidMailboxName("INBOX cannot be deleted")  # RFC 9051 §6.3.5
    below = mailbox.name + DELIMITER
    if any(other.startswith(below) for (other,) in list(connection.execute("SELECT name FROM mailboxes"))):
        raise MailboxHasChildren(f"{mailbox.name!r} has mailboxes below it")
    held = list(connection.execute("SELECT content_id FROM messages WHERE mailbox_id = ?", (mailbox.id,)))
    connection.execute("DELETE FROM messages WHERE mailbox_id = ?", (mailbox.id,))
    contents.release(transaction, (content_id for (content_id,) in held))
    connection.execute("DELETE FROM mailboxes WHERE id = ?", (mailbox.id,))
    transaction.gone.append(mailbox.id)


def subscribe(transaction: Transaction, name: str, on: bool) -> None:
    """See MailStore.subscribe."""
    sql = "INSERT OR IGNORE INTO subscriptions VALUES (?)" if on else "DELETE FROM subscriptions WHERE name = ?"
    transaction.connection.execute(sql, (canonical(name),))


def subscriptions(database: Database) -> tuple[str, ...]:
    """All subscribed names by name."""
    return tuple(name for (name,) in database.connection.execute("SELECT name FROM subscriptions ORDER BY name"))


def counts(database: Database) -> tuple[int, int]:
    """(mailboxes, messages)."""
    ((mailboxes, total),) = database.connection.execute("SELECT count(*), total(messages) FROM mailboxes")
    return mailboxes, int(total)


def _mailbox(row: tuple[Any, ...]) -> Mailbox:
    number, name, special_use, subscribed, *counters = row
    return Mailbox(number, name, special_use, bool(subscribed), *counters)


def _find(connection: apsw.Connection, name: str) -> Mailbox | None:
    for row in list(connection.execute(_SELECT + "WHERE name = ?", (name,))):
        return _mailbox(row)
    return None


def _make_superiors(connection: apsw.Connection, name: str) -> None:
    for superior in superiors(name):
        if _find(connection, superior) is None:
            _insert(connection, superior, None)


def _insert(connection: apsw.Connection, name: str, special_use: str | None) -> None:
    """UIDVALIDITY grows over all mailboxes, so a name used again never has an old one (RFC 9051 §2.3.1.1)."""
    ((last,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (UIDVALIDITY_SETTING,))
    uidvalidity = int.from_bytes(last) + 1
    connection.execute("UPDATE settings SET value = ? WHERE name = ?", (uidvalidity.to_bytes(8), UIDVALIDITY_SETTING))
    connection.execute(
        "INSERT INTO mailboxes (name, special_use, uidvalidity) VALUES (?, ?, ?)",
        (name, special_use, uidvalidity),
    )
