"""What one of our users submits: the record that goes to her outbox, and what is done to its header; pure.

A submitted header gets Date and Message-ID where it has none (RFC 6409 §8.2, §8.3) and loses Bcc (RFC 5322 §3.6.3);
every other octet stays, in its place. New fields go to the top: there they are fields whatever follows.
"""

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from gateway.mail.address_list import has_one_reading, parse_addresses, spelled
from gateway.mail.envelope import Body
from gateway.mail.header_section import FROM_READ
from gateway.mail.mime_header import all_fields
from gateway.mail.outgoing import NewRecipient, Ret
from gateway.mail.trace import date_time
from p2pcore.errors import Malformed, NotAuthorised
from p2pcore.names import canonical_address

MAX_HEADER = 1 << 20  # octets; nobody's header is longer, and it is held whole before anything passes on

_END = re.compile(rb"(?:\A|\r\n)\r\n")
_BLIND_COPY = re.compile(rb"^(?:resent-)?bcc[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Submission:
    """What one of our users handed over; that she may write as `reverse_path` and as From has been checked.

    `content` in clear has CRLF line ends and ends in one: its octets, or a file in memory that can be read by this path
    until the call it was passed to returns. `smtputf8`: MAIL had that parameter. `ret` and `envelope_id` are RET= and
    ENVID= (xtext undone), "" for none.
    """

    reverse_path: str
    recipients: tuple[NewRecipient, ...]
    content: bytes | Path
    body: Body = "7BIT"
    smtputf8: bool = False
    ret: Ret = ""
    envelope_id: str = ""

    @property
    def forward_paths(self) -> tuple[str, ...]:
        return tuple(recipient.forward_path for recipient in self.recipients)


class HeaderRewriter:
    """Passes a content on with its header section replaced by what `rewrite` makes of it.

    Nothing passes before the header is complete. `rewrite` gets it with the empty line that ends it, if any.
    """

    def __init__(self, rewrite: Callable[[bytes], bytes]) -> None:
        self._rewrite = rewrite
        self._held = bytearray()
        self._complete = False

    def feed(self, piece: bytes) -> bytes:
        """Return what passes on. Raises Malformed (a header longer than MAX_HEADER), and what `rewrite` raises."""
        if self._complete:
            return piece
        start = max(0, len(self._held) - 3)
        self._held += piece
        end = _END.search(self._held, start)
        if (end.end() if end else len(self._held)) > MAX_HEADER:
            raise Malformed("the header section is too long")
        if end is None:
            return b""
        return self._pass(end.end())

    def finish(self) -> bytes:
        """Return what is left of a content that ended within its header. Raises what `rewrite` raises."""
        return b"" if self._complete else self._pass(len(self._held))

    def _pass(self, end: int) -> bytes:
        self._complete = True
        passed = self._rewrite(bytes(self._held[:end])) + self._held[end:]
        self._held.clear()
        return passed


def complete_header(header: bytes, now: int, message_id: str) -> bytes:
    """Return `header` without Bcc, and with Date (`now`, ms) and Message-ID (<`message_id`>) if it has none.

    It begins with no continuation line, which would continue what is put before it.
    """
    present = {name.lower() for name, _value in all_fields(header)}
    added = ""
    if b"date" not in present:
        added += f"Date: {date_time(now)}\r\n"
    if b"message-id" not in present:
        added += f"Message-ID: <{message_id}>\r\n"
    return added.encode() + _BLIND_COPY.sub(b"", header)


def check_authors(header: bytes, addresses: Collection[str]) -> None:
    """Refuse a header whose From names anybody whose canonical address is not among `addresses` (RFC 6409 §6.1).

    Raises Malformed where there is not exactly one From with at least one address, or it is longer than her recipients
    read; NotAuthorised.
    """
    fields = [value for name, value in all_fields(header) if name.lower() == b"from"]
    if len(fields) != 1:  # RFC 5322 §3.6
        raise Malformed("the header needs exactly one From field")
    if len(fields[0]) > FROM_READ:
        raise Malformed("the From field is too long")
    authors = [address for address in parse_addresses(fields[0]) if address.host is not None]
    if not authors:
        raise Malformed("From names nobody")
    for author in authors:
        text = spelled(author)
        if not is_among(text, addresses):
            raise NotAuthorised(f"From: {text[:100]}")
    if not has_one_reading(fields[0]):
        raise Malformed("the From field can be read in more than one way")


def is_among(address: str, addresses: Collection[str]) -> bool:
    """Return whether `address`, its plus-tag aside, is one of these canonical `addresses`."""
    try:
        return canonical_address(address) in addresses
    except Malformed:
        return False
