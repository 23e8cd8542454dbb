"""Every number of the outbox, with its source or reason. Times are in milliseconds, sizes in octets."""

from dataclasses import dataclass
from typing import Final

from p2pcore.params import DAY, HOUR, MINUTE, SECOND

CONTENT_IN_ROW: Final = 64 << 10  # contents up to this stand in the database, larger ones in sealed files
CHUNK: Final = 256 << 10  # of a content on its way to the sealer or to a gateway
ATTEMPTS_AT_ONCE: Final = 8  # messages; one attempt waits mostly for others
LARGE_AT_ONCE: Final = 2  # of them with more than CONTENT_IN_ROW: they fill uplinks and disks
DESTINATIONS_AT_ONCE: Final = 4  # of one message, where the agent delivers by MX itself
LISTED: Final = 1_000  # messages that an administrator is shown
MAX_REPLY: Final = 1_000  # characters of a gateway's reply that are kept
RETRY: Final = (10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE)
RETRY_LAST: Final = 30 * MINUTE  # RFC 5321 §4.5.4.1; nearer retries cost nobody but our own nodes and gateways
RETRY_GATEWAYS: Final = MINUTE  # at most, where no gateway could be asked: none tells that it is back, a call is cheap
RELAY_DOT_TIMEOUT: Final = 10 * MINUTE  # RFC 5321 §4.5.3.2.6


@dataclass(frozen=True, slots=True)
class OutboxLimits:
    """What the operator may decide.

    `save_sent`: file a copy of what is accepted, `sent_grace` after it. An ambiguous end binds a message to its gateway
    for `relay_switch_after`. `delayed_after` and `give_up_after` count from acceptance (RFC 5321 §4.5.4.1: 4 to 5
    days). `check_timeout` bounds what one RCPT may wait for gateways.
    """

    save_sent: bool = True
    sent_grace: int = MINUTE
    relay_switch_after: int = 15 * MINUTE
    delayed_after: int = 2 * HOUR
    give_up_after: int = 5 * DAY
    connect_timeout: int = 20 * SECOND
    command_timeout: int = 2 * MINUTE
    check_timeout: int = 15 * SECOND
    filing_retry: int = MINUTE
    record_retry: int = 10 * SECOND
