"""What SEARCH can ask (RFC 9051 §6.4.4): a tree of keys that says nothing about how it is answered.

IMAP's keys map onto it: ANSWERED = Flag("\\\\Answered", True), UNKEYWORD x = Flag(x, False),
FROM s = Header("from", s), SENTON d = Date("sent", "on", d), sequence sets and UID sets = Uids.
NEW, OLD and RECENT are the session's business.
"""

from dataclasses import dataclass
from datetime import date
from typing import Literal


@dataclass(frozen=True, slots=True)
class All:
    """Every message."""


@dataclass(frozen=True, slots=True)
class And:
    """Messages that match all keys; no keys at all match everything."""

    keys: tuple["SearchKey", ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Messages that match either key."""

    a: "SearchKey"
    b: "SearchKey"


@dataclass(frozen=True, slots=True)
class Not:
    """Messages that do not match the key."""

    key: "SearchKey"


@dataclass(frozen=True, slots=True)
class Flag:
    """Messages with (or without) a system flag or keyword; compared without case."""

    name: str
    present: bool


@dataclass(frozen=True, slots=True)
class Header:
    """Messages with a header field of this name whose decoded value contains the text; an empty text asks for the
    field alone (RFC 9051 §6.4.4)."""

    field: str
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    """Messages whose header or body contains the text."""

    text: str


@dataclass(frozen=True, slots=True)
class Body:
    """Messages with a text part, or the header of a nested message or part, that contains the text, decoded."""

    text: str


@dataclass(frozen=True, slots=True)
class Date:
    """Messages by internal date or by their Date field, as written: time and zone are disregarded (RFC 9051 §6.4.4).

    A message without a readable Date field matches no "sent" key.
    """

    kind: Literal["internal", "sent"]
    op: Literal["before", "on", "since"]
    day: date


@dataclass(frozen=True, slots=True)
class Instant:
    """Messages whose internal date is at `when` (Unix seconds) or before ("until") or after it ("since")."""

    op: Literal["until", "since"]
    when: int


@dataclass(frozen=True, slots=True)
class Larger:
    """Messages of more than n octets."""

    n: int


@dataclass(frozen=True, slots=True)
class Smaller:
    """Messages of fewer than n octets."""

    n: int


@dataclass(frozen=True, slots=True)
class Uids:
    """Messages with one of these UIDs."""

    uids: frozenset[int]


@dataclass(frozen=True, slots=True)
class ModSeq:
    """Messages whose modseq is n or higher (RFC 7162 §3.1.5)."""

    n: int


SearchKey = All | And | Or | Not | Flag | Header | Text | Body | Date | Instant | Larger | Smaller | Uids | ModSeq
