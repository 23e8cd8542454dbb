"""Replacing a file durably: after a crash it holds the old octets or the new, never a part.

| crash | what is on disk |
|---|---|
| before the rename | the old file, and a temporary one that nothing reads |
| after the rename, before the directory's fsync | the old file or the new one, whole |
| after return | the new file |
"""

import os
import secrets
from pathlib import Path

PRIVATE = 0o600
PUBLIC = 0o644


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


def sync_directory(directory: Path) -> None:
    """Make the names in `directory` durable. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
