"""One submitted content in clear, which never touches a disk: octets, or from MEMORY_CONTENT on a file in memory."""

import os
from pathlib import Path

from gateway.smtp import params
from gateway.smtp.checked_header import CheckedHeader
from gateway.smtp.limits import MemoryShare
from p2pcore.client.held_file import HeldFile


class ClearContent:
    """Takes the content piece by piece, its header checked; its owner closes it, whatever happened.

    All of it counts against `memory`: the limit on what senders of large messages can hold at once.
    """

    def __init__(self, header: CheckedHeader, memory: MemoryShare) -> None:
        self._header = header
        self._memory = memory
        self._pieces: list[bytes] = []
        self._octets = 0
        self._file: HeldFile | None = None

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal (memory, header), OSError."""
        self._memory.take(len(piece))
        self._put(self._header.feed(piece))

    def finish(self) -> bytes | Path:
        """Return the content; a file is good until `close`. Raises Refusal (header), OSError."""
        self._put(self._header.finish())
        if self._file is None:
            return b"".join(self._pieces)
        self._file.file.flush()
        return self._file.path

    def close(self) -> None:
        """Free memory and file; may be called again."""
        self._pieces = []
        if self._file is not None:
            self._file.close()
            self._file = None
        self._memory.close()

    def _put(self, octets: bytes) -> None:
        self._octets += len(octets)
        if self._file is None:
            self._pieces.append(octets)
            if self._octets <= params.MEMORY_CONTENT:
                return
            self._file = HeldFile(os.fdopen(os.memfd_create("content", os.MFD_CLOEXEC), "w+b"))
            octets = b"".join(self._pieces)
            self._pieces = []
        self._file.file.write(octets)
