"""A message's content in the outbox: kept sealed, read piece by piece, sealed once more as a body for the network."""

import mmap
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from gateway.mailbox.database import Transaction
from gateway.mailbox.sealed import SealedDirectory
from gateway.outbox.model import ContentRef
from gateway.outbox.params import CHUNK, CONTENT_IN_ROW
from p2pcore import params
from p2pcore.client.held_file import HeldFile
from p2pcore.crypto.sealing import BodySealer
from p2pcore.mail.injection import SealedContent


def keep(transaction: Transaction, content: bytes | Path) -> ContentRef:
    """Keep `content`: a large one is sealed into a file of its own, fsynced on return. Raises OSError."""
    if isinstance(content, Path):
        with content.open("rb") as file:
            if os.fstat(file.fileno()).st_size > CONTENT_IN_ROW:
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as view:
                    return _sealed(transaction, view)
            content = file.read()
    if len(content) > CONTENT_IN_ROW:
        return _sealed(transaction, memoryview(content))
    return ContentRef(len(content), content, None, None)


def _sealed(transaction: Transaction, octets: memoryview) -> ContentRef:
    file, file_key = transaction.database.files.write(octets)
    transaction.written.append(file)
    return ContentRef(len(octets), None, file, file_key)


def pieces(files: SealedDirectory, content: ContentRef, length: int | None = None) -> Iterator[bytes]:
    """The first `length` octets of a content (None: all) in pieces of at most CHUNK. Raises StoreDamaged, OSError."""
    end = content.size if length is None else min(length, content.size)
    if content.octets is not None:
        yield content.octets[:end]
        return
    assert content.file is not None
    assert content.file_key is not None
    yield from files.pieces(content.file, content.file_key, content.size, 0, end)


def beginning(files: SealedDirectory, content: ContentRef, length: int) -> bytes:
    """The first `length` octets, fewer where it ends. Raises StoreDamaged, OSError."""
    return b"".join(pieces(files, content, length))


def clear(files: SealedDirectory, content: ContentRef, temporary: Path) -> tuple[bytes | Path, HeldFile | None]:
    """The whole content: octets, or for a large one a nameless clear file to be closed by the caller.

    Raises StoreDamaged, OSError.
    """
    if content.octets is not None:
        return content.octets, None
    held = HeldFile.temporary(temporary)
    try:
        for piece in pieces(files, content):
            held.file.write(piece)
        held.file.flush()
    except BaseException:
        held.close()
        raise
    return held.path, held


def seal_body(files: SealedDirectory, content: ContentRef) -> tuple[SealedContent, str | None]:
    """Seal a content as a body for the network; a body above INLINE_BODY goes to a new file, fsynced, whose name is
    given with it and which is the caller's to remove if it is not kept. Raises StoreDamaged, OSError.
    """
    sealer = BodySealer()
    if content.size <= params.INLINE_BODY // 2:
        octets = [sealed for piece in pieces(files, content) for sealed in sealer.update(piece)] + sealer.finish()
        return _described(sealer, b"".join(octets)), None
    name = secrets.token_hex(16)
    path = files.path / name
    with open(path, "xb", opener=_private) as file:
        try:
            for piece in pieces(files, content):
                file.writelines(sealer.update(piece))
            file.writelines(sealer.finish())
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    files.sync()
    return _described(sealer, path), name


def _described(sealer: BodySealer, source: bytes | Path) -> SealedContent:
    return SealedContent(sealer.session_key, sealer.digest, sealer.sealed_size, sealer.content_size, source)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def stuffed(octets: Iterator[bytes]) -> Iterator[bytes]:
    """The content as DATA carries it (RFC 5321 §4.5.2), with the final dot in the last piece.

    A content that does not end in CRLF gets one (RFC 5321 §4.1.1.4).
    """
    before = b"\r\n"  # the content begins at the start of a line
    for piece in octets:
        for start in range(0, len(piece), CHUNK):
            chunk = piece[start : start + CHUNK]
            work = (before + chunk).replace(b"\r\n.", b"\r\n..")
            yield work[len(before) :]
            before = (before + chunk)[-2:]
    yield b".\r\n" if before == b"\r\n" else b"\r\n.\r\n"
