"""The store's vocabulary: plain immutable values that IMAP and the synchroniser share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from gateway.mail.structure import Part, unpack_part

FlagMode = Literal["replace", "add", "remove"]
Octets = Literal["none", "usual", "header", "all"]

SEEN = "\\Seen"
ANSWERED = "\\Answered"
FLAGGED = "\\Flagged"
DELETED = "\\Deleted"
DRAFT = "\\Draft"
SYSTEM_FLAGS = frozenset({SEEN, ANSWERED, FLAGGED, DELETED, DRAFT})


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A mailbox and its stored counters, as of one commit. Names use "/" and are NFC."""

    id: int  # survives RENAME, never used again
    name: str
    special_use: str | None  # "\\Sent" … (RFC 6154)
    subscribed: bool
    uidvalidity: int
    uidnext: int
    highest_modseq: int
    messages: int
    unseen: int
    deleted: int
    size: int  # octets of all messages (RFC 8438)


EPOCH = datetime.fromtimestamp(0, UTC)
"""What INTERNALDATE says where `shown_time` has nothing."""


def shown_time(internal_date: int, zone: int) -> datetime | None:
    """What a clock in the zone (minutes east) showed then (Unix seconds), as INTERNALDATE says it.

    None where it can say no such date: a year has four digits, a zone less than a day.
    """
    if abs(zone) >= 24 * 60:
        return None
    try:
        return datetime.fromtimestamp(internal_date + zone * 60, UTC)
    except (ValueError, OverflowError, OSError):
        return None


class MessageRow(msgspec.Struct, frozen=True, gc=False):
    """What a session keeps about every message of its mailbox."""

    uid: int
    modseq: int
    flags: frozenset[str]  # system flags in RFC 9051 spelling, keywords as first set; never \Recent
    internal_date: int  # Unix seconds
    zone: int  # minutes east of UTC in which INTERNALDATE is written
    size: int  # octets, RFC822.SIZE


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A mailbox and all its messages at one moment. The rows are whoever's asked for them."""

    mailbox: Mailbox
    rows: dict[int, MessageRow]  # by ascending UID

    @property
    def messages(self) -> tuple[MessageRow, ...]:
        """The rows by ascending UID."""
        return tuple(self.rows.values())


class Precomputed(msgspec.Struct, frozen=True, gc=False):
    """What FETCH copies: made when the message was stored, in IMAP wire form.

    The three wire values hold quoted strings, NIL and numbers; a string with octets that a quoted string cannot hold
    (RFC 3501 §4.3: 8-bit, bare CR) is a literal inside them, so they may be sent but not split.
    """

    envelope: bytes  # "(…)"
    body: bytes  # BODY without extension data, "(…)"
    bodystructure: bytes  # "(…)"
    header_size: int  # octets of the message's header with the empty line that ends it
    size: int  # octets of the whole message
    packed: bytes  # the Part tree as stored
    head: bytes | None = None  # the message's first octets, its header, where they were asked for
    rest: bytes | None = None  # what follows them, where it was asked for and is small
    usual: bool = False  # the header is chosen_fields.USUAL_FIELDS only, and there is nothing else here

    @property
    def whole(self) -> bool:
        """Whether all octets of the message came with this."""
        return self.head is not None and len(self.head) + len(self.rest or b"") >= self.size

    def octets(self, offset: int, length: int) -> bytes | None:
        """A range of the message; None where it did not come with this."""
        if self.head is None:
            return None
        end = offset + length
        if end <= len(self.head):
            return self.head[offset:end]
        if self.rest is None:
            return None
        start = max(offset - len(self.head), 0)
        return self.head[offset:] + self.rest[start : end - len(self.head)]

    @property
    def structure(self) -> Part:
        """The Part tree with byte offsets into the message; unpacked at each access (some 5 µs)."""
        return unpack_part(self.packed)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """A message for `append_many`. A content file is read during the call and stays the caller's."""

    content: bytes | Path
    flags: frozenset[str]
    internal_date: int  # Unix seconds
    zone: int  # minutes east


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The outcome of `store_flags`."""

    changed: tuple[MessageRow, ...]  # every message covered, with its flags now, also where they were so already
    modified: tuple[int, ...]  # UIDs left alone because their modseq is above unchanged_since (RFC 7162 §3.1.3)


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message from the network, ready to be filed."""

    entry_id: bytes  # 32 octets, identity of the inbox entry
    duplicate_of: bytes | None  # SHA-256 of its duplicate.1; None: never collapsed
    trace: bytes  # fields to prepend, each ended by CRLF
    content: bytes | Path  # a file is read during the call and stays the caller's
    internal_date: int  # Unix seconds, when a gateway took it
    mailbox: str  # "INBOX" or "Junk"
    keywords: frozenset[str]
    cleanup: bytes  # opaque task, handed back by pending_cleanup
    keep: int = 0  # ms that the task waits, so that the network still has the message
    octets: int = 0  # of the sealed body that waits there meanwhile


@dataclass(frozen=True, slots=True)
class Filed:
    """What became of one Incoming: `uid` is None where it is a duplicate and not shown again."""

    entry_id: bytes
    uid: int | None


@dataclass(frozen=True, slots=True)
class New:
    """A message has come into the mailbox."""

    row: MessageRow

    @property
    def modseq(self) -> int:
        """The mailbox's modseq with this change."""
        return self.row.modseq


@dataclass(frozen=True, slots=True)
class FlagsChanged:
    """A message's flags are now those of `row`."""

    row: MessageRow

    @property
    def modseq(self) -> int:
        """The mailbox's modseq with this change."""
        return self.row.modseq


@dataclass(frozen=True, slots=True)
class Expunged:
    """The message is gone."""

    uid: int
    modseq: int


Change = New | FlagsChanged | Expunged
