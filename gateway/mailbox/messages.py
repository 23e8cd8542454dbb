"""What is done with messages: APPEND, COPY, MOVE, EXPUNGE, and reading them."""

from collections.abc import Sequence
from typing import Final

from gateway.mail.chosen_fields import USUAL_FIELDS, choose_fields
from gateway.mailbox import contents, mailboxes, own_copies
from gateway.mailbox.contents import OpenContent, Stored
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.flags import canonical
from gateway.mailbox.model import DELETED, Mailbox, NewMessage, Octets, Precomputed, Snapshot
from gateway.mailbox.rows import Held, Placed, held, place, require, rows, take_out, uid_list

_PRECOMPUTED: Final = (
    "SELECT uid, envelope, body, bodystructure, header_size, c.size, structure, {octets}"
    " FROM messages JOIN contents c ON c.id = content_id"
    " WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?))"
)
_OCTETS: Final[dict[str, str]] = {"none": "NULL, NULL", "header": "head, NULL", "all": "head, rest"}


def snapshot(database: Database, name: str) -> Snapshot:
    """See MailStore.snapshot."""
    return snapshot_of(database, mailboxes.by_name(database, name).id)


def snapshot_of(database: Database, mailbox_id: int) -> Snapshot:
    """See MailStore.snapshot_of."""
    return Snapshot(mailboxes.by_id(database, mailbox_id), rows(database, mailbox_id))


def count_from(database: Database, mailbox_id: int, uid: int) -> int:
    """See MailStore.count_from."""
    ((count,),) = database.connection.execute(
        "SELECT count(*) FROM messages WHERE mailbox_id = ? AND uid >= ?", (mailbox_id, uid)
    )
    return int(count)


def append(transaction: Transaction, name: str, items: Sequence[NewMessage]) -> tuple[int, tuple[int, ...]]:
    """See MailStore.append_many."""
    mailbox = mailboxes.by_name(transaction.database, name)
    own = own_copies.uids(transaction, mailbox)
    placed, copies = [], dict[int, Held]()
    for item in items:
        its_copies = own_copies.superseded(transaction, mailbox, item, own)
        copies |= {copy.uid: copy for copy in its_copies}  # two items may be of one Message-ID
        its_flags = canonical(item.flags.union(*(copy.placed.flags for copy in its_copies)) - {own_copies.OWN_COPY})
        content_id, size = contents.insert(transaction, item.content)
        placed.append(Placed(content_id, size, its_flags, item.internal_date, item.zone))
    uids = place(transaction, mailbox.id, placed)
    own_copies.give_way(transaction, mailbox, list(copies.values()))
    return mailbox.uidvalidity, uids


def copy(
    transaction: Transaction, mailbox_id: int, uids: Sequence[int], destination: str, all_or_none: bool = False
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """See MailStore.copy."""
    target, found = _to_place(transaction.database, mailbox_id, uids, destination, all_or_none)
    contents.share(transaction, (one.placed.content_id for one in found))
    new = place(transaction, target.id, [one.placed for one in found])
    return target.uidvalidity, tuple(zip((one.uid for one in found), new, strict=True))


def move(
    transaction: Transaction, mailbox_id: int, uids: Sequence[int], destination: str, all_or_none: bool = False
) -> tuple[int, tuple[tuple[int, int], ...]]:
    """See MailStore.move."""
    target, found = _to_place(transaction.database, mailbox_id, uids, destination, all_or_none)
    new = place(transaction, target.id, [one.placed for one in found])
    take_out(transaction, mailbox_id, found)
    return target.uidvalidity, tuple(zip((one.uid for one in found), new, strict=True))


def _to_place(
    database: Database, mailbox_id: int, uids: Sequence[int], destination: str, all_or_none: bool
) -> tuple[Mailbox, list[Held]]:
    """Where COPY and MOVE put messages, and those that are there."""
    require(database, mailbox_id)
    target = mailboxes.by_name(database, destination)
    found = held(database, mailbox_id, uids)
    if all_or_none and len(found) < len(uids):
        raise NoSuchMessage("some of the messages have been expunged")
    return target, found


def expunge(transaction: Transaction, mailbox_id: int, uids: Sequence[int] | None) -> tuple[int, ...]:
    """See MailStore.expunge."""
    require(transaction.database, mailbox_id)
    found = [one for one in held(transaction.database, mailbox_id, uids) if DELETED in one.placed.flags]
    take_out(transaction, mailbox_id, found)
    contents.release(transaction, (one.placed.content_id for one in found))
    return tuple(one.uid for one in found)


def precomputed(
    database: Database, mailbox_id: int, uids: Sequence[int], octets: Octets = "none"
) -> dict[int, Precomputed]:
    """See MailStore.precomputed."""
    if octets == "usual":
        there = _usual(database, mailbox_id, uids)
        others = [uid for uid in uids if uid not in there]
        return there | _usual_of_headers(database, mailbox_id, others) if others else there
    sql = _PRECOMPUTED.format(octets=_OCTETS[octets])
    found = database.connection.execute(sql, (mailbox_id, uid_list(uids)))
    return {uid: Precomputed(*values) for uid, *values in found}


def _usual(database: Database, mailbox_id: int, uids: Sequence[int]) -> dict[int, Precomputed]:
    """Messages with the usual fields as their whole header."""
    found = database.connection.execute(
        "SELECT uid, fields FROM messages JOIN usual_fields USING (content_id)"
        " WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?))",
        (mailbox_id, uid_list(uids)),
    )
    return {uid: _fields_only(fields) for uid, fields in found}


def _usual_of_headers(database: Database, mailbox_id: int, uids: Sequence[int]) -> dict[int, Precomputed]:
    """The same for messages that none were put aside of."""
    found: dict[int, Precomputed] = {}
    for uid, message in precomputed(database, mailbox_id, uids, "header").items():
        header = message.octets(0, message.header_size)
        if header is not None and len(header) == message.header_size:
            found[uid] = _fields_only(choose_fields(header, USUAL_FIELDS, exclude=False))
        else:
            found[uid] = message
    return found


def _fields_only(fields: bytes) -> Precomputed:
    return Precomputed(b"", b"", b"", len(fields), len(fields), b"", fields, usual=True)


def read(database: Database, mailbox_id: int, uid: int, offset: int, length: int | None) -> bytes:
    """See MailStore.read."""
    if offset < 0 or (length is not None and length < 0):
        raise ValueError("a range of octets begins at 0 or later and has no negative length")
    return contents.read(database, stored(database, mailbox_id, uid), offset, length)


def opened(database: Database, mailbox_id: int, uid: int) -> OpenContent:
    """See MailStore.open_content."""
    return OpenContent(database, stored(database, mailbox_id, uid))


def stored(database: Database, mailbox_id: int, uid: int) -> Stored:
    """What is needed to read a message. Raises NoSuchMessage."""
    found = list(
        database.connection.execute(
            "SELECT c.size, file, file_key, head, rest FROM messages m JOIN contents c ON c.id = content_id"
            " WHERE mailbox_id = ? AND uid = ?",
            (mailbox_id, uid),
        )
    )
    if not found:
        raise NoSuchMessage(f"no message has UID {uid}")
    return Stored(*found[0])
