"""The outbox's vocabulary: plain immutable values."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gateway.mail.dsn import Action
from gateway.mail.envelope import Body
from gateway.mail.outgoing import Ret
from p2pcore.errors import Failure, NotFound

State = Literal["pending", "delivered", "failed"]

FileOnce = Callable[[bytes, bytes | Path, int], Awaitable[None]]
"""Files a message in her mailbox: (identity of 32 octets, content, time in ms). Durable on return, and a second call
with the same identity files nothing: the outbox repeats it when it died before it could note the first."""


class UnknownSubmission(NotFound):
    """The outbox holds no message with this submission ID (any more)."""


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of a kept message.

    Where its entry was signed, `injection` and `entry` say which; where a gateway may have it, `parcel` says in which
    transaction. `status`, `reply` and `remote` are of the last attempt, at `last_attempt`.
    """

    number: int
    forward_path: str
    notify: str
    orcpt: str
    state: State
    injection: int | None
    entry: int | None
    parcel: int | None
    next_attempt: int
    attempts: int
    delayed: bool  # a "delayed" report was made
    status: str
    reply: str
    remote: str
    last_attempt: int


@dataclass(frozen=True, slots=True)
class ContentRef:
    """Where a content is: in `octets`, or in the sealed `file` under `file_key`."""

    size: int
    octets: bytes | None
    file: str | None
    file_key: bytes | None


@dataclass(frozen=True, slots=True)
class Message:
    """A kept message with its recipients, as of one commit. `accepted` in ms."""

    id: str
    accepted: int
    reverse_path: str
    body: Body
    smtputf8: bool
    ret: Ret
    envelope_id: str
    content: ContentRef
    recipients: tuple[Recipient, ...]

    @property
    def waits(self) -> bool:
        """Whether a recipient has no outcome yet; else only the copy for Sent is still to be filed."""
        return any(recipient.state == "pending" for recipient in self.recipients)


@dataclass(frozen=True, slots=True)
class Parcel:
    """The recipients of one transaction with a gateway: once DATA was begun, they share one ENVID for good.

    `gateways` (digests of their HPKE keys, which outlive a renewal of the certificate) are those where DATA was begun
    and not answered, the latest first; the last one asked where all were answered. `begun` is when the first unanswered
    DATA at the latest was, 0 where all were.
    """

    number: int
    gateways: tuple[bytes, ...]
    begun: int

    @property
    def gateway(self) -> bytes:
        """Where DATA was begun last."""
        return self.gateways[0]

    def only_with(self, gateway: bytes) -> bool:
        """Whether no other gateway may have the message: what `gateway` refuses then, nobody has."""
        return not self.begun or self.gateways == (gateway,)


def envelope_id(message_id: str, parcel: int) -> str:
    """Return the submission ID by which gateways know a parcel; it is its own xtext (RFC 3461 §4.4)."""
    return f"{message_id}.{parcel}" if parcel else message_id


@dataclass(frozen=True, slots=True)
class KeptInjection:
    """Finished statements (Injection.encode) with their sealed body: `octets`, or a file of that name."""

    number: int
    statements: bytes
    octets: bytes | None
    file: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one attempt for one recipient ended; "pending" is a deferral.

    `remote` is the host whose reply it is, "" where the reason is our own. `success`: what a NOTIFY=SUCCESS is answered
    with; None where a gateway or the remote took that over. `unreached`: a deferral because no gateway could be asked.
    """

    state: State
    status: str
    reply: str = ""
    remote: str = ""
    success: Action | None = None
    unreached: bool = False

    @classmethod
    def of(cls, failure: Failure) -> "Outcome":
        """Return what a failure of the network means for the recipient."""
        return cls("pending" if failure.temporary else "failed", failure.status, str(failure))


LOCAL_ERROR = Outcome("pending", "4.3.0", "local error")


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """Counts for `p2pmail status`; `oldest` is when the oldest kept message was accepted, in ms, None if none is.

    Of the kept `messages` those in `waiting` have a recipient without an outcome; the others only their copy for Sent.
    """

    messages: int
    waiting: int
    recipients: int
    deferred: int
    oldest: int | None
