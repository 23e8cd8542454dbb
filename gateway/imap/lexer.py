"""The cursor that command files parse their arguments with (RFC 3501 §9): each method takes one grammar rule.

Every method raises Bad, naming the place, when the rule does not match; nothing else is ever raised.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import TypeVar

from gateway.imap import params
from gateway.imap.errors import Bad
from gateway.imap.mailbox_names import decode_mailbox_name, decode_utf8_name
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.wire import Fragment, Literal

T = TypeVar("T")

_ATOM = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")  # ATOM-CHAR
_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")  # ASTRING-CHAR adds "]"
_LIST_MAILBOX = re.compile(rb"[!#$%&'*+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+")  # list-char adds wildcards
_TAG_SAFE_WORD = re.compile(rb"[A-Za-z0-9.=\-]+")
_QUOTED = re.compile(rb'"((?:[^"\\\x00\r\n]|\\["\\])*)"')
_ESCAPED = re.compile(rb"\\(.)")
_NUMBER = re.compile(rb"[0-9]{1,20}")
_SEQUENCE_SET = re.compile(rb"[0-9*:,]+|\$")  # RFC 5182 §3: "$" stands alone
_SEQUENCE_START = frozenset((b"*", b"$", *(b"%d" % digit for digit in range(10))))
_FLAG = re.compile(rb"\\?[!#$&'+,\-./0-9:;<=>?@A-Z\[^_`a-z|}~]+")


class Lexer:
    """A position in one command. Pieces of line are read with the rules; literals only where a string may be."""

    __slots__ = ("_depth", "_fragments", "_index", "_offset", "_text", "_utf8")

    def __init__(self, fragments: tuple[Fragment, ...], *, utf8: bool = False) -> None:
        """`utf8`: mailbox names are UTF-8, not modified UTF-7."""
        self._fragments = fragments
        self._utf8 = utf8
        self._index = 0
        self._offset = 0
        self._depth = 0
        first = fragments[0]
        self._text = first if isinstance(first, bytes) else b""

    def fail(self, expected: str) -> Bad:
        """Return a Bad that says what was expected and what is there instead."""
        rest = self._text[self._offset : self._offset + 20]
        if rest:
            return Bad(f'expected {expected} at "{rest.decode("ascii", "replace")}"')
        found = "a literal" if self._index + 1 < len(self._fragments) else "the end of the line"
        return Bad(f"expected {expected}, found {found}")

    def _match(self, pattern: re.Pattern[bytes]) -> re.Match[bytes] | None:
        match = pattern.match(self._text, self._offset)
        if match is not None:
            self._offset = match.end()
        return match

    def _require(self, pattern: re.Pattern[bytes], expected: str) -> bytes:
        match = self._match(pattern)
        if match is None:
            raise self.fail(expected)
        return match[0]

    def peek(self, prefix: bytes) -> bool:
        """Whether `prefix` (upper case) comes next, ignoring case."""
        return self._text[self._offset : self._offset + len(prefix)].upper() == prefix

    def skip(self, prefix: bytes) -> bool:
        """Take `prefix` (upper case) if it comes next, ignoring case."""
        found = self.peek(prefix)
        if found:
            self._offset += len(prefix)
        return found

    def expect(self, prefix: bytes) -> None:
        if not self.skip(prefix):
            raise self.fail(f'"{prefix.decode("ascii")}"' if prefix != b" " else "a space")

    def space(self) -> None:
        self.expect(b" ")

    @property
    def at_end(self) -> bool:
        return self._offset >= len(self._text) and self._index + 1 >= len(self._fragments)

    def end(self) -> None:
        """Require the end of the command; trailing spaces are forgiven, as all servers do."""
        while self.skip(b" "):
            pass
        if not self.at_end:
            raise self.fail("the end of the line")

    def rest(self) -> bytes | None:
        """What is left of the command, None if a literal is among it."""
        return self._text[self._offset :] if self._index + 1 >= len(self._fragments) else None

    def skip_rest(self) -> None:
        """Take what `rest` gave."""
        self._offset = len(self._text)

    def atom(self, expected: str = "an atom") -> str:
        return self._require(_ATOM, expected).decode("ascii")

    def word(self, expected: str = "a word") -> str:
        """A command, item or option name, in upper case."""
        return self._require(_TAG_SAFE_WORD, expected).decode("ascii").upper()

    def number(self, maximum: int = 2**32 - 1) -> int:
        value = int(self._require(_NUMBER, "a number"))
        if value > maximum:
            raise Bad(f"the number {value} is too large")
        return value

    def number64(self) -> int:
        """RFC 9051 §9 `number64`: sizes, offsets and modseqs."""
        return self.number(maximum=2**63 - 1)

    def sequence_set(self) -> SequenceSet:
        return SequenceSet.parse(self._require(_SEQUENCE_SET, "a sequence set").decode("ascii"))

    def at_sequence_set(self) -> bool:
        return self._text[self._offset : self._offset + 1] in _SEQUENCE_START

    def literal(self) -> Literal | None:
        """The literal that comes next, if one does."""
        if self._offset < len(self._text) or self._index + 1 >= len(self._fragments):
            return None
        fragment = self._fragments[self._index + 1]
        assert isinstance(fragment, Literal)
        self._index += 2
        following = self._fragments[self._index]
        assert isinstance(following, bytes)
        self._text = following
        self._offset = 0
        return fragment

    def string_or_none(self) -> bytes | None:
        """A quoted string or a literal held in memory (RFC 3501 §4.3), else None."""
        quoted = self._match(_QUOTED)
        if quoted is not None:
            return _ESCAPED.sub(rb"\1", quoted[1])
        literal = self.literal()
        if literal is None:
            return None
        if literal.binary:
            raise Bad("a literal8 is for messages only")  # RFC 3516 §7
        if literal.data is None:
            raise Bad("this literal is too long")
        return literal.data

    def string(self, expected: str = "a string") -> bytes:
        value = self.string_or_none()
        if value is None:
            raise self.fail(expected)
        return value

    def astring(self, expected: str = "a string") -> bytes:
        match = self._match(_ASTRING)
        return match[0] if match is not None else self.string(expected)

    def nstring(self) -> bytes | None:
        return None if self.skip(b"NIL") else self.string("a string or NIL")

    def mailbox(self) -> str:
        """A mailbox name as text, INBOX in any case (RFC 3501 §5.1). In UTF-8 it is as written, not in NFC."""
        return self._name(self.astring("a mailbox name"))

    def _name(self, raw: bytes) -> str:
        return decode_utf8_name(raw) if self._utf8 else decode_mailbox_name(raw)

    def list_mailbox(self) -> str:
        """A mailbox name that may contain wildcards, in NFC (RFC 3501 §6.3.8)."""
        match = self._match(_LIST_MAILBOX)
        name = self._name(match[0] if match is not None else self.string("a mailbox pattern"))
        return unicodedata.normalize("NFC", name)

    def flag(self) -> str:
        """A flag or keyword as the client wrote it."""
        return self._require(_FLAG, "a flag").decode("ascii")

    def parenthesised(self, item: Callable[[], T], *, empty: bool = False) -> list[T]:
        """`(` items separated by one space `)`; raises Bad on an empty list unless `empty`."""
        self.expect(b"(")
        self._depth += 1
        if self._depth > params.MAX_DEPTH:
            raise Bad(f"parentheses nested deeper than {params.MAX_DEPTH}")
        items: list[T] = []
        if not (empty and self.peek(b")")):
            items.append(item())
            while self.skip(b" "):
                items.append(item())
        self.expect(b")")
        self._depth -= 1
        return items
