"""Rows of what was handed over, or may have been: signed statements, and the parcels of gateways."""

import hashlib
from collections.abc import Sequence

from gateway.mailbox.database import Database, Transaction
from gateway.outbox import rows
from gateway.outbox.model import KeptInjection, Parcel

DIGEST = hashlib.sha256().digest_size


def injection(database: Database, number: int) -> KeptInjection:
    """Return finished statements that were kept."""
    ((statements, octets, file),) = database.connection.execute(
        "SELECT statements, octets, file FROM injections WHERE id = ?", (number,)
    )
    return KeptInjection(number, statements, octets, file)


def keep_injection(
    transaction: Transaction,
    message_id: str,
    numbers: Sequence[int],
    statements: bytes,
    octets: bytes | None,
    file: str | None,
) -> KeptInjection:
    """Keep finished statements for the recipients `numbers`, in the entries' order.

    Raises UnknownSubmission if the message is gone.
    """
    connection = transaction.connection
    rows.require(transaction, message_id)
    connection.execute(
        "INSERT INTO injections (message_id, statements, octets, file) VALUES (?, ?, ?, ?)",
        (message_id, statements, octets, file),
    )
    number = connection.last_insert_rowid()
    connection.executemany(
        "UPDATE recipients SET injection = ?, entry = ? WHERE message_id = ? AND number = ?",
        [(number, entry, message_id, recipient) for entry, recipient in enumerate(numbers)],
    )
    return KeptInjection(number, statements, octets, file)


def parcels(database: Database, message_id: str) -> dict[int, Parcel]:
    """Return the parcels of a message by number."""
    found = database.connection.execute(
        "SELECT number, gateway, begun FROM parcels WHERE message_id = ?", (message_id,)
    )
    return {number: Parcel(number, _digests(gateways), begun) for number, gateways, begun in found}


def next_parcel(database: Database, message_id: str) -> int:
    """Return the number that a message's next new parcel will have, 0 if the message is gone."""
    found = database.connection.execute("SELECT parcels FROM messages WHERE id = ?", (message_id,))
    return next((number for (number,) in list(found)), 0)


def begin_parcel(
    transaction: Transaction,
    message_id: str,
    parcel: Parcel | None,
    number: int,
    numbers: Sequence[int],
    gateway: bytes,
    now: int,
) -> Parcel:
    """Note that DATA is about to be begun at `gateway` for exactly the recipients `numbers`.

    `parcel` None: they get the new `number` (`next_parcel`). A parcel's recipients are never more than before, so a
    gateway that knows its envelope ID has queued for all of them. Raises UnknownSubmission if the message is gone.
    """
    connection = transaction.connection
    rows.require(transaction, message_id)
    if parcel is None:
        connection.execute("UPDATE messages SET parcels = ? WHERE id = ?", (number + 1, message_id))
        begun = Parcel(number, (gateway,), now)
    else:
        doubtful = parcel.gateways if parcel.begun else ()
        same = doubtful[:1] == (gateway,)
        others = tuple(each for each in doubtful if each != gateway)
        begun = Parcel(parcel.number, (gateway, *others), parcel.begun if same else now)
    connection.execute(
        "INSERT INTO parcels VALUES (?, ?, ?, ?) ON CONFLICT (message_id, number)"
        " DO UPDATE SET gateway = excluded.gateway, begun = excluded.begun",
        (message_id, begun.number, b"".join(begun.gateways), begun.begun),
    )
    connection.execute(
        "UPDATE recipients SET parcel = NULL WHERE message_id = ? AND parcel = ?", (message_id, begun.number)
    )
    connection.executemany(
        "UPDATE recipients SET parcel = ? WHERE message_id = ? AND number = ?",
        [(begun.number, message_id, number) for number in numbers],
    )
    return begun


def answered(transaction: Transaction, message_id: str, parcel: Parcel, before: Parcel | None) -> Parcel:
    """Note that DATA of this parcel had a definite end: what was in doubt `before` it is so again, nothing else is."""
    doubtful = before if before is not None and before.begun else Parcel(parcel.number, parcel.gateways, 0)
    transaction.connection.execute(
        "UPDATE parcels SET gateway = ?, begun = ? WHERE message_id = ? AND number = ?",
        (b"".join(doubtful.gateways), doubtful.begun, message_id, parcel.number),
    )
    return doubtful


def _digests(octets: bytes) -> tuple[bytes, ...]:
    return tuple(octets[start : start + DIGEST] for start in range(0, len(octets), DIGEST))
