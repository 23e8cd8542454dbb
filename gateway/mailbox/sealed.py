"""Content files: sealed in segments (p2pcore.crypto.streams) under a random key each, which only the database holds.

Size and key stand in the content's row; the file's name tells nothing.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.params import WRITE_CHUNK
from p2pcore.crypto.streams import FILE_SEGMENT, SegmentReader, SegmentWriter
from p2pcore.errors import Tampered

KEY: Final = 32


class SealedDirectory:
    """The directory of an account's content files."""

    def __init__(self, path: Path) -> None:
        """`path` exists."""
        self.path = path

    def write(self, octets: memoryview) -> tuple[str, bytes]:
        """Seal octets into a new file and fsync it; gives its name and key. `sync` makes the name durable."""
        name, file_key = secrets.token_hex(16), secrets.token_bytes(KEY)
        path = self.path / name
        with open(path, "xb", opener=_private) as file:
            try:
                writer = SegmentWriter(file, file_key)
                for start in range(0, len(octets), WRITE_CHUNK):
                    writer.write(octets[start : start + WRITE_CHUNK])
                writer.finish()
                os.fsync(file.fileno())
            except BaseException:
                path.unlink(missing_ok=True)
                raise
        return name, file_key

    def sync(self) -> None:
        """Make the names of written files durable."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def pieces(self, name: str, file_key: bytes, size: int, offset: int, length: int) -> Iterator[bytes]:
        """Clear octets [offset, offset + length) of a file of `size` clear octets, opening only their segments.

        Raises StoreDamaged if the file is missing, cut or changed.
        """
        end = min(offset + length, size)
        try:
            with open(self.path / name, "rb", buffering=0) as file:
                reader = SegmentReader(file, file_key)
                if reader.size != size:
                    raise StoreDamaged(f"the content file {name} has {reader.size} octets, not {size}")
                while offset < end:
                    until = min((offset // FILE_SEGMENT + 1) * FILE_SEGMENT, end)
                    yield reader.read(offset, until - offset)
                    offset = until
        except (FileNotFoundError, Tampered) as error:
            raise StoreDamaged(f"the content file {name} is missing or damaged") from error

    def remove(self, names: Iterable[str]) -> None:
        """Unlink files that no row names; one that cannot be now is removed at the next open."""
        for name in names:
            try:
                (self.path / name).unlink(missing_ok=True)
            except OSError:
                continue

    def remove_except(self, kept: set[str]) -> None:
        """Unlink everything that no row names."""
        self.remove(name for name in os.listdir(self.path) if name not in kept)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
