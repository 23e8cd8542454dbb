"""Content-Transfer-Encodings taken off piece by piece (RFC 2045 §6): octets are fed in, decoded ones come out.

What is not well encoded is decoded as far as it goes; nothing is raised.
"""

import binascii
from typing import Final, Protocol

_NOT_BASE64: Final = bytes(set(range(256)) - set(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"))


class TransferDecoder(Protocol):
    """One body on its way; holds back at most a line of what it was fed."""

    def feed(self, octets: bytes) -> bytes:
        """Take more of the body; return what of it can be decoded now."""

    def finish(self) -> bytes:
        """Return what is left at the body's end."""


class Identity:
    """7bit, 8bit and binary."""

    def feed(self, octets: bytes) -> bytes:
        return octets

    def finish(self) -> bytes:
        return b""


class Base64:
    """RFC 2045 §6.8: characters outside the alphabet are passed over."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, octets: bytes) -> bytes:
        digits = self._left + octets.translate(None, _NOT_BASE64)
        whole = len(digits) - len(digits) % 4
        self._left = digits[whole:]
        return binascii.a2b_base64(digits[:whole])

    def finish(self) -> bytes:
        left, self._left = self._left, b""
        return binascii.a2b_base64(left + b"=" * (4 - len(left))) if len(left) > 1 else b""


class QuotedPrintable:
    """RFC 2045 §6.7."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, octets: bytes) -> bytes:
        octets = self._left + octets
        # Cut behind a line's end, where a soft line break is whole; else before an escape that may not be.
        cut = octets.rfind(b"\n") + 1
        if not cut:
            escape = octets.rfind(b"=", max(len(octets) - 2, 0))
            cut = len(octets) if escape < 0 else escape
        self._left = octets[cut:]
        return binascii.a2b_qp(octets[:cut])

    def finish(self) -> bytes:
        left, self._left = self._left, b""
        return binascii.a2b_qp(left)


def transfer_decoder(encoding: str) -> TransferDecoder | None:
    """A decoder for an encoding in lower case; None if it is not known."""
    match encoding:
        case "7bit" | "8bit" | "binary" | "":
            return Identity()
        case "base64":
            return Base64()
        case "quoted-printable":
            return QuotedPrintable()
    return None
