"""One message's content on its way from the wire to a sealed body: only sealed octets ever touch the disk.

| octets | where |
|---|---|
| clear, up to one segment | memory, until there is a segment to seal |
| clear, up to one segment more | memory: the sealer holds it back, since it may be the body's last |
| sealed, up to MEMORY_SEALED | memory |
| sealed, beyond | a file that never had a name; gone with the process, useless without the session key in memory |
"""

import asyncio
from pathlib import Path
from typing import Protocol

from gateway.smtp import params
from gateway.smtp.limits import MemoryShare
from p2pcore import params as core_params
from p2pcore.client.held_file import HeldFile
from p2pcore.crypto.sealing import BodySealer
from p2pcore.mail.injection import SealedContent


class Watcher(Protocol):
    """Is shown every octet in order, in blocks that end where pieces do, from a thread where there are many."""

    @property
    def held(self) -> int:
        """Octets of the content that it keeps."""
        ...

    def feed(self, block: bytes) -> None: ...

    def close(self) -> None:
        """Let go of what is held."""
        ...


class ContentSink:
    """Takes the content piece by piece and seals it; its owner closes it, whatever happened, and `watch` with it.

    Of a small content its size is counted in `memory`; from the first segment on, what is held, by `watch` as well.
    """

    def __init__(self, directory: Path, memory: MemoryShare, watch: Watcher | None = None) -> None:
        self._directory = directory
        self._memory = memory
        self._watch = watch
        self._gathered = bytearray()  # not a list of pieces: a client that sends octet by octet must not cost more
        self._sealer = BodySealer()
        self._sealed: list[bytes] = []
        self._sealed_octets = 0
        self._counted = 0  # of what has left `_gathered`
        self._file: HeldFile | None = None

    async def add(self, piece: bytes) -> None:
        """Take the next piece. Raises Refusal (memory), OSError (disk), and what `watch` raises."""
        self._memory.take(len(piece))
        self._gathered += piece
        if len(self._gathered) >= params.SEAL_CHUNK:
            gathered, self._gathered = self._gathered, bytearray()
            await asyncio.to_thread(self._seal, gathered)
            self._memory.give_back(len(gathered) + self._counted)
            self._counted = core_params.SEGMENT_SIZE + self._sealed_octets + (self._watch.held if self._watch else 0)
            self._memory.take(self._counted)

    async def finish(self) -> SealedContent:
        """Seal what is left; a `source` that is a path is good until `close`. Raises OSError (disk)."""
        if len(self._gathered) > params.INLINE_SEAL or self._sealer.content_size:
            await asyncio.to_thread(self._finish)
        else:
            self._finish()
        sealer = self._sealer
        source = b"".join(self._sealed) if self._file is None else self._file.path
        self._sealed = []
        return SealedContent(sealer.session_key, sealer.digest, sealer.sealed_size, sealer.content_size, source)

    def close(self) -> None:
        """Free memory and file; may be called again."""
        self._gathered, self._sealed = bytearray(), []
        if self._counted:
            self._sealer = BodySealer()
        if self._watch is not None:
            self._watch.close()
        if self._file is not None:
            self._file.close()
            self._file = None
        self._memory.close()

    def _seal(self, gathered: bytearray) -> None:
        if self._watch is not None:
            self._watch.feed(bytes(gathered))
        self._put(self._sealer.update(gathered))

    def _finish(self) -> None:
        gathered, self._gathered = self._gathered, bytearray()
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
