"""Mailbox names: the one spelling under which each is kept."""

import unicodedata
from collections.abc import Iterator
from typing import Final

from gateway.mailbox.errors import InvalidMailboxName, TooLarge
from gateway.mailbox.params import MAX_NAME

DELIMITER: Final = "/"
INBOX: Final = "INBOX"


def canonical(name: str) -> str:
    """NFC, and INBOX in upper case as a first level (RFC 9051 §5.1); raises InvalidMailboxName, TooLarge (LIMIT).

    "*" and "%" are refused since LIST could not name such a mailbox, and control characters since IMAP cannot.
    """
    name = unicodedata.normalize("NFC", name)
    if len(name.encode("utf-8", "surrogatepass")) > MAX_NAME:
        raise TooLarge(f"a mailbox name has at most {MAX_NAME} octets", "LIMIT")
    first, delimiter, rest = name.partition(DELIMITER)
    if first.upper() == INBOX:
        name = INBOX + delimiter + rest
    if not all(name.split(DELIMITER)):
        raise InvalidMailboxName(f"mailbox name with an empty level: {name!r}")
    if any(character in "*%" or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise InvalidMailboxName(f"mailbox name with a character that is not allowed: {name!r}")
    return name


def superiors(name: str) -> Iterator[str]:
    """The names above it, outermost first."""
    levels = name.split(DELIMITER)
    for count in range(1, len(levels)):
        yield DELIMITER.join(levels[:count])
