"""Content files: sealed in segments (p2pcore.crypto.streams) under a random key each, which only the database holds.

Size and key stand in the content's row; the file's name tells nothing.
"""

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.params import WRITE_CHUNK
from p2pcore.crypto.files import sync_directory
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
        sync_directory(self.path)

    def open(self, name: str, file_key: bytes, size: int) -> "SealedFile":
        """Open a file of `size` clear octets, which can be read until it is closed, unlinked or not.

        Raises StoreDamaged if it is missing or cut.
        """
        return SealedFile(self.path / name, file_key, size)

    def pieces(self, name: str, file_key: bytes, size: int, offset: int, length: int) -> Iterator[bytes]:
        """Clear octets [offset, offset + length) of a file of `size` clear octets, opening only their segments.

        Raises StoreDamaged if the file is missing, cut or changed.
        """
        with closing(self.open(name, file_key, size)) as file:
            yield from file.pieces(offset, length)

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


class SealedFile:
    """One content file, open."""

    def __init__(self, path: Path, file_key: bytes, size: int) -> None:
        """Use SealedDirectory.open; whoever does closes it."""
        self._name, self._size = path.name, size
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115 (closed by its owner)
        except FileNotFoundError as error:
            raise self._damaged() from error
        try:
            self._reader = SegmentReader(self._file, file_key)
        except BaseException as error:
            self._file.close()
            if isinstance(error, Tampered):
                raise self._damaged() from error
            raise
        if self._reader.size != size:
            self._file.close()
            raise StoreDamaged(f"the content file {self._name} has {self._reader.size} octets, not {size}")

    def pieces(self, offset: int, length: int) -> Iterator[bytes]:
        """Clear octets [offset, offset + length), a segment or part of one at a time. Raises StoreDamaged."""
        end = min(offset + length, self._size)
        while offset < end:
            until = min((offset // FILE_SEGMENT + 1) * FILE_SEGMENT, end)
            try:
                piece = self._reader.read(offset, until - offset)
            except Tampered as error:
                raise self._damaged() from error
            yield piece
            offset = until

    def close(self) -> None:
        self._file.close()

    def _damaged(self) -> StoreDamaged:
        return StoreDamaged(f"the content file {self._name} is missing or damaged")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
