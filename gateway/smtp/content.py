"""One message's content on its way from the wire to a sealed body: only sealed octets ever touch the disk.

| octets | where |
|---|---|
| clear, up to one segment | memory, until there is a segment to seal |
| clear, for DKIM | memory, up to VERIFY_CONTENT, only where DKIM will be checked |
| sealed, up to MEMORY_SEALED | memory |
| sealed, beyond | a file that never had a name; gone with the process, useless without the session key in memory |
"""

import asyncio
from pathlib import Path

from gateway.smtp import params
from gateway.smtp.limits import MemoryShare
from p2pcore.client.held_file import HeldFile
from p2pcore.crypto.sealing import BodySealer
from p2pcore.mail.injection import SealedContent


class ContentSink:
    """Takes the content piece by piece and seals it; its owner closes it, whatever happened."""

    def __init__(self, directory: Path, memory: MemoryShare, *, keep_clear: bool) -> None:
        self._directory = directory
        self._memory = memory
        self._clear: list[bytes] | None = [] if keep_clear else None
        self._clear_octets = 0
        self._gathered: list[bytes] = []
        self._gathered_octets = 0
        self._sealer = BodySealer()
        self._sealed: list[bytes] = []
        self._sealed_octets = 0
        self._file: HeldFile | None = None

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal (memory), OSError (disk)."""
        if not piece:
            return
        self._memory.take(len(piece))
        self._gathered.append(piece)
        self._gathered_octets += len(piece)
        self._keep(piece)
        if self._gathered_octets >= params.SEAL_CHUNK:
            gathered, octets = self._gathered, self._gathered_octets
            self._gathered, self._gathered_octets = [], 0
            before = self._sealed_octets
            await asyncio.to_thread(self._seal, gathered)
            self._memory.give_back(octets)
            self._memory.take(max(0, self._sealed_octets - before))

    async def finish(self) -> SealedContent:
        """Seal what is left; a `source` that is a path is good until `close`. Raises OSError (disk)."""
        if self._gathered_octets > params.INLINE_SEAL or self._sealer.content_size:
            await asyncio.to_thread(self._finish)
        else:
            self._finish()
        sealer = self._sealer
        source = b"".join(self._sealed) if self._file is None else self._file.path
        self._sealed = []
        return SealedContent(sealer.session_key, sealer.digest, sealer.sealed_size, sealer.content_size, source)

    def clear(self) -> bytes | None:
        """Return the content, or None where it was not kept or has become too large to keep."""
        return None if self._clear is None else b"".join(self._clear)

    def forget_clear(self) -> None:
        """Let go of the clear content: verification is over."""
        if self._clear is not None:
            self._clear = None
            self._memory.give_back(self._clear_octets * params.DKIM_COPIES)

    def close(self) -> None:
        """Free memory and file; may be called again."""
        self._clear, self._gathered, self._sealed = None, [], []
        if self._file is not None:
            self._file.close()
            self._file = None
        self._memory.close()

    def _keep(self, piece: bytes) -> None:
        if self._clear is None:
            return
        if self._clear_octets + len(piece) > params.VERIFY_CONTENT:
            self.forget_clear()
            return
        self._memory.take(len(piece) * params.DKIM_COPIES)
        self._clear.append(piece)
        self._clear_octets += len(piece)

    def _seal(self, pieces: list[bytes]) -> None:
        for piece in pieces:
            self._put(self._sealer.update(piece))

    def _finish(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._seal(gathered)
        self._put(self._sealer.finish())
        if self._file is not None:
            self._file.file.flush()

    def _put(self, sealed: list[bytes]) -> None:
        if self._file is None:
            self._sealed += sealed
            self._sealed_octets += sum(map(len, sealed))
            # the last segment is still in the sealer, so the body will be larger than what is here
            if self._sealed_octets <= params.MEMORY_SEALED:
                return
            self._file = HeldFile.temporary(self._directory)
            sealed, self._sealed, self._sealed_octets = self._sealed, [], 0
        for piece in sealed:
            self._file.file.write(piece)
