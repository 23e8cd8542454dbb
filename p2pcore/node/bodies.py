"""Large bodies as files: written while they arrive, checked against their digest, named by nothing but chance.

killed while      after the restart
arriving          a file in incoming/, removed
between fsync     a file in bodies/ that no row names, removed
and row
after the row     the object is held
after a row went  a file that no row names, removed
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from p2pcore import params
from p2pcore.client.gathered import Gathered
from p2pcore.errors import NodeFull, Tampered

T = TypeVar("T")

INLINE: Final = 64 << 10  # octets: bodies up to this are rows, larger ones files
_THREADS: Final = 4  # each waits for the disk most of its time


class BodyFiles:
    """The directories `bodies` and `incoming` under a node's directory."""

    def __init__(self, directory: Path) -> None:
        self._bodies = directory / "bodies"
        self._incoming = directory / "incoming"
        self._threads = ThreadPoolExecutor(_THREADS, "node-files")

    def open(self, named: Iterable[str]) -> None:
        """Make the directories; remove what never became, or no longer is, the body of an object. Blocking."""
        for directory in (self._bodies, self._incoming):
            directory.mkdir(mode=0o700, exist_ok=True)
        for made_in in (self._bodies.parent, self._bodies.parent.parent):
            _sync_directory(made_in)  # what is in a directory lasts no longer than its own name
        keep = set(named)
        for path in (*self._incoming.iterdir(), *self._bodies.iterdir()):
            if path.parent == self._incoming or path.name not in keep:
                path.unlink()

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown(wait=True)

    def path(self, name: str) -> Path:
        """Return where the body called `name` is."""
        return self._bodies / name

    async def receive(self, pieces: AsyncIterator[bytes], size: int, digest: bytes) -> str:
        """Write `pieces` to a new file; return its name once it is on disk.

        Raises Tampered where they are not `size` octets of this SHA-256, NodeFull where the disk takes no more. Nothing
        is left behind by a failure or a cancellation.
        """
        loop = asyncio.get_running_loop()
        name = secrets.token_hex(16)
        path = self._incoming / name
        hasher = hashlib.sha256()
        received = 0
        unwritten = Gathered(params.SEGMENT_SIZE)
        kept = False
        file = await loop.run_in_executor(self._threads, _create, path)
        try:
            async for piece in pieces:
                received += len(piece)
                if received > size:
                    break
                if unwritten.add(piece):
                    await _to_its_end(loop.run_in_executor(self._threads, _write, file, hasher, unwritten.take()))
            await _to_its_end(loop.run_in_executor(self._threads, _write, file, hasher, unwritten.take()))
            if received != size or hasher.digest() != digest:
                raise Tampered(f"body of {received} octets is not the {size} octets with digest {digest.hex()}")
            await _to_its_end(loop.run_in_executor(self._threads, self._keep, file, path))
            kept = True
        except OSError as error:
            raise NodeFull(f"disk: {error.strerror}") from error
        finally:
            file.close()
            path.unlink(missing_ok=True)
            if not kept:  # cancelled while it was being kept: nobody would ever name it
                self.path(name).unlink(missing_ok=True)
        return name

    async def write(self, octets: bytes) -> str:
        """Write a body that is already checked; return its name once it is on disk. Raises NodeFull."""
        name = secrets.token_hex(16)
        try:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._write_whole, name, octets)
        except OSError as error:
            raise NodeFull(f"disk: {error.strerror}") from error
        return name

    async def remove(self, names: Iterable[str]) -> None:
        """Remove bodies that no row names any more."""
        listed = tuple(names)
        if listed:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._remove, listed)

    async def read(self, name: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """Yield octets `start` to `stop` of a body, a segment at a time. Raises FileNotFoundError."""
        loop = asyncio.get_running_loop()
        with await loop.run_in_executor(self._threads, self.path(name).open, "rb") as file:
            file.seek(start)
            while start < stop:
                wanted = min(params.SEGMENT_SIZE, stop - start)
                piece = await _to_its_end(loop.run_in_executor(self._threads, file.read, wanted))
                if not piece:
                    return
                start += len(piece)
                yield piece

    def _keep(self, file: BinaryIO, path: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        path.rename(self._bodies / path.name)
        _sync_directory(self._bodies)

    def _write_whole(self, name: str, octets: bytes) -> None:
        path = self._incoming / name
        try:
            with _create(path) as file:
                file.write(octets)
                self._keep(file, path)
        finally:
            path.unlink(missing_ok=True)

    def _remove(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)


async def _to_its_end(call: "asyncio.Future[T]") -> T:
    """Wait for a thread's work, also when cancelled: the file must not be closed under it."""
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0)


def _write(file: BinaryIO, hasher: "hashlib._Hash", pieces: list[bytes]) -> None:
    for piece in pieces:
        hasher.update(piece)
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
