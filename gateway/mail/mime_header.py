"""Header fields of a message or body part as bytes: the few that IMAP reports, found in one pass, and their syntax.

Values stay as they were sent (RFC 2047 and RFC 2231 encodings included), unfolded. Nothing here raises: what does not
parse is absent.
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

Params = tuple[tuple[str, bytes], ...]

MAX_PARAMS: Final = 64
"""Parameters kept of one field; real ones have fewer than ten."""

_REPORTED = re.compile(
    rb"\n(date|subject|from|sender|reply-to|to|cc|bcc|in-reply-to|message-id"
    rb"|content-(?:type|transfer-encoding|id|description|disposition|language|md5|location))"
    rb"[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)",
    re.IGNORECASE,
)
_FIELD = re.compile(rb"\n([!-9;-~]++)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)")
_FIELD_NAME = re.compile(rb"[!-9;-~]+")
_NAMES: Final = 64  # whose patterns are remembered; searches name a few
_TOKEN = rb"[!#$%&'*+\-.^_`{|}~0-9A-Za-z]++"  # RFC 2045 §5.1
_TYPE = re.compile(rb"\s*(" + _TOKEN + rb")\s*/\s*(" + _TOKEN + rb")")
_WORD = re.compile(rb"\s*(" + _TOKEN + rb")")
_PARAM = re.compile(
    rb";\s*(" + _TOKEN + rb")\s*=\s*"
    rb'(?:"((?:[^"\\]|\\.)*+)"?|([^;"]*+))',
    re.DOTALL,
)
_COMMENT = re.compile(rb"(?:^|(?<=[\s;]))\([^()]*+\)")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_CONTINUATION = re.compile(r"\*(\d{1,3})(\*?)")


def reported_fields(header: bytes) -> dict[bytes, bytes]:
    """The fields of ENVELOPE and BODYSTRUCTURE by lower-case name; of a repeated field the first counts."""
    found: dict[bytes, bytes] = {}
    for name, value in _REPORTED.findall(b"\n" + header):
        found.setdefault(name.lower(), unfold(value))
    return found


def all_fields(header: bytes) -> list[tuple[bytes, bytes]]:
    """Every field in order: (name as written, unfolded value)."""
    return [(name, unfold(value)) for name, value in _FIELD.findall(b"\n" + header)]


def fields_named(header: bytes, name: bytes) -> list[bytes]:
    """The unfolded values of the fields with this name, in any case, in order."""
    pattern = _named(name.lower())
    return [] if pattern is None else [unfold(value) for value in pattern.findall(b"\n" + header)]


@lru_cache(_NAMES)
def _named(name: bytes) -> re.Pattern[bytes] | None:
    """As _FIELD, for one name; None for what is none."""
    if not _FIELD_NAME.fullmatch(name):
        return None
    return re.compile(rb"\n%s[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)" % re.escape(name), re.IGNORECASE)


def unfold(value: bytes) -> bytes:
    """A field body without line ends and surrounding white space (RFC 5322 §2.2.3); NUL dropped, bare CR a space."""
    if b"\n" in value:
        value = value.replace(b"\r\n", b"").replace(b"\n", b"")
    value = value.strip(b" \t\r")
    if b"\r" in value:
        value = value.replace(b"\r", b" ")
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    return value


def content_type(value: bytes) -> tuple[str, str, Params] | None:
    """(type, subtype, parameters) in lower case but for the parameters' values; None where malformed."""
    value = _without_comments(value)
    match = _TYPE.match(value)
    if match is None:
        return None
    return (
        match[1].decode("ascii").lower(),
        match[2].decode("ascii").lower(),
        parameters(value, match.end()),
    )


def word_and_params(value: bytes) -> tuple[str, Params] | None:
    """A lower-case token with parameters, as in Content-Disposition (RFC 2183 §2); None where malformed."""
    value = _without_comments(value)
    match = _WORD.match(value)
    return None if match is None else (match[1].decode("ascii").lower(), parameters(value, match.end()))


def parameters(value: bytes, start: int) -> Params:
    """Parameters from an offset: names in lower case, values unquoted and otherwise as sent."""
    if value.find(b";", start) < 0:
        return ()
    found: list[tuple[str, bytes]] = []
    for match in _PARAM.finditer(value, start):
        quoted, bare = match[2], match[3]
        text = bare.strip() if quoted is None else _ESCAPED.sub(rb"\1", quoted)
        found.append((match[1].decode("ascii").lower(), text))
        if len(found) == MAX_PARAMS:
            break
    return tuple(found)


def parameter(params: Params, name: str) -> bytes | None:
    """One parameter's value, put together from its RFC 2231 pieces where it has any (its charset label dropped)."""
    pieces: dict[int, bytes] = {}
    for key, value in params:
        if key == name:
            return value
        if key.startswith(name + "*"):
            rest = key[len(name) :]
            if rest == "*":
                return _extended(value, first=True)
            match = _CONTINUATION.fullmatch(rest)
            if match is not None:
                number = int(match[1])
                pieces[number] = _extended(value, first=number == 0) if match[2] else value
    if 0 not in pieces:
        return None
    joined = b""
    for number in range(len(pieces)):
        if number not in pieces:
            break
        joined += pieces[number]
    return joined


def nstring(value: bytes | None) -> bytes:
    """IMAP's nstring (RFC 9051 §9): NIL, a quoted string, or a literal where there are octets above 127."""
    if value is None:
        return b"NIL"
    if not value.isascii() or b"\r" in value or b"\n" in value or b"\0" in value:
        value = value.replace(b"\0", b"")
        return b"{%d}\r\n%b" % (len(value), value)
    if b"\\" in value or b'"' in value:
        value = value.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return b'"%b"' % value


def _without_comments(value: bytes) -> bytes:
    # Only after white space or ";": "name=a(1).pdf" is wrong but frequent, and means what it looks like.
    return _COMMENT.sub(b"", value) if b"(" in value else value


def _extended(value: bytes, *, first: bool) -> bytes:
    """RFC 2231 §4: charset'language'percent-encoded."""
    if first and value.count(b"'") >= 2:
        value = value.split(b"'", 2)[2]
    return unquote_to_bytes(value)
