"""Getting one message: fetch its sealed body from any replica, check it, open it (§3.3)."""

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path

from p2pcore import names
from p2pcore.client.held_file import HeldFile
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import ask_certificate
from p2pcore.crypto.sealing import BodyOpener, open_body
from p2pcore.dht.contact import Contact
from p2pcore.errors import Tampered, UnknownCertificate
from p2pcore.records import Notification, ObjectStatement, SignedStatement

_IN_THREAD = 64 << 10  # octets: opening more than this on the event loop would be felt
_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The content exactly as sent; `object` is the body's statement, which a deletion shows.

    `content` is its octets, or for a large one a nameless file by a path that is good until `close`.
    """

    content: bytes | Path
    content_digest: bytes
    object: SignedStatement
    held: HeldFile | None = None

    def close(self) -> None:
        """Let go of a large content's file. Idempotent."""
        if self.held is not None:
            self.held.close()


class Retriever:
    """Retrieves what notifications name; large contents go to nameless files in `directory`."""

    def __init__(self, replicas: Replicas, directory: Path) -> None:
        self._replicas = replicas
        self._directory = directory

    async def retrieve(self, notification: Notification, first: Contact | None = None) -> Retrieved:
        """Return the content that `notification` names; `first`, which reported the entry, is asked first.

        The digest in the notification decides which replica is good, and the statement must be the one that our right
        is in, else no node would take the deletion; the next is asked where one is not. Raises
        CannotKnow (no replica found now: try again later), Tampered (it does not open: no replica will).
        """

        async def accept(contact: Contact, signed: SignedStatement) -> None:
            await self._check(contact, signed, notification)

        fetched = await self._replicas.fetch(
            names.key_of(notification.body_identifier),
            notification.digest,
            notification.sealed_size,
            since=notification.received,
            first=first,
            accept=accept,
        )
        key, size = notification.session_key, notification.content_size
        if isinstance(fetched.body, bytes):
            if len(fetched.body) > _IN_THREAD:
                content, digest = await asyncio.to_thread(_open, key, size, fetched.body)
            else:
                content, digest = _open(key, size, fetched.body)
            return Retrieved(content, digest, fetched.object)
        with fetched.body as sealed:
            held = HeldFile.temporary(self._directory)
            try:
                digest = await asyncio.to_thread(_open_file, key, size, sealed, held)
            except BaseException:
                held.close()
                raise
        return Retrieved(held.path, digest, fetched.object, held)

    async def _check(self, contact: Contact, signed: SignedStatement, notification: Notification) -> None:
        """Return if the notification's signer signed this object, with our delete right among its own."""
        statement = signed.statement
        right = hashlib.sha256(notification.delete_secret).digest()
        ours = isinstance(statement, ObjectStatement) and right in statement.delete_rights
        if not ours or statement.signer != notification.signer:
            raise Tampered(f"{contact.endpoint}: the object's statement is not the one that our delete right is in")
        checker = self._replicas.checker
        try:
            checker.verify(signed)
        except UnknownCertificate:
            await ask_certificate(self._replicas.batcher, contact, checker.trust, statement.signer)
            checker.verify(signed)


def _open(key: bytes, size: int, sealed: bytes) -> tuple[bytes, bytes]:
    content = open_body(key, size, sealed)
    return content, hashlib.sha256(content).digest()


def _open_file(key: bytes, size: int, sealed: HeldFile, opened: HeldFile) -> bytes:
    hasher = hashlib.sha256()
    opener = BodyOpener(key, size)

    def write(pieces: list[bytes]) -> None:
        for piece in pieces:
            hasher.update(piece)
            opened.file.write(piece)

    sealed.file.seek(0)
    while chunk := sealed.file.read(_CHUNK):
        write(opener.update(chunk))
    write(opener.finish())
    opened.file.flush()
    return hasher.digest()
