"""One light scan of a message: ENVELOPE, BODY and BODYSTRUCTURE in wire form and the tree of its parts.

Never raises and never loops long: what is malformed or beyond the limits below becomes a leaf (text/plain where
multipart delimiters are missing, application/octet-stream where nesting is too deep), as do nested messages in an
encoding that RFC 2046 §5.2.1 forbids. Lines end at LF with or without CR before it; numbers count octets as stored.

`content` may be a memory-mapped file: only headers are copied out of it.
"""

import mmap
import re
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.mail.address_list import parse_addresses, wire
from gateway.mail.mime_header import (
    Params,
    content_type,
    nstring,
    parameter,
    reported_fields,
    word_and_params,
)

Content = bytes | mmap.mmap

MAX_DEPTH: Final = 50
MAX_PARTS: Final = 1_000
MAX_ADDRESSES: Final = 10_000  # of the message's ENVELOPE, and again of all that are nested in it together
MAX_FALSE_DELIMITERS: Final = 10_000  # lines that begin like a delimiter and are none, per message
ROOT_HEADER: Final = 256 * 1024  # octets of the message's header that are considered
PART_HEADER: Final = 64 * 1024  # the same for a part
ALL_HEADERS: Final = 1024 * 1024  # and for all of them together
STRUCTURED: Final = ROOT_HEADER + ALL_HEADERS  # octets of a message that its structure is made of, at most
_LINES_AT_ONCE: Final = 1024 * 1024

_EMPTY_LINE = re.compile(rb"\n\r?\n")
_DELIMITER_END = re.compile(rb"(--)?[ \t]*+(?:\r?\n|\Z)")  # RFC 2046 §5.1.1: transport padding
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]+")
_PLAIN: Final = ("text", "plain", (("charset", b"us-ascii"),))  # RFC 2045 §5.2


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A body part; the root is the message itself. Offsets are octets into the whole message."""

    header_offset: int
    header_length: int  # with the empty line
    body_offset: int
    body_length: int
    lines: int  # line ends in the body of a text part or nested message, else 0
    type: str  # lower case, as are subtype, parameter names, encoding and disposition
    subtype: str
    params: Params
    encoding: str  # "7bit" where absent
    id: bytes | None = None
    description: bytes | None = None
    disposition: tuple[str, Params] | None = None
    language: tuple[bytes, ...] = ()
    md5: bytes | None = None
    location: bytes | None = None
    children: tuple["Part", ...] = ()  # of a multipart; of message/rfc822 and message/global the one nested message
    envelope: bytes | None = None  # of a nested message, as in ENVELOPE


@dataclass(frozen=True, slots=True)
class Structure:
    """All that is precomputed about a message. The wire values may contain literals (8-bit header fields)."""

    envelope: bytes
    body: bytes
    bodystructure: bytes
    root: Part
    header_size: int  # octets, with the empty line
    date: bytes | None  # the Date field


@dataclass(frozen=True, slots=True)
class _Scanned:
    """A part with its wire forms, on the way up."""

    part: Part
    body: bytes
    bodystructure: bytes
    fields: dict[bytes, bytes]


def parse(content: Content, prefix: bytes = b"") -> Structure:
    """The structure of the message `prefix` + `content`, where `prefix` is whole header fields (trace) or empty."""
    scanned = _Scan(content, prefix).entity(0, len(content), 0)
    return Structure(
        _Envelopes().of(scanned.fields),
        scanned.body,
        scanned.bodystructure,
        scanned.part,
        scanned.part.header_length,
        scanned.fields.get(b"date"),
    )


def pack_part(part: Part) -> bytes:
    """The tree as stored in the database (msgpack arrays)."""
    return msgspec.msgpack.encode(part)


def unpack_part(packed: bytes) -> Part:
    """The reverse of `pack_part`. Raises msgspec.DecodeError if it is none."""
    return msgspec.msgpack.decode(packed, type=Part)


class _Envelopes:
    """Makes ENVELOPEs that have MAX_ADDRESSES together: each is many times the octets that it takes in a field."""

    def __init__(self) -> None:
        self._room = MAX_ADDRESSES

    def of(self, fields: dict[bytes, bytes]) -> bytes:
        """ENVELOPE of the fields found by `mime_header.reported_fields` (RFC 9051 §7.5.2)."""
        get = fields.get
        author = self._addresses(get(b"from"), b"NIL")
        return b"(%b %b %b %b %b %b %b %b %b %b)" % (
            nstring(get(b"date")),
            nstring(get(b"subject")),
            author,
            self._addresses(get(b"sender"), author),
            self._addresses(get(b"reply-to"), author),
            self._addresses(get(b"to"), b"NIL"),
            self._addresses(get(b"cc"), b"NIL"),
            self._addresses(get(b"bcc"), b"NIL"),
            nstring(get(b"in-reply-to")),
            nstring(get(b"message-id")),
        )

    def _addresses(self, value: bytes | None, absent: bytes) -> bytes:
        if not value:
            return absent
        found = parse_addresses(value, self._room) if self._room else ()
        self._room = max(self._room - len(found), 0)
        return wire(found)


class _Scan:
    """The scan of one message and what it may still spend."""

    def __init__(self, content: Content, prefix: bytes) -> None:
        self.content = content
        self.prefix = prefix
        self.shift = len(prefix)
        self.parts = 1
        self.false_delimiters = 0
        self.header_octets = ALL_HEADERS
        self.nested_envelopes = _Envelopes()

    def entity(self, start: int, end: int, depth: int, default: tuple[str, str, Params] = _PLAIN) -> _Scanned:
        """A message or body part in content[start:end]."""
        body = self._header_end(start, end)
        fields = self._fields(start, body, depth)
        value = fields.get(b"content-type")
        kind, subtype, params = default if value is None else (content_type(value) or _PLAIN)
        children: tuple[_Scanned, ...] = ()
        nested = False
        encoding = _encoding(fields)
        if kind == "multipart":
            children = self._children(body, end, depth, subtype, params)
            if not children:
                kind, subtype, params = ("application", "octet-stream", ()) if depth >= MAX_DEPTH else _PLAIN
        elif kind == "message" and subtype in ("rfc822", "global"):  # RFC 9051 §9: media-message
            nested = depth < MAX_DEPTH and encoding in ("7bit", "8bit", "binary")  # RFC 2046 §5.2.1; encoded: octets
            if nested:
                children = (self.entity(body, end, depth + 1),)
            else:
                kind, subtype, params = "application", "octet-stream", ()
        disposition = fields.get(b"content-disposition")
        part = Part(
            header_offset=start + self.shift if depth else 0,
            header_length=body - start if depth else body + self.shift,
            body_offset=body + self.shift,
            body_length=end - body,
            lines=self._lines(body, end) if kind == "text" or nested else 0,
            type=kind,
            subtype=subtype,
            params=params,
            encoding=encoding,
            id=fields.get(b"content-id"),
            description=fields.get(b"content-description"),
            disposition=None if disposition is None else word_and_params(disposition),
            language=_languages(fields.get(b"content-language")),
            md5=fields.get(b"content-md5"),
            location=fields.get(b"content-location"),
            children=tuple(child.part for child in children),
            envelope=self.nested_envelopes.of(children[0].fields) if nested else None,
        )
        return _Scanned(part, *_wire(part, children), fields)

    def _header_end(self, start: int, end: int) -> int:
        """Where the body begins: after the first empty line, which is the first line where there is no header."""
        first = self.content[start : min(start + 2, end)]
        if first == b"\r\n":
            return start + 2
        if first[:1] == b"\n":
            return start + 1
        match = _EMPTY_LINE.search(self.content, start, end)
        return end if match is None else match.end()

    def _fields(self, start: int, body: int, depth: int) -> dict[bytes, bytes]:
        length = min(body - start, PART_HEADER if depth else ROOT_HEADER, self.header_octets)
        self.header_octets -= length
        header = self.content[start : start + length]
        return reported_fields(header if depth else self.prefix + header)

    def _lines(self, start: int, end: int) -> int:
        content = self.content
        if isinstance(content, bytes):
            return content.count(b"\n", start, end)
        pieces = range(start, end, _LINES_AT_ONCE)
        return sum(content[at : min(at + _LINES_AT_ONCE, end)].count(b"\n") for at in pieces)

    def _children(self, body: int, end: int, depth: int, subtype: str, params: Params) -> tuple[_Scanned, ...]:
        boundary = (parameter(params, "boundary") or b"").rstrip(b" \t")
        if not boundary or depth >= MAX_DEPTH:
            return ()
        default = ("message", "rfc822", ()) if subtype == "digest" else _PLAIN  # RFC 2046 §5.1.5
        ranges = self._split(body, end, b"\n--" + boundary)
        return tuple(self.entity(first, last, depth + 1, default) for first, last in ranges)

    def _split(self, body: int, end: int, delimiter: bytes) -> list[tuple[int, int]]:
        """The ranges between delimiter lines (RFC 2046 §5.1.1); the line end before a delimiter belongs to it."""
        content = self.content
        ranges: list[tuple[int, int]] = []
        start: int | None = None
        position = max(body - 1, 0)  # the empty line's own LF may begin the first delimiter
        while self.false_delimiters < MAX_FALSE_DELIMITERS:
            found = content.find(delimiter, position, end)
            if found < 0:
                break
            match = _DELIMITER_END.match(content, found + len(delimiter), end)
            if match is None:
                self.false_delimiters += 1
                position = found + 1
                continue
            if start is not None:
                if match[1] is None and self.parts >= MAX_PARTS:
                    break  # the part that is open has the rest
                last = found - 1 if found > start and content[found - 1 : found] == b"\r" else found
                ranges.append((start, max(start, last)))
            if match[1] is not None:
                return ranges
            self.parts += 1
            start = match.end()
            position = max(match.end() - 1, found + 1)
        if start is not None:
            ranges.append((start, end))
        return ranges


def _encoding(fields: dict[bytes, bytes]) -> str:
    value = fields.get(b"content-transfer-encoding")
    parsed = None if value is None else word_and_params(value)
    return "7bit" if parsed is None else parsed[0]


def _languages(value: bytes | None) -> tuple[bytes, ...]:
    return () if value is None else tuple(tag for tag in (t.strip() for t in value.split(b",")) if tag)


def _token(text: str) -> bytes:
    return b'"%b"' % text.upper().encode("ascii")


def _params(params: Params) -> bytes:
    if not params:
        return b"NIL"
    return b"(%b)" % b" ".join(b"%b %b" % (_token(name), nstring(value)) for name, value in params)


def _wire(part: Part, children: tuple[_Scanned, ...]) -> tuple[bytes, bytes]:
    """The part as BODY and as BODYSTRUCTURE, which has the extension data (RFC 9051 §7.5.2, `body` in §9)."""
    if part.type == "multipart":
        subtype, params = _token(part.subtype), _params(part.params)
        body = b"".join(child.body for child in children)
        bodystructure = b"".join(child.bodystructure for child in children)
        return b"(%b %b)" % (body, subtype), b"(%b %b %b%b)" % (bodystructure, subtype, params, _extension(part))
    fields = b"%b %b %b %b %b %b %d" % (
        _token(part.type),
        _token(part.subtype),
        _params(part.params),
        nstring(part.id),
        nstring(part.description),
        _token(part.encoding),
        part.body_length,
    )
    tail = b" %b%b" % (nstring(part.md5), _extension(part))
    if part.envelope is not None:
        (child,) = children
        fields = b"%b %b" % (fields, part.envelope)
        body, bodystructure = (b"%b %b %d" % (fields, of, part.lines) for of in (child.body, child.bodystructure))
        return b"(%b)" % body, b"(%b%b)" % (bodystructure, tail)
    if part.type == "text":
        fields = b"%b %d" % (fields, part.lines)
    return b"(%b)" % fields, b"(%b%b)" % (fields, tail)


def _extension(part: Part) -> bytes:
    """Disposition, language and location, each after a space."""
    disposition = b"NIL"
    if part.disposition is not None:
        disposition = b"(%b %b)" % (_token(part.disposition[0]), _params(part.disposition[1]))
    if len(part.language) > 1:
        language = b"(%b)" % b" ".join(nstring(tag) for tag in part.language)
    else:
        language = nstring(part.language[0]) if part.language else b"NIL"
    return b" %b %b %b" % (disposition, language, nstring(part.location))
