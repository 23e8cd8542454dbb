"""SMTP replies: three digits, an enhanced status code (RFC 2034, RFC 3463) and a generic text; pure.

What failed and why goes to the log; strangers are told only what they can act on.
"""

from dataclasses import dataclass, field
from functools import lru_cache

from p2pcore.errors import (
    CannotKnow,
    ClockSkew,
    Failure,
    InboxDormant,
    InboxFull,
    Malformed,
    NodeFull,
    NoQuorum,
    NoSuchAddress,
    NotAuthorised,
    NotOurDomain,
    PermanentFailure,
    RateLimited,
    TemporaryFailure,
    Unreachable,
)


@dataclass(frozen=True, slots=True)
class Reply:
    """`status` is "" only where RFC 2034 §4 wants none: the greeting, EHLO, HELO and 3yz replies.

    `octets` is what goes on the wire. "\\n" separates the lines of `text`; only EHLO's reply has several.
    """

    code: int
    status: str
    text: str
    octets: bytes = field(init=False, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.code} {self.status} {self.text}" if self.status else f"{self.code} {self.text}"

    def __post_init__(self) -> None:
        *lines, last = self.text.split("\n")  # RFC 5321 §4.2.1
        begun = [f"{self.code}-{line}\r\n" for line in lines]
        end = f"{self.code} {last}\r\n" if begun else f"{self}\r\n"
        object.__setattr__(self, "octets", "".join([*begun, end]).encode())

    @property
    def is_error(self) -> bool:
        """True for a permanent refusal: each counts against the client, of temporary ones only what is too many."""
        return self.code >= 500


class Refusal(Exception):
    """A command or content is not taken; `reply` says so to the client, `detail` to the log."""

    def __init__(self, reply: Reply, detail: str = "") -> None:
        super().__init__(f"{reply} {detail}".rstrip())
        self.reply = reply
        self.detail = detail


OK = Reply(250, "2.0.0", "ok")
SENDER_OK = Reply(250, "2.1.0", "sender ok")
RECIPIENT_OK = Reply(250, "2.1.5", "recipient ok")
START_CONTENT = Reply(354, "", "end data with <CR><LF>.<CR><LF>")
READY_FOR_TLS = Reply(220, "2.0.0", "ready to start TLS")
CANNOT_VERIFY = Reply(252, "2.5.0", "send some mail, it will be seen then")  # RFC 5321 §3.5.3

BAD_SYNTAX = Reply(500, "5.5.2", "command not recognised")
BAD_LINE_END = Reply(500, "5.5.2", "a command line ends in CR LF and holds no other CR, LF or NUL")
LINE_TOO_LONG = Reply(500, "5.5.2", "command line too long")
NOT_SMTP = Reply(554, "5.5.1", "this is not HTTP")
NOT_IMPLEMENTED = Reply(502, "5.5.1", "command not implemented")
BAD_ARGUMENT = Reply(501, "5.5.4", "argument missing or not understood")
BAD_PARAMETER = Reply(501, "5.5.4", "parameter value not understood")
UNKNOWN_PARAMETER = Reply(555, "5.5.4", "parameter not recognised")  # RFC 5321 §4.1.1.11
BAD_REVERSE_PATH = Reply(501, "5.1.7", "sender address does not parse")
BAD_FORWARD_PATH = Reply(501, "5.1.3", "recipient address does not parse")
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", "non-ASCII addresses need SMTPUTF8")  # RFC 6531 §3.5
SEND_HELO_FIRST = Reply(503, "5.5.1", "send EHLO or HELO first")
NESTED_MAIL = Reply(503, "5.5.1", "a transaction is open already")
NEED_MAIL = Reply(503, "5.5.1", "send MAIL first")
NEED_RECIPIENT = Reply(503, "5.5.1", "no recipient was accepted")
CHUNKS_BEGUN = Reply(503, "5.5.1", "the content comes in chunks already")  # RFC 3030 §2
TLS_UNAVAILABLE = Reply(454, "4.7.0", "TLS not available")  # RFC 3207 §4
TLS_ALREADY = Reply(503, "5.5.1", "TLS is active already")
PIPELINED_PAST_TLS = Reply(554, "5.5.1", "nothing may follow STARTTLS before the handshake")

AUTHENTICATED = Reply(235, "2.7.0", "you are logged in")
SEND_EHLO_FIRST = Reply(503, "5.5.1", "send EHLO first")
AUTH_ALREADY = Reply(503, "5.5.1", "you are logged in already")
AUTH_IN_TRANSACTION = Reply(503, "5.5.1", "a transaction is open")
AUTH_CANCELLED = Reply(501, "5.7.0", "AUTH was cancelled")
AUTH_NOT_BASE64 = Reply(501, "5.5.2", "the response is not base64 of what the mechanism asks for")
AUTH_LINE_TOO_LONG = Reply(500, "5.5.6", "the response is too long")
AUTH_UNKNOWN = Reply(504, "5.5.4", "mechanism not offered")
AUTH_NEEDS_TLS = Reply(538, "5.7.11", "a password is not taken in clear, use STARTTLS first")
AUTH_REQUIRED = Reply(530, "5.7.0", "log in first")
AUTH_CLOSED = Reply(454, "4.7.0", "your mail is closed for now, try again later")  # RFC 4954 §6
AUTH_FAILED = Reply(535, "5.7.8", "wrong user name or password")
CERTIFICATE_FAILED = Reply(535, "5.7.8", "your certificate is not accepted here")
TOO_MANY_LOGINS = Reply(454, "4.7.0", "too many failed logins from your address, try again later")
TOO_MANY_FAILURES = Reply(421, "4.7.0", "too many failed logins")

ADDRESS_LITERAL = Reply(550, "5.7.1", "not our domain")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "too many recipients in one transaction")  # RFC 5321 §4.5.3.1.10
TOO_MANY_USERS = Reply(550, "5.5.3", "the address leads to more users than one message can go to")
ANOTHER_OF_OUR_DOMAINS = Reply(452, "4.5.3", "another transaction for recipients of this domain")  # §4.5.3.1.10 too
TOO_MANY_CONNECTIONS = Reply(421, "4.3.2", "too many connections, try again later")
TOO_MANY_FROM_CLIENT = Reply(421, "4.7.0", "too many connections from your address")
TOO_MANY_MESSAGES = Reply(450, "4.7.1", "too many messages from your address, slow down")
TOO_MANY_UNKNOWN = Reply(450, "4.7.1", "too many unknown recipients from your address, later again")
TOO_MANY_TODAY = Reply(450, "4.7.1", "more recipients than you may send to in a day, later again")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "too many errors")
TIMED_OUT = Reply(421, "4.4.2", "waited too long, closing the connection")
SHUTTING_DOWN = Reply(421, "4.3.2", "shutting down, try again later")
NO_MEMORY = Reply(452, "4.3.1", "no room for this message now")
INTERNAL = Reply(451, "4.3.0", "local error, try again later")
NO_QUORUM = Reply(451, "4.4.0", "not enough storage nodes answered, try again later")
TOO_SLOW = Reply(451, "4.4.2", "storing the message took too long, try again later")

NUL_IN_CONTENT = Reply(554, "5.6.0", "content holds a NUL octet")
BARE_CR = Reply(554, "5.6.0", "content holds a CR without LF")
BARE_LF = Reply(554, "5.6.0", "content holds an LF without CR")
CONTENT_LINE_TOO_LONG = Reply(554, "5.6.0", "content holds a line longer than 65536 octets")
HEADER_TOO_LONG = Reply(554, "5.6.0", "header section larger than 1048576 octets")
HEADER_FOLDED = Reply(554, "5.6.0", "the header section begins with a continuation line")  # RFC 5322 §2.2
FROM_TOO_LONG = Reply(554, "5.6.0", "From fields of more than 8192 octets")
TOO_MANY_AUTHORS = Reply(554, "5.6.0", "more than 4 domains in From")
MAIL_LOOP = Reply(554, "5.4.6", "too many Received fields, this looks like a loop")
NOT_YOUR_REVERSE_PATH = Reply(550, "5.7.1", "the address in MAIL FROM is not one of yours")
NOT_YOUR_FROM = Reply(550, "5.7.1", "an address in the From field is not one of yours")
NO_MAIL_TO_LITERALS = Reply(550, "5.1.2", "no mail goes to address literals")
NEEDS_SUBMISSION_ID = Reply(554, "5.5.4", "MAIL had no ENVID=<submission ID>")
DMARC_UNDECIDED = Reply(451, "4.4.3", "DNS does not say now whether the domain in From sent this")  # RFC 7208 §8.6
DMARC_REJECT = Reply(550, "5.7.1", "refused by the DMARC policy of the domain in From")

_HOSTS = 64  # replies that are remembered: our own names, of which a process has few

_AT_RECIPIENT: tuple[tuple[type[Failure], Reply], ...] = (
    (NoSuchAddress, Reply(550, "5.1.1", "no such address")),
    (NotOurDomain, ADDRESS_LITERAL),
    (Malformed, BAD_FORWARD_PATH),
    (CannotKnow, Reply(451, "4.4.3", "the address cannot be looked up now")),
    (InboxFull, Reply(452, "4.2.2", "the recipient's inbox is full")),
    (NodeFull, Reply(452, "4.3.1", "the storage nodes are full")),
    (InboxDormant, Reply(450, "4.2.1", "the recipient has not read mail for a long time")),
)
_AT_CONTENT: tuple[tuple[type[Failure], Reply], ...] = (
    (NoQuorum, NO_QUORUM),
    (Unreachable, Reply(451, "4.4.1", "the storage nodes do not answer, try again later")),
    (InboxFull, Reply(452, "4.2.2", "a recipient's inbox is full")),
    (NodeFull, Reply(452, "4.3.1", "the storage nodes are full")),
    (RateLimited, Reply(451, "4.3.2", "the storage nodes are busy, try again later")),
    (ClockSkew, Reply(451, "4.3.5", "local error, try again later")),
    (CannotKnow, Reply(451, "4.4.3", "a recipient cannot be looked up now")),
)


@lru_cache(_HOSTS)
def greeting(hostname: str) -> Reply:
    """Return what a client is greeted with."""
    return Reply(220, "", f"{hostname} ESMTP p2pmail")


@lru_cache(_HOSTS)
def helo(hostname: str) -> Reply:
    """Return the reply to HELO."""
    return Reply(250, "", hostname)


@lru_cache(_HOSTS)
def ehlo(hostname: str, extensions: tuple[str, ...]) -> Reply:
    """Return the reply to EHLO (RFC 5321 §4.1.1.1)."""
    return Reply(250, "", "\n".join((hostname, *extensions)))


@lru_cache(_HOSTS)
def goodbye(hostname: str) -> Reply:
    """Return the reply to QUIT."""
    return Reply(221, "2.0.0", f"{hostname} closing the connection")


def too_large(limit: int) -> Reply:
    """Return the refusal of a message of more than `limit` octets (RFC 1870 §6.1)."""
    return Reply(552, "5.3.4", f"message larger than {limit} octets")


def stored(nodes: int, k: int, identifier: str) -> Reply:
    """Return the one reply that says a message is stored: durably on `nodes` of `k` nodes (docs/flow.md §5)."""
    return Reply(250, "2.6.0", f"stored on {nodes} of {k} nodes; id=<{identifier}>")


def chunk_taken(size: int) -> Reply:
    """Return the reply to a chunk that is not the last: it says nothing of the message (RFC 3030 §2)."""
    return Reply(250, "2.0.0", f"{size} octets received")


def kept(place: str, identifier: str) -> Reply:
    """Return the reply that says a submitted message is durably in `place`."""
    return Reply(250, "2.0.0", f"kept in the {place}; id=<{identifier}>")


def at_recipient(failure: Failure) -> Reply:
    """Return the reply to RCPT for `failure`."""
    for kind, reply in _AT_RECIPIENT:
        if isinstance(failure, kind):
            return reply
    if isinstance(failure, TemporaryFailure):
        return Reply(451, failure.status, "the address cannot be looked up now")
    return INTERNAL


def refused_by_gateway(failure: PermanentFailure) -> Reply:
    """Return the reply to RCPT where a gateway refuses a recipient for a reason that its words alone tell."""
    return Reply(550, failure.status, "a gateway of this domain refuses the recipient")


def at_header(failure: Malformed | NotAuthorised) -> Reply:
    """Return the reply after the dot to a header that cannot be taken; the user who wrote it is told why."""
    return NOT_YOUR_FROM if isinstance(failure, NotAuthorised) else Reply(554, "5.6.0", str(failure))


def at_content(failure: Failure) -> Reply:
    """Return the reply after the dot for `failure`: always temporary, the sender's queue still has the message."""
    for kind, reply in _AT_CONTENT:
        if isinstance(failure, kind):
            return reply
    return INTERNAL
