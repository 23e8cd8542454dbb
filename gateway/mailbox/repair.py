"""Puts right what `check` finds, where that loses nothing; each function says what it did, and is one transaction.

Counters are counted again; a UID that might have been given twice gets its mailbox a new UIDVALIDITY, so that clients
forget what they know; a content that no mailbox holds comes into the mailbox Recovered; what FETCH tells is made again
from the content; the full-text index is filled again. A content that cannot be read stays as it is: a backup may have
it, and parts of it may be readable.
"""

from collections.abc import Sequence
from typing import Final

from gateway.mail.structure import pack_part
from gateway.mailbox import mailboxes
from gateway.mailbox.check import ContentProblem, counted, references
from gateway.mailbox.contents import sent_day
from gateway.mailbox.database import Transaction
from gateway.mailbox.errors import NoSuchMailbox
from gateway.mailbox.rows import Placed, place
from gateway.mailbox.schema import UIDVALIDITY_SETTING

RECOVERED: Final = "Recovered"


def rows(transaction: Transaction, now: int) -> list[str]:
    """Repair counters, UIDNEXT, HIGHESTMODSEQ, references, lost contents; `now` in Unix seconds."""
    connection, done = transaction.connection, list[str]()
    connection.execute("DELETE FROM messages WHERE content_id NOT IN (SELECT id FROM contents)")
    if removed := connection.changes():
        done.append(f"{removed} messages without any content: removed, nothing of them was left")
    done += _uidvalidity(transaction, now)
    for one in list(counted(transaction.database)):
        if one.stored != one.rows:
            connection.execute(
                "UPDATE mailboxes SET messages = ?, unseen = ?, deleted = ?, size = ? WHERE id = ?", (*one.rows, one.id)
            )
            done.append(f"{one.name}: counted again")
        if one.highest_modseq < one.last_modseq:
            connection.execute("UPDATE mailboxes SET highest_modseq = ? WHERE id = ?", (one.last_modseq + 1, one.id))
            done.append(f"{one.name}: HIGHESTMODSEQ is above every message's again")
        if one.uidnext <= one.last_uid:
            connection.execute(
                "UPDATE mailboxes SET uidnext = ?, uidvalidity = ? WHERE id = ?",
                (one.last_uid + 1, next_uidvalidity(transaction, now), one.id),
            )
            done.append(f"{one.name}: UIDNEXT is above every UID again, with a new UIDVALIDITY")
    return done + _references(transaction, now)


def _uidvalidity(transaction: Transaction, now: int) -> list[str]:
    connection = transaction.connection
    ((last,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (UIDVALIDITY_SETTING,))
    ((highest,),) = connection.execute("SELECT max(uidvalidity) FROM mailboxes")
    if highest <= int.from_bytes(last):
        return []
    connection.execute(
        "UPDATE settings SET value = ? WHERE name = ?", (max(highest, now).to_bytes(8), UIDVALIDITY_SETTING)
    )
    return ["the last UIDVALIDITY is above every mailbox's again"]


def next_uidvalidity(transaction: Transaction, now: int) -> int:
    """A UIDVALIDITY that no mailbox of this store had, and none of a copy of it that lived until `now` (Unix s)."""
    connection = transaction.connection
    ((last,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (UIDVALIDITY_SETTING,))
    fresh = max(int.from_bytes(last) + 1, now)
    connection.execute("UPDATE settings SET value = ? WHERE name = ?", (fresh.to_bytes(8), UIDVALIDITY_SETTING))
    return fresh


def _references(transaction: Transaction, now: int) -> list[str]:
    connection, done = transaction.connection, list[str]()
    lost: list[Placed] = []
    while wrong := references(transaction.database):
        for content_id, _, found in wrong:
            connection.execute("UPDATE contents SET refs = ? WHERE id = ?", (max(found, 1), content_id))
            if not found:
                ((size,),) = connection.execute("SELECT size FROM contents WHERE id = ?", (content_id,))
                lost.append(Placed(content_id, size, frozenset(), now, 0))
        if lost:
            place(transaction, _recovered(transaction), lost)
            done.append(f"{len(lost)} messages that were in no mailbox: now in {RECOVERED}")
            lost = []
        done.append(f"{len(wrong)} contents: their holders counted again")
    return done


def _recovered(transaction: Transaction) -> int:
    try:
        return mailboxes.by_name(transaction.database, RECOVERED).id
    except NoSuchMailbox:
        return mailboxes.create(transaction, RECOVERED).id


def structures(transaction: Transaction, problems: Sequence[ContentProblem]) -> list[str]:
    """Write again what FETCH tells of these contents, from their octets."""
    done = []
    for problem in problems:
        again = problem.again
        if again is None:
            continue
        transaction.connection.execute(
            "UPDATE contents SET envelope = ?, body = ?, bodystructure = ?, structure = ?, header_size = ?,"
            " sent_day = ? WHERE id = ?",
            (
                again.envelope,
                again.body,
                again.bodystructure,
                pack_part(again.root),
                again.header_size,
                sent_day(again.date),
                problem.content_id,
            ),
        )
        done.append(f"content {problem.content_id}: what FETCH tells is its content's again")
    return done


def index(transaction: Transaction) -> None:
    """Empty the full-text index; the job fills it again, and searches look at every message until it has."""
    connection = transaction.connection
    connection.execute("INSERT INTO texts (texts) VALUES ('delete-all')")
    connection.execute("DELETE FROM partly_indexed")
    connection.execute("INSERT OR IGNORE INTO unindexed SELECT id FROM contents")


def renew(transaction: Transaction, now: int) -> None:
    """See MailStore.renew; `now` in Unix seconds."""
    connection = transaction.connection
    for (number,) in list(connection.execute("SELECT id FROM mailboxes ORDER BY id")):
        fresh = next_uidvalidity(transaction, now)
        connection.execute("UPDATE mailboxes SET uidvalidity = ? WHERE id = ?", (fresh, number))
    connection.execute("DELETE FROM settings WHERE name GLOB 'agent.*'")
