"""Local files sealed in segments, each under a key of its own, readable at any offset (mailbox content files)."""

import os
from typing import BinaryIO

from p2pcore.crypto.segments import MAX_HEADER, TAG_SIZE, Octets, SegmentCipher, SegmentSealer, read_header
from p2pcore.errors import Tampered

FILE_SEGMENT = 64 * 1024  # octets: what reading a few of them costs


class SegmentWriter:
    """Seals what is written to `file`, a binary file open for writing that the caller syncs and closes.

    `key` (32 octets) is for this one file.
    """

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        self.size = 0
        self._file = file
        self._sealer = SegmentSealer(key, FILE_SEGMENT)

    def write(self, data: Octets) -> None:
        """Append plaintext; `size` counts it. Raises OSError."""
        for piece in self._sealer.update(data):
            self._file.write(piece)
        self.size += len(data)

    def finish(self) -> None:
        """Write the last segment and flush; nothing is durable before the caller's fsync. Raises OSError."""
        for piece in self._sealer.finish():
            self._file.write(piece)
        self._file.flush()


class SegmentReader:
    """Opens parts of a file that a SegmentWriter finished; the caller closes it."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        """Raises Tampered (no header, or a size that no SegmentWriter makes), OSError."""
        self._descriptor = file.fileno()
        read = read_header(os.pread(self._descriptor, MAX_HEADER, 0))
        if read is None:
            raise Tampered("sealed file ends in its header")
        header, self._segment_size = read
        self._start = 1 + len(header)
        self._cipher = SegmentCipher(key, header)
        whole = self._segment_size + TAG_SIZE
        sealed = os.fstat(self._descriptor).st_size - self._start
        self._segments = -(-sealed // whole)
        self.size = sealed - TAG_SIZE * self._segments
        if sealed < TAG_SIZE or (self._segments > 1 and self.size <= (self._segments - 1) * self._segment_size):
            raise Tampered(f"sealed file of {sealed} octets is truncated")
        self._opened = (-1, b"")  # the segment read last, for readers that go on where they stopped

    def read(self, offset: int = 0, length: int | None = None) -> bytes:
        """Return up to `length` octets from `offset` (None: to the end); fewer only at the end.

        A file cut at a segment's end is noticed where its last segment is read. Raises Tampered, OSError.
        """
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("negative offset or length")
        end = self.size if length is None else min(self.size, offset + length)
        if offset >= end and self.size:
            return b""
        first = offset // self._segment_size
        last = max(first, (end - 1) // self._segment_size)
        pieces = []
        for number in range(first, last + 1):
            begin = number * self._segment_size
            pieces.append(self._segment(number)[max(0, offset - begin) : end - begin])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _segment(self, number: int) -> bytes:
        if self._opened[0] != number:
            whole = self._segment_size + TAG_SIZE
            sealed = os.pread(self._descriptor, whole, self._start + number * whole)
            plain = self._cipher.open(number, sealed, last=number == self._segments - 1)
            self._opened = (number, plain)
        return self._opened[1]
