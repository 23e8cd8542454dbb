"""A large APPEND on its way in: an unlinked temporary file, so that no crash leaves clear mail lying about."""

import asyncio
import tempfile
from pathlib import Path

from p2pcore.crypto.files import write_all


class Spool:
    """One literal's octets, `size` of them once all have come. Use `open`; whoever opens it closes it."""

    def __init__(self, directory: Path | None, size: int) -> None:
        self.size = size
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115 (closed by its owner)

    @classmethod
    async def open(cls, directory: Path | None, size: int) -> "Spool":
        return await asyncio.to_thread(cls, directory, size)

    @property
    def path(self) -> Path:
        """A path under which this process can read the file although it has no name."""
        return Path(f"/proc/self/fd/{self._file.fileno()}")

    async def write(self, data: bytes) -> None:
        """Append octets. Raises OSError (no room)."""
        await asyncio.to_thread(write_all, self._file, data)

    def close(self) -> None:
        self._file.close()
