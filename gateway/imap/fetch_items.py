"""FETCH's data items as clients write them (RFC 3501 §6.4.5, RFC 3516 §4)."""

from dataclasses import dataclass
from enum import Enum

from gateway.imap import responses
from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer


class Item(Enum):
    """An item without arguments; the value is its name."""

    UID = b"UID"
    FLAGS = b"FLAGS"
    INTERNALDATE = b"INTERNALDATE"
    SIZE = b"RFC822.SIZE"
    ENVELOPE = b"ENVELOPE"
    BODY = b"BODY"
    BODYSTRUCTURE = b"BODYSTRUCTURE"
    MODSEQ = b"MODSEQ"  # RFC 7162 §3.1.4


@dataclass(frozen=True, slots=True)
class Section:
    """`BODY[part.text (fields)]<first.length>` and its older spellings."""

    part: tuple[int, ...]
    text: str  # "", HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT or MIME
    fields: tuple[bytes, ...]
    partial: tuple[int, int] | None
    peek: bool  # without \Seen
    label: bytes  # its name in the response


@dataclass(frozen=True, slots=True)
class Binary:
    """`BINARY[part]<first.length>`, or with `size` `BINARY.SIZE[part]`: a part without its transfer encoding."""

    part: tuple[int, ...]
    partial: tuple[int, int] | None
    peek: bool
    size: bool
    label: bytes


FetchItem = Item | Section | Binary

_MACROS = {
    "FAST": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE),
    "ALL": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE, Item.ENVELOPE),
    "FULL": (Item.FLAGS, Item.INTERNALDATE, Item.SIZE, Item.ENVELOPE, Item.BODY),
}
_ITEMS = {item.value.decode("ascii"): item for item in Item}
_OLD_SECTIONS = {
    "RFC822": Section((), "", (), None, peek=False, label=b"RFC822"),
    "RFC822.HEADER": Section((), "HEADER", (), None, peek=True, label=b"RFC822.HEADER"),
    "RFC822.TEXT": Section((), "TEXT", (), None, peek=False, label=b"RFC822.TEXT"),
}
_TEXTS = ("HEADER.FIELDS.NOT", "HEADER.FIELDS", "HEADER", "TEXT", "MIME")
_MAX_PART_DEPTH = 100  # the structure itself is never deeper than 50


def parse_fetch_items(lexer: Lexer) -> tuple[FetchItem, ...]:
    """A macro, an item or a list of items, each once. Raises Bad."""
    if lexer.peek(b"("):
        return tuple(dict.fromkeys(lexer.parenthesised(lambda: _item(lexer))))
    name = lexer.word("a data item")
    return _MACROS[name] if name in _MACROS else (_named(lexer, name),)


def _item(lexer: Lexer) -> FetchItem:
    return _named(lexer, lexer.word("a data item"))


def _named(lexer: Lexer, name: str) -> FetchItem:
    if name in ("BODY", "BODY.PEEK") and lexer.skip(b"["):
        return _section(lexer, peek=name == "BODY.PEEK")
    if name in ("BINARY", "BINARY.PEEK", "BINARY.SIZE") and lexer.skip(b"["):
        return _binary(lexer, name)
    if name in _ITEMS:
        return _ITEMS[name]
    if name in _OLD_SECTIONS:
        return _OLD_SECTIONS[name]
    if name in _MACROS:
        raise Bad(f"{name} stands for a list and cannot be inside one")  # RFC 3501 §6.4.5
    raise Bad(f"FETCH has no item {name}")


def _section(lexer: Lexer, *, peek: bool) -> Section:
    part: list[int] = []
    text = ""
    fields: list[bytes] = []
    while not lexer.peek(b"]"):
        if part:
            lexer.expect(b".")
        if not lexer.at_sequence_set():
            text, fields = _section_text(lexer, whole=not part)
            break
        _take_part_number(lexer, part)
    lexer.expect(b"]")
    label = _label(part, text, fields)
    partial = _partial(lexer)
    if partial is not None:
        label += b"<%d>" % partial[0]  # RFC 3501 §7.4.2: only the origin octet
    return Section(tuple(part), text, tuple(fields), partial, peek, label)


def _binary(lexer: Lexer, name: str) -> Binary:
    part: list[int] = []
    while not lexer.peek(b"]"):
        if part:
            lexer.expect(b".")
        _take_part_number(lexer, part)
    lexer.expect(b"]")
    sized = name == "BINARY.SIZE"
    label = b"%s[%s]" % (b"BINARY.SIZE" if sized else b"BINARY", b".".join(b"%d" % number for number in part))
    partial = None if sized else _partial(lexer)
    if partial is not None:
        label += b"<%d>" % partial[0]  # RFC 3516 §7
    return Binary(tuple(part), partial, sized or name == "BINARY.PEEK", sized, label)


def _take_part_number(lexer: Lexer, part: list[int]) -> None:
    part.append(lexer.number())
    if part[-1] == 0 or len(part) > _MAX_PART_DEPTH:
        raise Bad("a part number is from 1 up, and no message nests so deep")


def _partial(lexer: Lexer) -> tuple[int, int] | None:
    if not lexer.skip(b"<"):
        return None
    first = lexer.number64()
    lexer.expect(b".")
    length = lexer.number64()
    lexer.expect(b">")
    if length == 0:
        raise Bad("a partial fetch takes at least one octet")
    return first, length


def _section_text(lexer: Lexer, *, whole: bool) -> tuple[str, list[bytes]]:
    for text in _TEXTS:
        if lexer.skip(text.encode("ascii")):
            break
    else:
        raise lexer.fail("HEADER, TEXT, MIME or a part number")
    if text == "MIME" and whole:
        raise Bad("MIME needs a part number")  # RFC 3501 §6.4.5
    if not text.startswith("HEADER.FIELDS"):
        return text, []
    lexer.space()
    return text, lexer.parenthesised(lambda: lexer.astring("a field name"))


def _label(part: list[int], text: str, fields: list[bytes]) -> bytes:
    pieces = [b"%d" % number for number in part]
    if text:
        pieces.append(text.encode("ascii"))
    label = b".".join(pieces)
    if fields:
        label += b" (" + b" ".join(responses.astring(field) for field in fields) + b")"
    return b"BODY[" + label + b"]"
