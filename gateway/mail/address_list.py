"""Address lists of header fields for ENVELOPE (RFC 9051 §7.5.2, RFC 5322 §3.4 with the obsolete forms of §4.4).

Whatever the bytes, an answer comes back, in a time that grows with their number only, and nothing is raised. Encoded
words (RFC 2047) stay encoded.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

from gateway.mail.mime_header import nstring

_ATOM = rb'[^\s"(),:;<>@\[\]\\]++'
_SIMPLE = re.compile(
    rb'[ \t]*+(?:(?:"([^"\\]*+)"|(%b(?:[ \t]++%b)*+))?[ \t]*+<(%b)@(%b)>|(%b)@(%b))[ \t]*+(,|\Z)'
    % (_ATOM, _ATOM, _ATOM, _ATOM, _ATOM, _ATOM)
)
"""Nearly every real address, with the comma or end behind it: name <local@domain> or local@domain."""

_LEXEME = re.compile(
    rb'"((?:[^"\\]|\\.)*+)"?'  # quoted string
    rb"|(\[(?:[^\]\\]|\\.)*+\]?|[^\s\"(),:;<>@\[\]]++|[\])])"  # domain literal, atom with dots, stray bracket
    rb"|([<>@,;:])"
    rb"|(\()",
    re.DOTALL,
)
_PARENTHESIS = re.compile(rb"[()]|\\.", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_BLANKS = re.compile(rb"[ \t]+")
_DOT_ATOM = re.compile(r"[^\s\"(),:;<>@\[\]\\.\x00-\x1f\x7f]+(?:\.[^\s\"(),:;<>@\[\]\\.\x00-\x1f\x7f]+)*\Z")


class Address(Struct, frozen=True):
    """One address structure. host None marks a group's start (mailbox = its name) or end (mailbox None)."""

    name: bytes | None
    route: bytes | None  # obsolete source route, "@a,@b"
    mailbox: bytes | None  # local part, quoting removed
    host: bytes | None  # "" where an address has no domain: NIL would make it a group


@dataclass(frozen=True, slots=True)
class _Lexeme:
    """kind: "word" (quoting removed), "mark" (one of <>@,;:) or "comment"."""

    kind: str
    text: bytes


_GROUP_END = Address(None, None, None, None)


def parse_addresses(value: bytes, most: int = sys.maxsize) -> tuple[Address, ...]:
    """The addresses and groups of an unfolded field body, in order: the first `most`, and the end of an open group."""
    simple = simple_addresses(value, most)
    return _Parser().parse(value, most) if simple is None else simple


def simple_addresses(value: bytes, most: int = sys.maxsize) -> tuple[Address, ...] | None:
    """The first `most` addresses of an unfolded field body if all up to there are _SIMPLE: one reading; else None."""
    found: list[Address] = []
    position = 0
    while (match := _SIMPLE.match(value, position)) is not None:
        quoted, atoms, local, domain, bare_local, bare_domain, comma = match.groups()
        name = quoted if atoms is None else _BLANKS.sub(b" ", atoms)
        found.append(Address(name or None, None, local or bare_local, domain or bare_domain))
        if not comma or len(found) >= most:
            return tuple(found)
        position = match.end()
    return None


def has_one_reading(value: bytes) -> bool:
    """Return whether every reader of an unfolded field body finds the addresses that `parse_addresses` finds.

    Not so where something is left open (a comment, a quoted string, a bracket), where text follows an address, or where
    a group's name looks like an address: some readers show that one.
    """
    stage: Literal["before", "inside", "behind"] = "before"
    has_at = False
    position = 0
    while (match := _LEXEME.search(value, position)) is not None:
        position = match.end()
        if match[4] is not None:
            position = _comment_end(value, position) + 1
            if position > len(value):
                return False
        elif match[3] is None:
            word = match[2]
            is_open = match.end(1) == match.end() if word is None else word.startswith(b"[") != word.endswith(b"]")
            if stage == "behind" or is_open:
                return False
            has_at = has_at or b"@" in match[0]
        elif match[3] in b",;":
            if stage == "inside":
                return False
            stage, has_at = "before", False
        elif match[3] == b":":
            if stage != "before" or has_at:
                return False
        elif match[3] == b"@":
            if stage == "behind":
                return False
            has_at = True
        elif (match[3], stage) == (b"<", "before"):
            stage = "inside"
        elif (match[3], stage) == (b">", "inside"):
            stage = "behind"
        else:
            return False
    return stage != "inside"


def wire(addresses: tuple[Address, ...]) -> bytes:
    """The list as ENVELOPE has it: NIL, or parenthesised address structures."""
    if not addresses:
        return b"NIL"
    return b"(%b)" % b"".join(
        b"(%b %b %b %b)" % (nstring(a.name), nstring(a.route), nstring(a.mailbox), nstring(a.host)) for a in addresses
    )


class _Parser:
    """One pass over the lexemes: what stands before "<", what stands inside, and whether a group is open."""

    def __init__(self) -> None:
        self.found: list[Address] = []
        self.in_group = False
        self._clear()

    def _clear(self) -> None:
        self.words: list[_Lexeme] = []
        self.angle: list[_Lexeme] | None = None
        self.inside = False
        self.in_route = False
        self.comment: bytes | None = None

    def parse(self, value: bytes, most: int) -> tuple[Address, ...]:
        for lexeme in _lexemes(value):
            if len(self.found) >= most:
                break
            if lexeme.kind == "comment":
                self.comment = lexeme.text
            elif lexeme.kind == "word":
                self._word(lexeme)
            else:
                self._mark(lexeme)
        self._finish()
        if self.in_group:
            self.found.append(_GROUP_END)
        return tuple(self.found)

    def _word(self, lexeme: _Lexeme) -> None:
        if self.inside and self.angle is not None:
            self.angle.append(lexeme)
        elif self.angle is None:
            self.words.append(lexeme)

    def _mark(self, lexeme: _Lexeme) -> None:
        mark = lexeme.text
        if self.inside and (mark in b"@:" or (mark == b"," and self.in_route)):
            assert self.angle is not None
            self.in_route = mark != b":" and (self.in_route or not self.angle)  # from an "@" that comes first to ":"
            self.angle.append(lexeme)
        elif mark == b">":
            self.inside = False
        elif mark == b"<":
            if self.angle is not None:  # "a <b@c> <d@e>": the comma between them was forgotten
                self._finish()
            self.angle, self.inside = [], True
        elif mark == b":" and not self.in_group and self.angle is None and self.words:
            self.found.append(Address(None, None, _phrase(self.words), None))
            self.in_group = True
            self._clear()
        elif mark in b",;":
            self._finish()
            if mark == b";" and self.in_group:
                self.found.append(_GROUP_END)
                self.in_group = False
        elif mark == b"@" and self.angle is None:
            self.words.append(lexeme)

    def _finish(self) -> None:
        if self.angle is not None:
            route, local, host = _address_spec(self.angle)
            name = _phrase(self.words) or self.comment
            if name or local or host:
                self.found.append(Address(name or None, route, local, host))
        elif self.words:
            route, local, host = _address_spec(self.words)
            self.found.append(Address(self.comment or None, route, local, host))
        self._clear()


def _lexemes(value: bytes) -> Iterator[_Lexeme]:
    position = 0
    while (match := _LEXEME.search(value, position)) is not None:
        position = match.end()
        if match[4] is not None:
            end = _comment_end(value, position)
            yield _Lexeme("comment", _ESCAPED.sub(rb"\1", value[position:end]).strip())
            position = end + 1
        elif match[3] is not None:
            yield _Lexeme("mark", match[3])
        elif match[2] is not None:
            yield _Lexeme("word", match[2])
        else:
            yield _Lexeme("word", _ESCAPED.sub(rb"\1", match[1]))


def _comment_end(value: bytes, position: int) -> int:
    """Offset of the parenthesis that closes a comment (comments nest), or the end."""
    depth = 1
    for match in _PARENTHESIS.finditer(value, position):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
            if depth == 0:
                return match.start()
    return len(value)


def _is_mark(lexeme: _Lexeme, mark: bytes) -> bool:
    return lexeme.kind == "mark" and lexeme.text == mark


def _address_spec(lexemes: list[_Lexeme]) -> tuple[bytes | None, bytes, bytes]:
    """(route, local part, domain) of [route ":"] local "@" domain."""
    route: bytes | None = None
    if lexemes and _is_mark(lexemes[0], b"@"):
        for index, lexeme in enumerate(lexemes):
            if _is_mark(lexeme, b":"):
                route = b"".join(part.text for part in lexemes[:index])
                lexemes = lexemes[index + 1 :]
                break
    at = max((i for i, lexeme in enumerate(lexemes) if _is_mark(lexeme, b"@")), default=len(lexemes))
    return route, _phrase(lexemes[:at]), b"".join(lexeme.text for lexeme in lexemes[at + 1 :])


def _phrase(lexemes: list[_Lexeme]) -> bytes:
    """Words with one space between them, but none at a dot: "a . b" is the obsolete local part a.b."""
    pieces: list[bytes] = []
    before = b""  # the last piece that is not empty
    for lexeme in lexemes:
        if before and lexeme.kind == "word" and not (before.endswith((b".", b"@")) or lexeme.text.startswith(b".")):
            pieces.append(b" ")
        pieces.append(lexeme.text)
        before = lexeme.text or before
    return b"".join(pieces)


def spelled(address: Address) -> str:
    """local-part@domain as text, quoted anew where needed: the parser has undone the quoting."""
    local = (address.mailbox or b"").decode(errors="replace")
    domain = (address.host or b"").decode(errors="replace")
    if not _DOT_ATOM.match(local):
        local = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{local}@{domain}"
