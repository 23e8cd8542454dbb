"""SEARCH's arguments (RFC 9051 §6.4.4): parsed without a mailbox, then resolved against the session's numbering.

Sequence numbers, "$" and \\Recent mean something only to one session, so `resolve` turns them into UIDs, and intervals
(RFC 5032) into instants; everything else is the store's own vocabulary.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import date
from typing import Literal

from gateway.imap.dates import parse_date
from gateway.imap.errors import Bad, No
from gateway.imap.flags import system_flag
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.view import View
from gateway.mailbox import search as store

_MAX_KEYS = 500  # of one SEARCH: every message may have to be held against each
_MAX_NAMED = 1_000_000  # messages in all sets of one SEARCH, some 50 MB; two of whole mailboxes are always taken
_MAX_DEPTH = 200  # of NOT, OR and parentheses together; an OR of many terms nests once per term


@dataclass(frozen=True, slots=True)
class Positions:
    """Messages by sequence number."""

    numbers: SequenceSet


@dataclass(frozen=True, slots=True)
class UidSet:
    """Messages by UID."""

    uids: SequenceSet


@dataclass(frozen=True, slots=True)
class Recent:
    """Messages that this session was the first to be told of."""


@dataclass(frozen=True, slots=True)
class Within:
    """Messages whose internal date is at least (`older`) or at most `seconds` ago (RFC 5032 §3)."""

    seconds: int
    older: bool


@dataclass(frozen=True, slots=True)
class AllOf:
    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    a: "Term"
    b: "Term"


@dataclass(frozen=True, slots=True)
class Negated:
    term: "Term"


Term = (
    Positions
    | UidSet
    | Recent
    | Within
    | AllOf
    | AnyOf
    | Negated
    | store.All
    | store.Flag
    | store.Header
    | store.Text
    | store.Body
    | store.Date
    | store.Larger
    | store.Smaller
    | store.ModSeq
)

_FLAGS = ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")
_HEADERS = ("BCC", "CC", "FROM", "SUBJECT", "TO")
_DATES: dict[str, tuple[Literal["internal", "sent"], Literal["before", "on", "since"]]] = {
    "BEFORE": ("internal", "before"),
    "ON": ("internal", "on"),
    "SINCE": ("internal", "since"),
    "SENTBEFORE": ("sent", "before"),
    "SENTON": ("sent", "on"),
    "SENTSINCE": ("sent", "since"),
}
_RETURNS = frozenset({"MIN", "MAX", "ALL", "COUNT", "SAVE"})  # RFC 4731 §3.1, RFC 5182 §2.1
_CHARSETS = {"UTF-8": "utf-8", "US-ASCII": "ascii"}


@dataclass(frozen=True, slots=True)
class Program:
    """A parsed SEARCH; `modseq` if it asks for mod-sequences (RFC 7162 §3.1.5).

    `keys` counts those in `term`; `returns` is None without RETURN, and then the answer is SEARCH; `charset` is None
    where none was named.
    """

    term: AllOf
    keys: int
    modseq: bool
    returns: frozenset[str] | None
    charset: str | None

    def require_answerable(self) -> None:
        """Raise No: with LIMIT for many keys, with BADCHARSET for a charset that is not known."""
        if self.keys > _MAX_KEYS:
            raise No(f"one SEARCH has at most {_MAX_KEYS} keys", "LIMIT")  # RFC 5530
        if self.charset is not None and self.charset not in _CHARSETS:
            raise No(f"the charset {self.charset} is not known", "BADCHARSET (US-ASCII UTF-8)")


def parse_search(lexer: Lexer) -> Program:
    """`[RETURN (option…)] [CHARSET name] key…`. Raises Bad."""
    returns = None
    if lexer.skip(b"RETURN "):
        named = lexer.parenthesised(lambda: lexer.word("a result option"), empty=True)
        returns = frozenset(named or ["ALL"])  # RFC 4731 §3.1: an empty list is (ALL)
        for option in named:
            if option not in _RETURNS:
                raise Bad(f"SEARCH has no result option {option}")
        lexer.space()
    charset = None
    if lexer.skip(b"CHARSET "):
        charset = lexer.astring("a charset").decode("ascii", "replace").upper()
        lexer.space()
    # RFC 3501 says US-ASCII where none is named; clients send UTF-8 all the same. Latin-1 reads everything.
    coding = "utf-8" if charset is None else _CHARSETS.get(charset, "latin-1")
    parser = _Parser(lexer, coding)
    return Program(parser.program(), parser.keys, parser.modseq, returns, charset)


class _Parser:
    def __init__(self, lexer: Lexer, charset: str) -> None:
        self._lexer = lexer
        self._charset = charset
        self._depth = 0
        self.keys = 0
        self.modseq = False

    def program(self) -> AllOf:
        terms = [self._key()]
        while not self._lexer.at_end and self._lexer.skip(b" ") and not self._lexer.at_end:
            terms.append(self._key())
        return AllOf(tuple(terms))

    def _key(self) -> Term:
        self._depth += 1
        self.keys += 1
        if self._depth > _MAX_DEPTH:
            raise Bad(f"search keys nested deeper than {_MAX_DEPTH}")
        try:
            if self._lexer.peek(b"("):
                return AllOf(tuple(self._lexer.parenthesised(self._key)))
            if self._lexer.at_sequence_set():
                return Positions(self._lexer.sequence_set())
            return self._named(self._lexer.word("a search key"))
        finally:
            self._depth -= 1

    def _named(self, name: str) -> Term:
        if name in _FLAGS:
            return store.Flag("\\" + name.capitalize(), present=True)
        if name.startswith("UN") and name[2:] in _FLAGS:
            return store.Flag("\\" + name[2:].capitalize(), present=False)
        if name in _HEADERS:
            return store.Header(name.capitalize(), self._text())
        if name in _DATES:
            return store.Date(*_DATES[name], self._date())
        parser = self._OTHERS.get(name)
        if parser is None:
            raise Bad(f"SEARCH has no key {name}")
        return parser(self)

    def _text(self) -> str:
        self._lexer.space()
        try:
            return self._lexer.astring().decode(self._charset)
        except UnicodeDecodeError:
            raise Bad(f"the string is not {self._charset.upper()}") from None

    def _date(self) -> date:
        return parse_date(self._text())

    def _number(self) -> int:
        self._lexer.space()
        return self._lexer.number()

    def _size(self) -> int:
        self._lexer.space()
        return self._lexer.number64()

    def _within(self, *, older: bool) -> Term:
        seconds = self._number()
        if seconds == 0:
            raise Bad("an interval has at least one second")  # RFC 5032 §4: nz-number
        return Within(seconds, older)

    def _sub_key(self) -> Term:
        self._lexer.space()
        return self._key()

    def _keyword(self) -> str:
        self._lexer.space()
        return system_flag(self._lexer.flag())

    def _header(self) -> Term:
        field = self._text()
        return store.Header(field, self._text())

    def _or(self) -> Term:
        first = self._sub_key()
        return AnyOf(first, self._sub_key())

    def _uid(self) -> Term:
        self._lexer.space()
        return UidSet(self._lexer.sequence_set())

    def _modseq_key(self) -> Term:
        """RFC 7162 §3.1.5: the entry name and type are for per-flag mod-sequences, which we do not keep."""
        self._lexer.space()
        if self._lexer.peek(b'"'):
            self._lexer.string()
            self._lexer.space()
            if self._lexer.word("priv, shared or all") not in ("PRIV", "SHARED", "ALL"):
                raise Bad("the entry type is priv, shared or all")
            self._lexer.space()
        self.modseq = True
        return store.ModSeq(self._lexer.number64())

    _OTHERS: dict[str, Callable[["_Parser"], Term]] = {  # noqa: RUF012 (never changed)
        "ALL": lambda self: store.All(),
        "RECENT": lambda self: Recent(),
        "OLD": lambda self: Negated(Recent()),
        "NEW": lambda self: AllOf((Recent(), store.Flag("\\Seen", present=False))),
        "KEYWORD": lambda self: store.Flag(self._keyword(), present=True),
        "UNKEYWORD": lambda self: store.Flag(self._keyword(), present=False),
        "BODY": lambda self: store.Body(self._text()),
        "TEXT": lambda self: store.Text(self._text()),
        "HEADER": lambda self: self._header(),
        "LARGER": lambda self: store.Larger(self._size()),
        "SMALLER": lambda self: store.Smaller(self._size()),
        "OLDER": lambda self: self._within(older=True),
        "YOUNGER": lambda self: self._within(older=False),
        "NOT": lambda self: Negated(self._sub_key()),
        "OR": lambda self: self._or(),
        "UID": lambda self: self._uid(),
        "MODSEQ": lambda self: self._modseq_key(),
    }


def resolve(term: Term, view: View, now: int) -> store.SearchKey:
    """The store's key for what a session asked at `now` (Unix seconds).

    Raises Bad for sequence numbers that the session does not have, No (LIMIT) for many large sets.
    """
    return _Resolution(view, now).of(term)


@dataclass(slots=True)
class _Resolution:
    view: View
    now: int
    named: int = 0  # UIDs in all sets so far

    def of(self, term: Term) -> store.SearchKey:
        match term:
            case Positions(numbers):
                return self._uids(self.view.chosen(numbers, by_uid=False))
            case UidSet(uids):
                return self._uids(self.view.chosen(uids, by_uid=True))
            case Within(seconds, older):
                return store.Instant("until" if older else "since", self.now - seconds)
            case Recent():
                return self._uids(self.view.recent)
            case AllOf(terms):
                return store.And(tuple(self.of(each) for each in terms))
            case AnyOf(a, b):
                return store.Or(self.of(a), self.of(b))
            case Negated(inner):
                return store.Not(self.of(inner))
            case _:
                return term

    def _uids(self, uids: Collection[int]) -> store.Uids:
        self.named += len(uids)
        if self.named > max(_MAX_NAMED, 2 * len(self.view)):
            raise No("the sets of this SEARCH have too many messages together", "LIMIT")
        return store.Uids(frozenset(uids))
