"""Authentication-Results that a message came with, and that claim to be ours (RFC 8601 §5); pure.

Such a field is not removed but renamed, to a name of the same length: nothing else of the message moves or changes, a
reader still sees what was claimed, and no program takes it for the field that we put above.
"""

import re
from collections.abc import Callable, Collection

from p2pcore.errors import Malformed
from p2pcore.names import canonical_domain

MAX_HEADER = 1 << 20  # octets: no gateway takes a longer header section
MARK = b"X-Claimed-Auth-Results"
_NAME = b"authentication-results"

# Any line end begins a line here, since some reader may take it for one; white space before the colon is obsolete
_FIELD = re.compile(rb"(?:\A|[\r\n])(%b)[ \t]*:((?:[^\r\n]|(?:\r\n|[\r\n])[ \t])*)" % _NAME, re.IGNORECASE)
_IDENTIFIER = re.compile(rb'"((?:[^"\\]|\\.)*)"|([^\s;()"]+)', re.DOTALL)


def claims(header: bytes, is_ours: Callable[[str], bool]) -> list[int]:
    """Return where the names of the fields stand whose authserv-id `is_ours`, or cannot be read."""
    found: list[int] = []
    if _NAME not in header.lower():
        return found
    for field in _FIELD.finditer(header):
        identifier = authserv_id(field[2])
        if identifier is None or is_ours(identifier):
            found.append(field.start(1))
    return found


def header_end(start: bytes) -> int:
    """Return where the header section ends in the first octets of a message, at MAX_HEADER at the latest."""
    if start.startswith(b"\r\n"):
        return 0
    end = start.find(b"\r\n\r\n", 0, MAX_HEADER)
    return end + 2 if end >= 0 else min(len(start), MAX_HEADER)


def authserv_id(value: bytes) -> str | None:
    """Return the authserv-id that an Authentication-Results field's value begins with (RFC 8601 §2.2); None: none."""
    position = _after_comments(value)
    match = None if position is None else _IDENTIFIER.match(value, position)
    if match is None:
        return None
    quoted = match[1] is not None
    octets = re.sub(rb"\\(.)", rb"\1", match[1], flags=re.DOTALL) if quoted else match[2]
    try:
        return octets.decode().strip()
    except UnicodeDecodeError:
        return None


def names_us(domain: str, hosts: Collection[str]) -> Callable[[str], bool]:
    """Return whether an authserv-id is `domain`, one of its subdomains, or one of `hosts`, in U-labels or A-labels."""

    def is_ours(identifier: str) -> bool:
        name = _canonical(identifier)
        return name == domain or name.endswith(f".{domain}") or name in {_canonical(host) for host in hosts if host}

    return is_ours


def _after_comments(value: bytes) -> int | None:
    """Return where the first octet stands that is neither white space nor in a comment (RFC 5322 §3.2.2)."""
    position, depth = 0, 0
    while position < len(value):
        octet = value[position : position + 1]
        if octet == b"\\" and depth:
            position += 1
        elif octet == b"(":
            depth += 1
        elif octet == b")" and depth:
            depth -= 1
        elif not depth and not octet.isspace():
            return position
        position += 1
    return None


def _canonical(name: str) -> str:
    name = name.strip().rstrip(".").lower()
    try:
        return canonical_domain(name)
    except Malformed:
        return name
