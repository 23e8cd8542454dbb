"""A message with 8-bit content as one for hosts that take 7 bits only (RFC 6152 §3, RFC 2045 §6); pure.

Leaf parts with 8-bit octets become quoted-printable, or base64 where they are no text or hardly ASCII; the parts around
them say 7bit; every other octet stays. What cannot be told without loss is not converted: a signed part (its signature
covers the octets as they are, RFC 1847 §2.1), 8-bit octets in a header or around parts, content without MIME, and parts
whose encoding contradicts their content.
"""

import binascii
import re
from collections.abc import Iterator
from typing import Final

from gateway.mail.mime_header import all_fields, content_type, reported_fields
from gateway.mail.structure import Part, parse
from p2pcore.errors import Malformed

_ASCII: Final = bytes(range(128))
_ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_IDENTITY: Final = ("7bit", "8bit", "binary")  # RFC 2045 §6.2: no encoding
_BASE64_LINE: Final = 57  # octets that make a line of 76 (RFC 2045 §6.8)

_Splice = tuple[int, int, bytes]


def to_seven_bit(content: bytes) -> bytes:
    """Return `content` in US-ASCII, saying the same. Raises Malformed where that cannot be."""
    if content.isascii():
        return content
    root = parse(content).root
    header = content[: root.header_length]
    if not any(name.lower() == b"mime-version" for name, _ in all_fields(header)):
        raise Malformed("8-bit content without MIME")
    pieces: list[bytes] = []
    position = 0
    for start, end, octets in sorted(_splices(content, root)):
        pieces += [content[position:start], octets]
        position = end
    converted = b"".join([*pieces, content[position:]])
    if not converted.isascii():
        raise Malformed("8-bit octets in a header, or around parts")
    return converted


def _splices(content: bytes, part: Part) -> Iterator[_Splice]:
    """Yield what replaces which ranges of `content`. Raises Malformed."""
    body = content[part.body_offset : part.body_offset + part.body_length]
    if body.isascii():
        return
    header = content[part.header_offset : part.header_offset + part.header_length]
    declared = content_type(reported_fields(header).get(b"content-type", b""))
    kind = declared[0] if declared is not None else part.type
    if part.type == "multipart" and part.subtype == "signed":
        raise Malformed("8-bit content under a signature")
    if part.encoding not in _IDENTITY:
        raise Malformed(f"8-bit content said to be {part.encoding[:20]}")
    if part.children:
        yield _header(part, header, b"7bit")
        for child in part.children:
            yield from _splices(content, child)
    elif kind in ("multipart", "message"):
        raise Malformed(f"8-bit content of a {kind} that does not parse")  # RFC 2045 §6.4: it cannot be encoded
    else:
        plain = kind == "text" and 3 * len(body.translate(None, _ASCII)) < len(body)
        yield _header(part, header, b"quoted-printable" if plain else b"base64")
        yield part.body_offset, part.body_offset + part.body_length, _quoted(body) if plain else _base64(body)


def _header(part: Part, header: bytes, encoding: bytes) -> _Splice:
    """Return the part's header with this encoding, in the place of the old one or at the end."""
    field = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    changed, count = _ENCODING.subn(field, header, count=1)
    if not count:
        fields = header.removesuffix(b"\n").removesuffix(b"\r")  # the empty line comes after it
        changed = fields + field + b"\r\n"
    return part.header_offset, part.header_offset + part.header_length, changed


def _quoted(body: bytes) -> bytes:
    lines = (binascii.b2a_qp(line, istext=False).replace(b"=\n", b"=\r\n") for line in body.split(b"\r\n"))
    return b"\r\n".join(lines)


def _base64(body: bytes) -> bytes:
    starts = range(0, len(body), _BASE64_LINE)
    return b"\r\n".join(binascii.b2a_base64(body[start : start + _BASE64_LINE], newline=False) for start in starts)
