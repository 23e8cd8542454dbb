"""Large bodies as files: written while they arrive, checked against their digest, named by nothing but chance.

killed while      after the restart
arriving          a file in incoming/, removed
between fsync     a file in bodies/ that no row names, removed
and row
after the row     the object is held
after a row went  a file that no row names, removed

A file that a row names and that is lost, by whatever happened to the disk, is noticed at the start: the object is not
held, until its body comes again or the file is found (objects.match_files).
"""

import asyncio
import hashlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from p2pcore import params
from p2pcore.client.gathered import Gathered
from p2pcore.client.tasks import shared
from p2pcore.crypto.files import sync_directory, write_all
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

    def open(self, named: Iterable[str]) -> frozenset[str]:
        """Make the directories; remove what never became, or no longer is, the body of an object. Blocking.

        Return those of `named` that are there.
        """
        for directory in (self._bodies, self._incoming):
            directory.mkdir(mode=0o700, exist_ok=True)
        for made_in in (self._bodies.parent, self._bodies.parent.parent):
            sync_directory(made_in)  # what is in a directory lasts no longer than its own name
        there = {path.name: path for path in self._bodies.iterdir()}
        kept = frozenset(named) & there.keys()
        for path in (*self._incoming.iterdir(), *(path for name, path in there.items() if name not in kept)):
            path.unlink()
        return kept

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
        arriving = _Arriving(self._incoming / secrets.token_hex(16), size, digest)
        name = arriving.path.name
        received = 0
        unwritten = Gathered(params.SEGMENT_SIZE)
        kept = False
        try:
            async for piece in pieces:
                received += len(piece)
                if received > size:
                    break
                if unwritten.add(piece) and received < size:
                    await self._on_thread(arriving.write, unwritten.take())
            await self._on_thread(self._finish, arriving, unwritten.take())
            kept = True
        except OSError as error:
            raise NodeFull(f"disk: {error.strerror}") from error
        finally:
            arriving.discard()
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

    async def _on_thread(self, work: Callable[..., None], *arguments: object) -> None:
        await _to_its_end(asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments))

    def _finish(self, arriving: "_Arriving", last: list[bytes]) -> None:
        """Write what came last, check the whole, and keep it: for most bodies all there is to do, in one turn."""
        self._keep(arriving.checked(last), arriving.path)

    def _keep(self, file: BinaryIO, path: Path) -> None:
        file.flush()
        os.fsync(file.fileno())
        path.rename(self._bodies / path.name)
        sync_directory(self._bodies)

    def _write_whole(self, name: str, octets: bytes) -> None:
        path = self._incoming / name
        try:
            with _create(path) as file:
                write_all(file, octets)
                self._keep(file, path)
        finally:
            path.unlink(missing_ok=True)

    def _remove(self, names: tuple[str, ...]) -> None:
        for name in names:
            self.path(name).unlink(missing_ok=True)


async def _to_its_end(call: "asyncio.Future[T]") -> T:
    """Wait for a thread's work, also when cancelled: the file must not be closed under it."""
    try:
        return await shared(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise


class _Arriving:
    """A body on its way into the file at `path`, which the first write makes. Used by one thread at a time."""

    def __init__(self, path: Path, size: int, digest: bytes) -> None:
        self.path = path
        self._size = size
        self._digest = digest
        self._hasher = hashlib.sha256()
        self._written = 0
        self._file: BinaryIO | None = None

    def write(self, pieces: list[bytes]) -> None:
        """Append `pieces`. Raises OSError."""
        if self._file is None:
            self._file = _create(self.path)
        for piece in pieces:
            self._hasher.update(piece)
            self._written += len(piece)
            write_all(self._file, piece)

    def checked(self, last: list[bytes]) -> BinaryIO:
        """Append the `last` pieces and return the file. Raises Tampered where it is not the body, OSError."""
        self.write(last)
        if self._written != self._size or self._hasher.digest() != self._digest:
            expected = f"{self._size} octets with digest {self._digest.hex()}"
            raise Tampered(f"body of {self._written} octets is not the {expected}")
        assert self._file is not None
        return self._file

    def discard(self) -> None:
        """Close the file, and remove it where it was not kept under another name."""
        if self._file is not None:
            self._file.close()
            self.path.unlink(missing_ok=True)


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0)
