"""One message handed to a durable queue, as submission and queue both know it; pure."""

from dataclasses import dataclass
from typing import Literal

from gateway.mail.envelope import Body
from p2pcore.mail.injection import SealedContent

Ret = Literal["", "FULL", "HDRS"]


@dataclass(frozen=True, slots=True)
class NewRecipient:
    """One forward-path, without "<>". `notify` is NOTIFY= as given ("" = none, "NEVER", or of SUCCESS,FAILURE,DELAY).

    `orcpt` is ORCPT= decoded, as "rfc822;address", or "" (RFC 3461 §4.1, §4.2).
    """

    forward_path: str
    notify: str = ""
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class NewItem:
    """A message to be kept until every recipient has an outcome.

    `submission_id`: the agent's stable identifier, unique among those of `submitter` (her canonical primary address).
    `content` is what is sent, as octets with CRLF line ends, or already sealed (its `source` is copied before `accept`
    returns). `trace`: complete header fields put before it on the way out (the Received field of the submission).
    `smtputf8`: MAIL had that parameter. `ret` and `envelope_id` are the sender's own RET= and ENVID=, "" for none.
    """

    submission_id: str
    submitter: str
    reverse_path: str
    recipients: tuple[NewRecipient, ...]
    content: bytes | SealedContent
    body: Body = "7BIT"
    smtputf8: bool = False
    trace: bytes = b""
    ret: Ret = ""
    envelope_id: str = ""


@dataclass(frozen=True, slots=True)
class Sending:
    """So many recipients of one message were accepted from `submitter` `at` this time (ms)."""

    at: int
    submitter: str
    recipients: int
