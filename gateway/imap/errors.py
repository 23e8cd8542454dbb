"""What ends a command other than OK; each error carries its tagged status, response code and text.

ImapError
├── No      the command was understood and failed (RFC 3501 §7.1.2)
├── Bad     the command was not understood (RFC 3501 §7.1.3)
└── Bye     the server closes the connection (RFC 3501 §7.1.5)
"""

from typing import ClassVar


class ImapError(Exception):
    """Base; `code` is a response code without its brackets (RFC 3501 §7.1, RFC 5530)."""

    status: ClassVar[bytes] = b"NO"

    def __init__(self, text: str, code: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.code = code


class No(ImapError):
    status = b"NO"


class Bad(ImapError):
    status = b"BAD"


class Bye(ImapError):
    status = b"BYE"
