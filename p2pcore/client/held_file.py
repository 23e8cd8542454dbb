"""A file kept readable by path after its name is gone: temporary files leave nothing behind, whatever dies when.

On Linux `/proc/self/fd/<n>` opens the same file again (with an offset of its own) as long as descriptor n is open, also
when the file has no name any more.
"""

import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self


class HeldFile:
    """An open file; `path` is good until `close`, for any number of readers."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.path = Path(f"/proc/self/fd/{file.fileno()}")

    @classmethod
    def temporary(cls, directory: Path) -> "HeldFile":
        """Return a new nameless file on the file system of `directory`. Raises OSError."""
        return cls(tempfile.TemporaryFile(dir=directory))  # close() closes it

    @classmethod
    def of(cls, path: Path) -> "HeldFile":
        """Return a hold of the file at `path`: its owner may remove or close it from now on. Raises OSError."""
        return cls(path.open("rb"))

    def close(self) -> None:
        """Let go of the file; a nameless one is freed. Idempotent."""
        self.file.close()

    def size(self) -> int:
        """Return the size in octets, including what is still buffered for writing."""
        if self.file.writable():
            self.file.flush()
        return os.fstat(self.file.fileno()).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
