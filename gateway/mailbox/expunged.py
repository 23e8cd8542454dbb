"""Which UIDs went under which modseq: a client that was away is told only what it does not know (RFC 7162 §3.2).

| state                                  | reached by                | what a client is told                 |
|----------------------------------------|---------------------------|---------------------------------------|
| every run above the floor is in a row  | take_out, its own commit  | exactly what went since its modseq    |
| the oldest rows gone, the floor raised | too many rows, one commit | below the floor: whatever is not there |
"""

from collections.abc import Iterable
from typing import Final

from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.params import EXPUNGED_RUNS

_KEPT: Final = EXPUNGED_RUNS * 3 // 4  # so that the oldest go many at a time


def remember(transaction: Transaction, mailbox_id: int, modseq: int, uids: Iterable[int]) -> None:
    """Note UIDs (ascending) that are gone under a new modseq; the oldest are forgotten above EXPUNGED_RUNS."""
    connection = transaction.connection
    connection.executemany(
        "INSERT INTO expunged VALUES (?, ?, ?, ?)",
        ((mailbox_id, modseq, first, last) for first, last in runs(uids)),
    )
    ((count,),) = connection.execute("SELECT count(*) FROM expunged WHERE mailbox_id = ?", (mailbox_id,))
    if count <= EXPUNGED_RUNS:
        return
    ((floor,),) = connection.execute(
        "SELECT modseq FROM expunged WHERE mailbox_id = ? ORDER BY modseq LIMIT 1 OFFSET ?",
        (mailbox_id, count - _KEPT - 1),
    )
    connection.execute("DELETE FROM expunged WHERE mailbox_id = ? AND modseq <= ?", (mailbox_id, floor))
    connection.execute("UPDATE mailboxes SET expunged_floor = ? WHERE id = ?", (floor, mailbox_id))


def since(database: Database, mailbox_id: int, modseq: int) -> tuple[tuple[int, int], ...] | None:
    """See MailStore.expunged."""
    floor = list(database.connection.execute("SELECT expunged_floor FROM mailboxes WHERE id = ?", (mailbox_id,)))
    if not floor or modseq < floor[0][0]:
        return None
    found = database.connection.execute(
        "SELECT first, last FROM expunged WHERE mailbox_id = ? AND modseq > ? ORDER BY first", (mailbox_id, modseq)
    )
    return tuple(found)


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as ranges, both ends included."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = found[-1][0], number
        else:
            found.append((number, number))
    return found
