"""Getting messages: fetch their sealed bodies from any replica, check them, open them (§3.3).

Small bodies that one node reported are asked for in one request and opened in one job of a thread: what is not good at
once, or not there within HEDGE_DELAY, is then had one by one, from any replica.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from p2pcore import names, params
from p2pcore.client.held_file import HeldFile
from p2pcore.client.reads import Asked, small_body
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import ask_certificate
from p2pcore.crypto.sealing import BodyOpener, open_body
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, Tampered, UnknownCertificate
from p2pcore.records import Fetch, Notification, ObjectStatement, Result, SignedStatement

U = TypeVar("U")

_IN_THREAD = 64 << 10  # octets: opening more than this on the event loop would be felt
_CHUNK = 1 << 20


class Retrieved(msgspec.Struct, frozen=True):
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

    async def retrieve_together(
        self, contact: Contact, notifications: Sequence[Notification], use: Callable[[int, Retrieved], U]
    ) -> list[U | Asked]:
        """Ask `contact` for small bodies in one request; return what `use` makes of each by its number, in order.

        In the place of what is not good, or does not come within HEDGE_DELAY, stands what `retrieve` goes on from. What
        the bodies have together should fit a request; none is above INLINE_BODY. `use` is called in a thread where they
        are many or large.
        """
        loop = asyncio.get_running_loop()
        fetches = [Fetch(names.key_of(each.body_identifier), each.digest) for each in notifications]
        octets = sum(each.sealed_size for each in notifications)
        since = loop.time()
        answers = self._replicas.batcher.post(contact, fetches, expected=octets)
        try:
            await asyncio.wait([answers], timeout=params.HEDGE_DELAY / params.SECOND)
        except asyncio.CancelledError:
            answers.cancel()
            raise
        asked = [Asked(answers, index, since) for index in range(len(notifications))]
        if not answers.done() or answers.exception() is not None:
            return list(asked)

        def take_all() -> list[U | Asked]:
            outcomes = list[U | Asked]()
            for index, result in enumerate(answers.result()):
                retrieved = self._open(contact, notifications[index], fetches[index], result)
                outcomes.append(asked[index] if retrieved is None else use(index, retrieved))
            return outcomes

        return await asyncio.to_thread(take_all) if octets > _IN_THREAD else take_all()

    async def retrieve(
        self, notification: Notification, first: Contact | None = None, asked: Asked | None = None
    ) -> Retrieved:
        """Return the content that `notification` names; `first`, which reported the entry, is asked first.

        The digest in the notification decides which replica is good, and the statement must be the one that our right
        is in, else no node would take the deletion; the next is asked where one is not. `asked`: what `first` has been
        asked already. Raises CannotKnow (no replica found now: try again later), Tampered (it does not open: no replica
        will).
        """

        async def accept(contact: Contact, signed: SignedStatement) -> None:
            try:
                self._check(contact, signed, notification)
            except UnknownCertificate:
                trust = self._replicas.checker.trust
                await ask_certificate(self._replicas.batcher, contact, trust, signed.statement.signer)
                self._check(contact, signed, notification)

        fetched = await self._replicas.fetch(
            names.key_of(notification.body_identifier),
            notification.digest,
            notification.sealed_size,
            since=notification.received,
            first=first,
            accept=accept,
            asked=asked,
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

    def _open(self, contact: Contact, notification: Notification, fetch: Fetch, result: Result) -> Retrieved | None:
        """Return the content that `result` gives; None where it is not good, whatever it is: `retrieve` asks on."""
        try:
            fetched = small_body(contact, result, fetch.object_key, fetch.digest)
            self._check(contact, fetched.object, notification)
            content, digest = _open(notification.session_key, notification.content_size, fetched.body)
        except Failure:
            return None
        return Retrieved(content, digest, fetched.object)

    def _check(self, contact: Contact, signed: SignedStatement, notification: Notification) -> None:
        """Return if the notification's signer signed this object, with our delete right among its own.

        Raises Tampered, UnknownCertificate and whatever else `VersionChecker.verify` raises.
        """
        statement = signed.statement
        right = hashlib.sha256(notification.delete_secret).digest()
        ours = isinstance(statement, ObjectStatement) and right in statement.delete_rights
        if not ours or statement.signer != notification.signer:
            raise Tampered(f"{contact.endpoint}: the object's statement is not the one that our delete right is in")
        self._replicas.checker.verify(signed)


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
