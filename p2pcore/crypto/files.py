"""Files whole and durable; one that is replaced holds the old octets or the new after a crash, never a part.

| crash | what is on disk |
|---|---|
| before the rename | the old file, and a temporary one that nothing reads |
| after the rename, before the directory's fsync | the old file or the new one, whole |
| after return | the new file |
"""

import os
import secrets
from pathlib import Path
from typing import Protocol

PRIVATE = 0o600
PUBLIC = 0o644


class Raw(Protocol):
    """A file without a buffer."""

    def write(self, octets: memoryview, /) -> int | None: ...


def replace_file(path: Path, octets: bytes, mode: int = PRIVATE) -> None:
    """Make `octets` the content of `path`, with exactly `mode`; durable on return. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(octets)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_all(file: Raw, octets: bytes) -> None:
    """Write `octets` to a file without a buffer; the system may take a part first, as a disk's last blocks.

    Raises OSError.
    """
    view = memoryview(octets)
    while view:
        view = view[file.write(view) or 0 :]


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
