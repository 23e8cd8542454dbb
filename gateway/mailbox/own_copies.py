"""The copies in Sent that this machine files by itself: they give way to the ones that her mail reader files later."""

from typing import Final

from gateway.mail.header_section import header_of, message_id
from gateway.mailbox import contents
from gateway.mailbox.database import Transaction
from gateway.mailbox.model import Mailbox, NewMessage
from gateway.mailbox.rows import Held, held, take_out, uid_list

OWN_COPY: Final = "$P2PMailCopy"  # the keyword of such a copy

_OWN: Final = "SELECT uid FROM messages WHERE mailbox_id = ? AND instr(' ' || flags || ' ', ?)"
_ALIKE: Final = (
    "SELECT uid, head FROM messages JOIN contents c ON c.id = content_id"
    " WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?)) AND instr(envelope, ?)"
)


def uids(transaction: Transaction, mailbox: Mailbox) -> list[int]:
    """Return our copies in the mailbox for Sent; none where it is another. It looks at every row."""
    if mailbox.special_use != "\\Sent":
        return []
    return [uid for (uid,) in transaction.connection.execute(_OWN, (mailbox.id, f" {OWN_COPY} "))]


def superseded(transaction: Transaction, mailbox: Mailbox, item: NewMessage, own: list[int]) -> list[Held]:
    """Return those of our copies (`own`) that are of a message about to be appended: of the same Message-ID.

    Raises OSError.
    """
    if not own:
        return []
    identifier = message_id(header_of(item.content))
    if not identifier:
        return []
    alike = transaction.connection.execute(_ALIKE, (mailbox.id, uid_list(own), identifier))
    return held(
        transaction.database,
        mailbox.id,
        [uid for uid, head in list(alike) if message_id(header_of(head)) == identifier],  # not a part of it
    )


def give_way(transaction: Transaction, mailbox: Mailbox, copies: list[Held]) -> None:
    """Take copies out again; whoever has the mailbox open is told as of an EXPUNGE."""
    take_out(transaction, mailbox.id, copies)
    contents.release(transaction, (one.placed.content_id for one in copies))
