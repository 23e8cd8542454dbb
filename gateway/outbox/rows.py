"""The outbox's rows: each function is one step of the table in outbox.py, inside the caller's transaction."""

import json
from collections.abc import Container, Iterable, Mapping
from typing import Any

from gateway.mail.submission import Submission
from gateway.mailbox.database import Database, Transaction
from gateway.outbox import contents, owed
from gateway.outbox.model import (
    ContentRef,
    Message,
    OutboxStatus,
    Outcome,
    Recipient,
    UnknownSubmission,
)
from gateway.outbox.params import CONTENT_IN_ROW, LISTED, MAX_REPLY

_RECIPIENT = (
    "SELECT number, forward_path, notify, orcpt, state, injection, entry, parcel, next_attempt, attempts, delayed,"
    " status, reply, remote, last_attempt FROM recipients WHERE message_id = ? ORDER BY number"
)
_DELAYED = 10  # its place in a row
_MESSAGE = "SELECT id, accepted, reverse_path, body, smtputf8, ret, envelope_id, size, file, file_key"


def accept(transaction: Transaction, message_id: str, submission: Submission, now: int, *, save_sent: bool) -> None:
    """Keep a submission with all its recipients due, and the copy for Sent owed. Raises OSError."""
    content = contents.keep(transaction, submission.content)
    connection = transaction.connection
    connection.execute(
        "INSERT INTO messages (id, accepted, reverse_path, body, smtputf8, ret, envelope_id, size, file, file_key,"
        " octets) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            message_id,
            now,
            submission.reverse_path,
            submission.body,
            submission.smtputf8,
            submission.ret,
            submission.envelope_id,
            content.size,
            content.file,
            content.file_key,
            content.octets,
        ),
    )
    once = {recipient.forward_path: recipient for recipient in submission.recipients}  # one RCPT repeated is one
    connection.executemany(
        "INSERT INTO recipients (message_id, number, forward_path, notify, orcpt, next_attempt)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (message_id, number, recipient.forward_path, recipient.notify, recipient.orcpt, now)
            for number, recipient in enumerate(once.values())
        ],
    )
    if save_sent:
        owed.owe(transaction, message_id, "sent", now, None)


def load(database: Database, message_id: str) -> Message | None:
    """Return a kept message, None if it is gone."""
    found = list(database.connection.execute(f"{_MESSAGE}, octets FROM messages WHERE id = ?", (message_id,)))
    return _message(database, found[0]) if found else None


def messages(database: Database, limit: int = LISTED) -> tuple[Message, ...]:
    """Return the oldest `limit` messages, without small contents (their `octets` are None)."""
    found = list(database.connection.execute(f"{_MESSAGE}, NULL FROM messages ORDER BY accepted, id LIMIT ?", (limit,)))
    return tuple(_message(database, row) for row in found)


def _message(database: Database, row: tuple[Any, ...]) -> Message:
    identifier, accepted, reverse_path, body, smtputf8, ret, envelope_id, size, file, file_key, octets = row
    recipients = []
    for each in database.connection.execute(_RECIPIENT, (identifier,)):
        values = list(each)
        values[_DELAYED] = bool(values[_DELAYED])
        recipients.append(Recipient(*values))
    return Message(
        identifier,
        accepted,
        reverse_path,
        body,
        bool(smtputf8),
        ret,
        envelope_id,
        ContentRef(size, octets, file, file_key),
        tuple(recipients),
    )


def due(
    database: Database, now: int, besides: Container[str], room: int, large_room: int
) -> tuple[dict[str, int], int | None]:
    """Return ID and size of messages with a recipient due at `now`, longest due first, and when the next will be.

    At most `room` of them, and `large_room` with more than CONTENT_IN_ROW; none that is in `besides`.
    """
    ready: dict[str, int] = {}
    found = database.connection.execute(
        "SELECT message_id, size FROM recipients JOIN messages ON messages.id = message_id"
        " WHERE state = 'pending' AND next_attempt <= ? ORDER BY next_attempt",
        (now,),
    )
    for message_id, size in found:
        if len(ready) >= room:
            break
        large = size > CONTENT_IN_ROW
        if message_id in besides or message_id in ready or (large and not large_room):
            continue
        large_room -= large
        ready[str(message_id)] = int(size)
    found.close()
    ((next_due,),) = database.connection.execute(
        "SELECT min(next_attempt) FROM recipients WHERE state = 'pending' AND next_attempt > ?", (now,)
    )
    return ready, next_due


def is_ahead(database: Database, until: int) -> bool:
    """Return whether a recipient is put off until later than `until`."""
    ((latest,),) = database.connection.execute("SELECT max(next_attempt) FROM recipients WHERE state = 'pending'")
    return (latest or 0) > until


def catch_up(transaction: Transaction, now: int, until: int) -> None:
    """Make due at `now` who is put off until later than `until`."""
    transaction.connection.execute(
        "UPDATE recipients SET next_attempt = ? WHERE state = 'pending' AND next_attempt > ?", (now, until)
    )


def hasten(transaction: Transaction, now: int, pause: int) -> None:
    """Make due what nodes or gateways of our own put off, or what nobody answered, `pause` after its last attempt.

    Not what a stranger's host may have, since the connection was lost there (4.4.2).
    """
    transaction.connection.execute(
        "UPDATE recipients SET next_attempt = min(next_attempt, max(?1, last_attempt + ?2)) WHERE state = 'pending'"
        " AND (injection NOT NULL OR parcel NOT NULL OR (remote = '' AND status <> '4.4.2'))",
        (now, pause),
    )


def record(transaction: Transaction, message_id: str, outcomes: Mapping[int, tuple[Outcome, int]], now: int) -> None:
    """Note how an attempt ended: recipient number → (outcome, next attempt where it is a deferral)."""
    transaction.connection.executemany(
        "UPDATE recipients SET state = ?, status = ?, reply = ?, remote = ?, next_attempt = ?, attempts = attempts + 1,"
        " last_attempt = ? WHERE message_id = ? AND number = ? AND state = 'pending'",
        [
            (
                outcome.state,
                outcome.status,
                outcome.reply[:MAX_REPLY],
                outcome.remote,
                next_attempt,
                now,
                message_id,
                number,
            )
            for number, (outcome, next_attempt) in outcomes.items()
        ],
    )


def set_delayed(transaction: Transaction, message_id: str, numbers: Iterable[int]) -> None:
    """Note that a "delayed" report was made for these recipients: there is one at most."""
    transaction.connection.executemany(
        "UPDATE recipients SET delayed = 1 WHERE message_id = ? AND number = ?",
        [(message_id, number) for number in numbers],
    )


def filed(transaction: Transaction, filing: int) -> None:
    """Forget what was filed, and its message if nothing else needs that."""
    finish(transaction, owed.forget(transaction, filing))


def finish(transaction: Transaction, message_id: str) -> None:
    """Remove a message once every recipient has an outcome and its copy for Sent is filed."""
    wanted = transaction.connection.execute(
        "SELECT EXISTS (SELECT 1 FROM recipients WHERE message_id = ?1 AND state = 'pending')"
        " OR EXISTS (SELECT 1 FROM filings WHERE message_id = ?1 AND octets IS NULL)",
        (message_id,),
    )
    ((still,),) = wanted
    if not still:
        _drop(transaction, message_id)


def remove(transaction: Transaction, message_id: str) -> None:
    """Drop a message with what is owed for it; nobody is told. Raises UnknownSubmission."""
    require(transaction, message_id)
    transaction.connection.execute("DELETE FROM filings WHERE message_id = ? AND octets IS NULL", (message_id,))
    _drop(transaction, message_id)


def retry(transaction: Transaction, message_id: str | None, now: int) -> int:
    """Make every pending recipient of a message due (None: of all); return how many messages that touches.

    Raises UnknownSubmission.
    """
    if message_id is not None:
        require(transaction, message_id)
    touched = transaction.connection.execute(
        "UPDATE recipients SET next_attempt = ?1 WHERE state = 'pending' AND (message_id = ?2 OR ?2 IS NULL)"
        " RETURNING message_id",
        (now, message_id),
    )
    return len({touched_id for (touched_id,) in list(touched)})


def status(database: Database) -> OutboxStatus:
    """Return the counts."""
    ((kept, oldest),) = database.connection.execute("SELECT count(*), min(accepted) FROM messages")
    ((waiting, pending, deferred),) = database.connection.execute(
        "SELECT count(DISTINCT message_id), count(*), coalesce(sum(attempts > 0), 0)"
        " FROM recipients WHERE state = 'pending'"
    )
    return OutboxStatus(kept, waiting, pending, deferred, oldest)


def waiting(database: Database, message_ids: Iterable[str]) -> set[str]:
    """Return those of `message_ids` that have a recipient without an outcome."""
    found = database.connection.execute(
        "SELECT DISTINCT message_id FROM recipients"
        " WHERE state = 'pending' AND message_id IN (SELECT value FROM json_each(?))",
        (json.dumps(list(message_ids)),),
    )
    return {message_id for (message_id,) in found}


def _drop(transaction: Transaction, message_id: str) -> None:
    connection = transaction.connection
    gone = connection.execute("DELETE FROM messages WHERE id = ? RETURNING file", (message_id,))
    files = [file for (file,) in list(gone)]
    removed = connection.execute("DELETE FROM injections WHERE message_id = ? RETURNING file", (message_id,))
    files += [file for (file,) in list(removed)]
    transaction.freed.extend(file for file in files if file is not None)


def require(transaction: Transaction, message_id: str) -> None:
    """Raises UnknownSubmission if the message is gone."""
    if not list(transaction.connection.execute("SELECT 1 FROM messages WHERE id = ?", (message_id,))):
        raise UnknownSubmission(f"outbox: no submission {message_id}")
