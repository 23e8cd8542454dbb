"""What the queue holds, as everybody around it sees it; pure."""

from dataclasses import dataclass
from typing import Literal

from gateway.mail.address import domain_in_dns
from gateway.mail.dsn import Action
from gateway.mail.envelope import Body
from gateway.mail.outgoing import Ret
from p2pcore.errors import Malformed
from p2pcore.mail.injection import Injection, SealedContent
from p2pcore.names import split_address

State = Literal["pending", "held", "delivered", "failed"]
Outcome = Literal["delivered", "deferred", "failed"]


@dataclass(frozen=True, slots=True)
class QueuedRecipient:
    """One recipient of a queue item. `domain` is canonical, an address literal, or "" where it cannot be one.

    `reply`, `status` and `remote` are of the last attempt; times in ms, 0 = none yet.
    """

    number: int
    forward_path: str
    domain: str
    notify: str
    orcpt: str
    state: State
    next_attempt: int
    attempts: int
    last_attempt: int
    status: str
    reply: str
    remote: str


@dataclass(frozen=True, slots=True)
class QueueItem:
    """One message with all its recipients; `sealed.source` is its file in the queue."""

    id: int
    submission_id: str
    submitter: str
    reverse_path: str
    body: Body
    smtputf8: bool
    trace: bytes
    ret: Ret
    envelope_id: str
    accepted: int
    sealed: SealedContent
    recipients: tuple[QueuedRecipient, ...]


@dataclass(frozen=True, slots=True)
class Unit:
    """What is tried at once: the due recipients of one item in one `domain`.

    "" is all domains of a smarthost, and without one what cannot be a domain.
    """

    item: QueueItem
    domain: str
    recipients: tuple[QueuedRecipient, ...]


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one try for one recipient ended. `reply` is the remote's, or our reason where `remote` is "".

    `success`: which report a NOTIFY=SUCCESS is answered with; None where the remote took that over (it offers DSN).
    """

    number: int
    outcome: Outcome
    status: str
    reply: str
    remote: str = ""
    success: Action | None = None


@dataclass(frozen=True, slots=True)
class OwedReport:
    """A report that the reverse-path of `item` has a right to: what to say about which recipients."""

    item: QueueItem
    actions: tuple[tuple[QueuedRecipient, Action], ...]


@dataclass(frozen=True, slots=True)
class KeptInjection:
    """Finished statements that are repeated exactly until they are on w nodes.

    `covers`: per recipient number, the indices of its entries (mail into our own domain); empty for a report.
    """

    id: int
    item_id: int
    injection: Injection
    covers: dict[int, tuple[int, ...]]
    begun: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Work:
    """What is due now; everything in it is claimed until it is released."""

    units: tuple[Unit, ...]
    reports: tuple[OwedReport, ...]
    injections: tuple[KeptInjection, ...]


def destination_of(forward_path: str) -> str:
    """Return the canonical domain that decides where `forward_path` is delivered; "" if it has none that DNS knows."""
    domain = forward_path.rpartition("@")[2]
    if domain.startswith("["):
        return domain.lower()
    try:
        return domain_in_dns(split_address(forward_path)[1])
    except Malformed:
        return ""
