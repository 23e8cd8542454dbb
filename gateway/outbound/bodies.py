"""The sealed contents of queue items: one file each, complete and on disk before any row names it."""

import os
import secrets
import shutil
from pathlib import Path

from p2pcore.crypto.files import sync_directory
from p2pcore.crypto.sealing import BodyOpener, BodySealer
from p2pcore.errors import Tampered
from p2pcore.mail.injection import SealedContent

_CHUNK = 1 << 20  # octets


class Bodies:
    """A directory of sealed bodies; all calls may block on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def path(self, name: str) -> Path:
        return self._directory / name

    def write(self, content: bytes | SealedContent) -> tuple[str, SealedContent]:
        """Keep `content` under a fresh name, sealed; durable on return. Raises OSError."""
        sealed = seal(content) if isinstance(content, bytes) else content
        name = secrets.token_hex(16)
        path = self.path(name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if isinstance(sealed.source, bytes):
                    file.write(sealed.source)
                else:
                    with sealed.source.open("rb") as source:
                        shutil.copyfileobj(source, file, _CHUNK)
                file.flush()
                os.fsync(file.fileno())
            sync_directory(self._directory)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name, SealedContent(sealed.session_key, sealed.digest, sealed.sealed_size, sealed.content_size, path)

    def remove(self, name: str) -> None:
        """Remove a body; after a crash before this, `keep_only` does it."""
        self.path(name).unlink(missing_ok=True)

    def keep_only(self, names: set[str]) -> None:
        """Remove every file that no row names: what was under way when the process died. Raises OSError."""
        for path in self._directory.iterdir():
            if path.name not in names:
                path.unlink(missing_ok=True)


def seal(content: bytes) -> SealedContent:
    """Return `content` sealed under a fresh session key, in memory."""
    sealer = BodySealer()
    pieces = sealer.update(content) + sealer.finish()
    return SealedContent(sealer.session_key, sealer.digest, sealer.sealed_size, sealer.content_size, b"".join(pieces))


def open_beginning(sealed: SealedContent, length: int) -> bytes:
    """Return the first `length` octets of the content, all of it where it is no longer. Raises Tampered, OSError."""
    if isinstance(sealed.source, bytes) or sealed.content_size <= length:
        return open_content(sealed)[:length]
    opener = BodyOpener(sealed.session_key, sealed.content_size)
    beginning = bytearray()
    with sealed.source.open("rb") as file:
        while len(beginning) < length and (chunk := file.read(_CHUNK)):
            beginning += b"".join(opener.update(chunk))
    if len(beginning) < length:
        raise Tampered(f"body of {len(beginning)} octets, not {sealed.content_size}")
    return bytes(beginning[:length])


def open_content(sealed: SealedContent) -> bytes:
    """Return the content in clear. Raises Tampered, OSError."""
    opener = BodyOpener(sealed.session_key, sealed.content_size)
    pieces: list[bytes] = []
    if isinstance(sealed.source, bytes):
        pieces += opener.update(sealed.source)
    else:
        with sealed.source.open("rb") as file:
            while chunk := file.read(_CHUNK):
                pieces += opener.update(chunk)
    pieces += opener.finish()
    content = b"".join(pieces)
    if len(content) != sealed.content_size:
        raise Tampered(f"body of {len(content)} octets, not {sealed.content_size}")
    return content
