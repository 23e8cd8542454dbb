"""Responses in wire form (RFC 3501 §7): values in, octets out."""

import re
from collections.abc import Iterable
from functools import lru_cache

from gateway.imap.mailbox_names import DELIMITER, encode_mailbox_name
from gateway.mailbox.model import EPOCH, MessageRow, shown_time

_ASTRING = re.compile(rb"[!#$&'+,\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]+\Z")
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*\Z")  # RFC 3501 §9: TEXT-CHAR
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")
_FLAG_SETS = 1_024  # that are remembered in wire form: a mailbox has a few
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

SYSTEM_FLAGS = ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")
RECENT = "\\Recent"
_FLAG_ORDER = {flag: place for place, flag in enumerate((RECENT, *SYSTEM_FLAGS))}


def safe_text(text: str, limit: int = 300) -> str:
    """Text that can stand in a response line whatever it quotes."""
    return _UNPRINTABLE.sub("?", text)[:limit]


def status(tag: str, word: bytes, text: str, code: str | None = None) -> bytes:
    """A tagged or (tag "*") untagged status response (RFC 3501 §7.1)."""
    bracket = f"[{code}] " if code else ""
    return f"{tag} ".encode("ascii") + word + f" {bracket}{safe_text(text) or 'done'}\r\n".encode("ascii")


def string(value: bytes) -> bytes:
    """A quoted string, or a literal where a quoted string cannot hold it (RFC 3501 §4.3)."""
    if len(value) <= 1_000 and _QUOTABLE.match(value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n" % len(value) + value


def astring(value: bytes) -> bytes:
    """An atom if it can be one, else a string."""
    return value if _ASTRING.match(value) and value.upper() != b"NIL" else string(value)


def mailbox(name: str, *, utf8: bool) -> bytes:
    """A mailbox name in modified UTF-7, or with `utf8` as it is (RFC 6855 §3, RFC 9051 §5.1)."""
    if not utf8:
        return astring(encode_mailbox_name(name))
    value = name.encode("utf-8")
    return astring(value) if value.isascii() else b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


@lru_cache(_FLAG_SETS)
def flags(names: frozenset[str], recent: bool = False) -> bytes:
    """`(\\Seen $Label1)`: system flags first, in one order; with `recent` \\Recent among them."""
    ordered = sorted(
        names | {RECENT} if recent else names, key=lambda flag: (_FLAG_ORDER.get(flag, len(_FLAG_ORDER)), flag)
    )
    return f"({' '.join(ordered)})".encode("ascii")


def internal_date(row: MessageRow) -> bytes:
    """A quoted date-time (RFC 3501 §9) in the zone that the message came with."""
    shown = shown_time(row.internal_date, row.zone)
    when, minutes = (EPOCH, 0) if shown is None else (shown, row.zone)
    sign = "-" if minutes < 0 else "+"
    zone = f"{sign}{abs(minutes) // 60:02d}{abs(minutes) % 60:02d}"
    day = f"{when.day:2d}-{_MONTHS[when.month - 1]}-{when.year:04d}"  # date-day-fixed pads with a space
    return f'"{day} {when.hour:02d}:{when.minute:02d}:{when.second:02d} {zone}"'.encode("ascii")


def list_line(word: bytes, attributes: Iterable[str], name: str, extended: bytes = b"", *, utf8: bool) -> bytes:
    """`* LIST (…) "/" name` (RFC 3501 §7.2.2, RFC 5258 §3)."""
    attribute_list = " ".join(attributes).encode("ascii")
    return b'* %s (%s) "%s" %s%s\r\n' % (
        word,
        attribute_list,
        DELIMITER.encode("ascii"),
        mailbox(name, utf8=utf8),
        extended,
    )
