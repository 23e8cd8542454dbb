"""One mail transaction, from MAIL to the reply after the dot (RFC 5321 §3.3)."""

import secrets
import time
from dataclasses import dataclass, field

from gateway.mail.envelope import Body, Envelope
from gateway.mail.outgoing import NewRecipient, Ret
from gateway.smtp.domains import ServedDomain
from p2pcore.crypto.certificates import Certificate


@dataclass(slots=True)
class Transaction:
    """MAIL has been accepted; `forward_paths` are those accepted, each once."""

    reverse_path: str
    smtputf8: bool
    body: Body
    declared_size: int
    identifier: str = field(default_factory=lambda: secrets.token_hex(10))
    begun: float = field(default_factory=time.monotonic)
    forward_paths: dict[str, None] = field(default_factory=dict)

    @property
    def recipient_count(self) -> int:
        """How many recipients the log tells of."""
        return len(self.forward_paths)

    def envelope(self) -> Envelope:
        """Return the finished envelope."""
        return Envelope(self.reverse_path, tuple(self.forward_paths), self.smtputf8, self.body, self.declared_size)

    def milliseconds(self) -> int:
        """Return the time since MAIL."""
        return int((time.monotonic() - self.begun) * 1_000)


@dataclass(slots=True)
class InboundTransaction(Transaction):
    """From outside; `recipients` are the users behind the accepted forward-paths, each once.

    `served` is the domain of the first one, and so of all. `requests`: by forward-path, what DSN parameters asked for;
    RET= does not matter, since no report on stored mail returns its content (RFC 3461 §6.2).
    """

    served: ServedDomain | None = None
    recipients: dict[bytes, tuple[Certificate, str]] = field(default_factory=dict)
    requests: dict[str, NewRecipient] = field(default_factory=dict)
    envelope_id: str = ""

    @property
    def recipient_count(self) -> int:
        return len(self.recipients)


@dataclass(slots=True)
class SubmittedTransaction(Transaction):
    """From one of our users, with what she asked for by DSN parameters; `recipients` by forward-path."""

    user: Certificate = field(kw_only=True)
    ret: Ret = ""
    envelope_id: str = ""
    original_envelope_id: str = ""
    recipients: dict[str, NewRecipient] = field(default_factory=dict)
