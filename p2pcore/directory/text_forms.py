"""Invitations, requests and answers as text that survives mail and terminals: base64url lines with a checksum.

    -----BEGIN P2PMAIL JOIN REQUEST-----
    lines of at most 64 characters of base64url (RFC 4648 §5, no padding)
    -----END P2PMAIL JOIN REQUEST-----

The lines together encode: the record's canonical encoding ‖ the first 8 octets of SHA-256(title ‖ 0x00 ‖ record), where
title is the capitals of the first line, "JOIN REQUEST" here. The checksum is against slips; what must be authentic is
authenticated inside. Text before and after is ignored, and so are blanks within.
"""

import base64
import binascii
import hashlib
import re
from typing import Final, TypeVar

from p2pcore.errors import Malformed
from p2pcore.records import Invitation, JoinAnswer, JoinRequest, KeyRequest, Record, decode, encode

Pasted = Invitation | JoinRequest | JoinAnswer | KeyRequest
P = TypeVar("P", bound=Invitation | JoinRequest | JoinAnswer | KeyRequest)

LINE: Final = 64  # characters: no mail client wraps them (RFC 5322 §2.1.1: 78)
CHECKSUM: Final = 8  # octets
MAX_TEXT: Final = 8 << 20  # characters: the largest domain record fits

_TITLES: Final[dict[type[Record], str]] = {
    Invitation: "INVITATION",
    JoinRequest: "JOIN REQUEST",
    JoinAnswer: "JOIN ANSWER",
    KeyRequest: "KEY REQUEST",
}
_BEGIN: Final = re.compile(r"-----BEGIN P2PMAIL ([A-Z ]{1,40})-----")
_OTHER: Final = re.compile(r"[^A-Za-z0-9_-]")


def to_text(record: Pasted) -> str:
    """Return the text form of `record`, ending with a newline."""
    title = _TITLES[type(record)]
    octets = encode(record)
    text = base64.urlsafe_b64encode(octets + _checksum(title, octets)).decode().rstrip("=")
    lines = [text[start : start + LINE] for start in range(0, len(text), LINE)]
    return "\n".join([f"-----BEGIN P2PMAIL {title}-----", *lines, f"-----END P2PMAIL {title}-----", ""])


def from_text(kind: type[P], text: str) -> P:
    """Return the `kind` record in `text`. Raises Malformed, saying what to do about it."""
    title = _TITLES[kind]
    if len(text) > MAX_TEXT:
        raise Malformed(f"{title.lower()}: text of {len(text)} characters, above {MAX_TEXT}")
    payload = "".join(_between(title, text).split())
    stray = _OTHER.search(payload)
    if stray:
        raise Malformed(f"{title.lower()}: the character {stray.group()!r} does not belong there; copy the text again")
    try:
        octets = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"{title.lower()}: a part of the text is missing; copy all of it") from error
    content, checksum = octets[:-CHECKSUM], octets[-CHECKSUM:]
    if checksum != _checksum(title, content):
        raise Malformed(f"{title.lower()}: the checksum does not match, so a part is missing or changed; copy it again")
    return decode(kind, content)


def is_form_of(kind: type[Pasted], text: str) -> bool:
    """Return whether `text` begins as a `kind` does, whatever else is wrong with it."""
    begin = _BEGIN.search(text)
    return begin is not None and begin[1] == _TITLES[kind]


def _between(title: str, text: str) -> str:
    begin = _BEGIN.search(text)
    if begin is None:
        raise Malformed(f'{title.lower()}: no line "-----BEGIN P2PMAIL {title}-----" in the text')
    if begin[1] != title:
        raise Malformed(f"this text is the {begin[1].lower()}, and the {title.lower()} is wanted")
    end = text.find(f"-----END P2PMAIL {title}-----", begin.end())
    if end < 0:
        raise Malformed(f'{title.lower()}: the line "-----END P2PMAIL {title}-----" is missing; copy all of the text')
    return text[begin.end() : end]


def _checksum(title: str, octets: bytes) -> bytes:
    return hashlib.sha256(title.encode() + b"\x00" + octets).digest()[:CHECKSUM]
