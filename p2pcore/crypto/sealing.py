"""Sealing and opening bodies in one pass, with at most two segments in memory (docs/formats.md §6).

A sealed body is laid out by records.BodyHeader; notifications and address lists are sealed in `notifications`, whose
names stand here too.
"""

import secrets

from p2pcore import params
from p2pcore.crypto.notifications import NotificationSealer, open_addresses, open_notification, seal_addresses
from p2pcore.crypto.segments import (
    KEY_SIZE,
    MAX_HEADER,
    TAG_SIZE,
    Octets,
    SegmentCipher,
    SegmentSealer,
    read_header,
    total_size,
)
from p2pcore.errors import Tampered

__all__ = [
    "BodyOpener",
    "BodySealer",
    "NotificationSealer",
    "open_addresses",
    "open_body",
    "open_notification",
    "padme",
    "seal_addresses",
    "sealed_size",
]


def padme(size: int) -> int:
    """Return the Padmé size of `size` octets: at most 12 % more, and only O(log log) bits of the size stay visible.

    Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with PURBs", algorithm 1.
    """
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    mask = (1 << (exponent - exponent.bit_length())) - 1
    return (size + mask) & ~mask


def sealed_size(content_size: int) -> int:
    """Return the size of the sealed body of `content_size` octets."""
    return total_size(padme(content_size), params.SEGMENT_SIZE)


class BodySealer:
    """Seals one body as it arrives; pure CPU, so callers use a thread for more than some 64 KiB at a time.

    A session key seals one body only: giving one is for test vectors.
    """

    def __init__(self, session_key: bytes | None = None) -> None:
        self.session_key = secrets.token_bytes(KEY_SIZE) if session_key is None else session_key
        self.content_size = 0
        self._segments = SegmentSealer(self.session_key, params.SEGMENT_SIZE)

    def update(self, data: Octets) -> list[bytes]:
        """Take more content; return the sealed octets that are ready, in order (often none)."""
        pieces = self._segments.update(data)
        self.content_size += len(data)
        return pieces

    def finish(self) -> list[bytes]:
        """Pad, and return the last sealed octets; from now on `digest` and the sizes are those of the whole body."""
        pieces: list[bytes] = []
        padding = padme(self.content_size) - self.content_size
        zeros = memoryview(bytes(min(padding, params.SEGMENT_SIZE)))
        while padding:
            pieces += self._segments.update(zeros[:padding])
            padding -= min(padding, len(zeros))
        return pieces + self._segments.finish()

    @property
    def sealed_size(self) -> int:
        """Octets returned so far."""
        return self._segments.size

    @property
    def digest(self) -> bytes:
        """SHA-256 of the sealed body, once it is finished."""
        return self._segments.digest


class BodyOpener:
    """Opens one sealed body as it arrives. Every piece returned is authentic; that none is missing, `finish` says."""

    def __init__(self, session_key: bytes, content_size: int) -> None:
        self._session_key = session_key
        self._cipher: SegmentCipher | None = None
        self._whole = 0  # octets of a sealed segment that is not the last
        self._pending = bytearray()
        self._segments = 0
        self._content_left = content_size
        self._padding_left = padme(content_size) - content_size
        self._finished = False

    def update(self, sealed: Octets) -> list[bytes]:
        """Take more of the sealed body; return the content that is ready, in order (often none). Raises Tampered."""
        if self._finished:
            raise ValueError("the body is finished")
        view, start = memoryview(sealed), 0
        if self._cipher is None:
            start = min(len(view), MAX_HEADER - len(self._pending))
            self._pending += view[:start]
            self._cipher = self._begin()
        pieces: list[bytes] = []
        if self._cipher is None:
            return pieces
        while len(self._pending) + len(view) - start > self._whole:
            end = start + self._whole - len(self._pending)
            if self._pending:
                self._pending += view[start:end]
                self._open(self._cipher, self._pending, pieces, last=False)
                self._pending = bytearray()
            else:
                self._open(self._cipher, view[start:end], pieces, last=False)
            start = end
        self._pending += view[start:]
        return pieces

    def finish(self) -> list[bytes]:
        """Return the last of the content. Raises Tampered: truncated, reordered, too long, or padding not zero."""
        if self._finished:
            raise ValueError("the body is finished")
        self._finished = True
        if self._cipher is None:
            raise Tampered("sealed body ends in its header")
        pieces: list[bytes] = []
        self._open(self._cipher, self._pending, pieces, last=True)
        if self._content_left or self._padding_left:
            raise Tampered("sealed body is shorter than its content's size says")
        return pieces

    def _begin(self) -> SegmentCipher | None:
        read = read_header(self._pending)
        if read is None:
            return None
        header, segment_size = read
        self._whole = segment_size + TAG_SIZE
        del self._pending[: 1 + len(header)]
        return SegmentCipher(self._session_key, header)

    def _open(self, cipher: SegmentCipher, segment: Octets, pieces: list[bytes], *, last: bool) -> None:
        plain = cipher.open(self._segments, segment, last=last)
        self._segments += 1
        content = plain if len(plain) <= self._content_left else plain[: self._content_left]
        self._content_left -= len(content)
        padding = len(plain) - len(content)
        if padding > self._padding_left or plain.count(0, len(content)) != padding:
            raise Tampered("padding of a sealed body is too long or not zero")
        self._padding_left -= padding
        if content:
            pieces.append(content)


def open_body(session_key: bytes, content_size: int, sealed: bytes) -> bytes:
    """Return the content of a whole sealed body. Raises Tampered."""
    opener = BodyOpener(session_key, content_size)
    pieces = opener.update(sealed)
    pieces += opener.finish()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
