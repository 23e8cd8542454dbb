"""AES-256-GCM in segments: truncation, reordering and splicing fail, and no more than a segment is held in memory.

Layout: one length octet, a records.BodyHeader of that length, then segments as the header's docstring says.
"""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pcore.errors import Malformed, Tampered
from p2pcore.records import BodyHeader, decode, encode

KEY_SIZE = 32
TAG_SIZE = 16
MAX_HEADER = 256  # octets, with the length octet

Octets = bytes | bytearray | memoryview


@lru_cache(8)
def header_octets(segment_size: int) -> bytes:
    """Return the header, which is also the associated data of every segment, without its length octet."""
    return encode(BodyHeader("aes-256-gcm", segment_size))


def read_header(octets: Octets) -> tuple[bytes, int] | None:
    """Return (header, its segment size) from the first octets; None: too few of them yet. Raises Tampered."""
    if not octets or len(octets) < 1 + octets[0]:
        return None
    header = bytes(octets[1 : 1 + octets[0]])
    try:
        return header, decode(BodyHeader, header).segment_size
    except Malformed as error:
        raise Tampered(f"header of sealed segments: {error}") from error


def segments_of(plain_size: int, segment_size: int) -> int:
    """Return how many segments `plain_size` octets make: at least one."""
    return max(1, -(-plain_size // segment_size))


def total_size(plain_size: int, segment_size: int) -> int:
    """Return the size of header and segments around `plain_size` octets."""
    return 1 + len(header_octets(segment_size)) + plain_size + TAG_SIZE * segments_of(plain_size, segment_size)


class SegmentCipher:
    """The cipher of one key's segments; one key is for one sequence of segments only."""

    def __init__(self, key: bytes, header: bytes) -> None:
        self._cipher = AESGCM(key)
        self._header = header

    def seal(self, number: int, plain: Octets, *, last: bool) -> bytes:
        """Return the sealed segment, TAG_SIZE octets longer."""
        return self._cipher.encrypt(_nonce(number, last=last), plain, self._header)

    def open(self, number: int, sealed: Octets, *, last: bool) -> bytes:
        """Return the plaintext of segment `number`. Raises Tampered."""
        try:
            return self._cipher.decrypt(_nonce(number, last=last), sealed, self._header)
        except InvalidTag as error:
            raise Tampered(f"sealed segment {number} does not open") from error


def _nonce(number: int, *, last: bool) -> bytes:
    return b"\x00\x00\x00" + number.to_bytes(8, "big") + (b"\x01" if last else b"\x00")


class SegmentSealer:
    """Cuts a stream into sealed segments; the last is held back, since it is marked as such."""

    def __init__(self, key: bytes, segment_size: int) -> None:
        header = header_octets(segment_size)
        self.size = 0
        self._cipher = SegmentCipher(key, header)
        self._opening = bytes([len(header)]) + header
        self._segment_size = segment_size
        self._pending = bytearray()
        self._segments = 0
        self._hash = hashlib.sha256()
        self._finished = False

    def update(self, data: Octets) -> list[bytes]:
        """Take more plaintext; return the sealed octets that are ready, in order (often none)."""
        if self._finished:
            raise ValueError("the last segment is sealed")
        pieces: list[bytes] = []
        view, start = memoryview(data), 0
        while len(self._pending) + len(view) - start > self._segment_size:
            end = start + self._segment_size - len(self._pending)
            if self._pending:
                self._pending += view[start:end]
                self._seal(self._pending, pieces, last=False)
                self._pending = bytearray()
            else:
                self._seal(view[start:end], pieces, last=False)
            start = end
        self._pending += view[start:]
        return pieces

    def finish(self) -> list[bytes]:
        """Return the last sealed octets; `size` and `digest` are then those of everything returned."""
        if self._finished:
            raise ValueError("the last segment is sealed")
        self._finished = True
        pieces: list[bytes] = []
        self._seal(self._pending, pieces, last=True)
        self._pending = bytearray()
        return pieces

    @property
    def digest(self) -> bytes:
        """SHA-256 of everything returned, once finished."""
        if not self._finished:
            raise ValueError("the last segment is not sealed")
        return self._hash.digest()

    def _seal(self, segment: Octets, pieces: list[bytes], *, last: bool) -> None:
        if not self._segments:
            self._put(self._opening, pieces)
        self._put(self._cipher.seal(self._segments, segment, last=last), pieces)
        self._segments += 1

    def _put(self, piece: bytes, pieces: list[bytes]) -> None:
        self._hash.update(piece)
        self.size += len(piece)
        pieces.append(piece)
