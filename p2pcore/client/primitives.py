"""One node asked: the primitives of Table 3 and the batch request, over TLS pinned to the node's ID."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from operator import is_
from pathlib import Path
from typing import Final

from p2pcore import params
from p2pcore.client.answers import answer, framed_digest, object_of, pieces, received
from p2pcore.client.framing import APPEND_INBOX, READ_INBOX, frame
from p2pcore.client.gathered import Gathered
from p2pcore.client.peers import Sink
from p2pcore.client.tasks import shared
from p2pcore.client.transport import Content, Traffic, Transport, fingerprint_in, remember
from p2pcore.clock import Clock
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact
from p2pcore.errors import Malformed, Tampered, TooLarge, UnknownCertificate, Unreachable
from p2pcore.records import (
    Acknowledge,
    Append,
    Batch,
    BatchReply,
    Delete,
    Deletion,
    EntryStatement,
    InboxPage,
    ObjectStatement,
    Operation,
    Publish,
    Result,
    SignedStatement,
    Store,
    encode,
)

HeadsCallback = Callable[[tuple[SignedStatement, ...]], None]

MAX_CERTIFICATES: Final = 100  # in one batch (records.Batch)
LARGE: Final = 64 << 10  # octets above which hashing goes to a thread
_WRITING: Final = (Store, Delete, Append, Acknowledge, Publish)


class PeerClient:
    """Requests to one node at a time, signed by `signer` (RFC 9421); safe to share between tasks of one event loop.

    Every method raises Failure subclasses only: Unreachable where no understandable answer came (refused or lost
    connection, wrong key, time limit: REQUEST_TIMEOUT plus size / MIN_THROUGHPUT), else what the node answered.
    A request is repeated once, freshly signed, where the node did not know a certificate, found our clock wrong (its
    time then corrects requests to that node only) or dropped a pooled connection: all operations are idempotent.
    """

    def __init__(self, signer: Signer, trust: Trust, clock: Clock) -> None:
        self._signer = signer
        self._trust = trust
        self._transport = Transport(signer, clock)
        self._heads_callbacks: list[HeadsCallback] = []
        self._latest: tuple[Batch, Content] | None = None  # encoded last, of at most SEGMENT_SIZE
        self._digests: OrderedDict[bytes, asyncio.Future[bytes]] = OrderedDict()  # SHA-256 of a PUT's prefix → of all

    def on_heads(self, callback: HeadsCallback) -> None:
        """Call `callback` with the directory heads (unverified) that a reply carried."""
        self._heads_callbacks.append(callback)

    @property
    def traffic(self) -> Traffic:
        """What has been asked and answered so far."""
        return self._transport.traffic

    def clock_difference(self) -> int:
        """Return the median of the nodes' clocks minus ours in ms; 0 where none has answered yet."""
        return self._transport.clock_difference()

    async def call(self, contact: Contact, operations: Sequence[Operation]) -> list[Result]:
        """Return one Result per operation, in order (`POST /v1/batch`, one transport signature for all of them).

        A Result of status 200 of a writing operation means durable on that node. Others are failures of that
        operation alone (`by_http_status(result.status, result.reason)`); those for want of a certificate that our
        trust holds have been repeated with it. Raises TooLarge where the operations exceed MAX_BATCH.
        """
        results = await self._batch(contact, operations, ())
        unknown = {index: fingerprint_in(result.reason) for index, result in enumerate(results) if result.status == 428}
        known = {fingerprint: self._der_of(fingerprint) for fingerprint in unknown.values()}
        certificates = tuple(der for der in known.values() if der)[:MAX_CERTIFICATES]
        if certificates:
            again = await self._batch(contact, [operations[index] for index in unknown], certificates)
            for index, result in zip(unknown, again, strict=True):
                results[index] = result
        return results

    async def put_body(self, contact: Contact, signed: SignedStatement, source: Path | bytes) -> None:
        """Store one object of any size (`PUT /v1/<key>`), streamed from `source`; durable on the node on return.

        The digest of the whole request is computed once per statement, so the same body costs k nodes one pass.
        Raises NodeFull, Tampered (`source` is not what the statement says), NotAuthorised, Expired, …, and OSError
        where `source` cannot be opened.
        """
        statement = signed.statement
        if not isinstance(statement, ObjectStatement):
            raise Malformed(f"{type(statement).__name__}: not an object to store")
        prefix = frame(signed)
        digest = await self._put_digest(prefix, source)
        url = _url(contact, statement.object_key)
        body = Content(digest, len(prefix) + statement.size, lambda: pieces(prefix, source))
        try:
            (await self._transport.open(contact, "PUT", url, body)).release()
        except UnknownCertificate as failure:
            der = self._der_of(fingerprint_in(str(failure)))
            if not der:
                raise
            await self._batch(contact, (), (der,))
            (await self._transport.open(contact, "PUT", url, body)).release()

    async def get_body(
        self, contact: Contact, object_key: bytes, digest: bytes, sink: Sink, size: int = params.MAX_BODY
    ) -> SignedStatement:
        """Fetch an object (`GET /v1/<key>`), awaiting `sink` for each piece as it arrives; return its statement.

        `digest` empty: any object under the key. It has at most `size` octets, which bounds the time that the node may
        take. Raises NotFound, and Tampered where the node says that it is larger or the octets do not match the digest
        (the caller drops what the sink was given). What `sink` raises passes through.
        """
        query = f"?digest={digest.hex()}" if digest else ""
        url = _url(contact, object_key) + query
        async with await self._transport.open(contact, "GET", url, expected=size) as response:
            signed, statement = object_of(contact, response)
            if statement.object_key != object_key or (digest and statement.digest != digest):
                raise Tampered(f"{contact.endpoint}: answered with another object than {object_key.hex()}")
            if statement.size > size:
                raise Tampered(f"{contact.endpoint}: object {object_key.hex()} of {statement.size} octets, over {size}")
            hasher = hashlib.sha256()
            came = 0
            unhashed = Gathered(params.SEGMENT_SIZE)
            async for piece in received(contact, response):
                came += len(piece)
                if came > statement.size:
                    break
                if unhashed.add(piece) and came < statement.size:
                    await asyncio.to_thread(_update, hasher, unhashed.take())
                await sink(piece)
            await asyncio.to_thread(_update, hasher, unhashed.take())
            if came != statement.size or hasher.digest() != statement.digest:
                raise Tampered(f"{contact.endpoint}: object {object_key.hex()} does not match its digest")
        return signed

    async def read_inbox(
        self,
        contact: Contact,
        inbox_key: bytes,
        incarnation: bytes,
        cursor: int,
        wait_ms: int,
        instance: bytes = b"",
    ) -> InboxPage:
        """Return what came into our own inbox on `contact` after (`incarnation`, `cursor`), one page.

        With nothing there, the node answers when something comes, at the latest after `wait_ms` (0: at once).
        `incarnation` empty reads from the beginning. Acknowledgements by `instance`, an agent that knows its own, are
        left out. Raises NotAuthorised for another's inbox.
        """
        asked = [f"incarnation={incarnation.hex()}", f"cursor={cursor}"] if incarnation else []
        asked += [f"instance={instance.hex()}"] if instance else []
        url = _url(contact, inbox_key) + ("?" + "&".join(asked) if asked else "")
        expected = params.PAGE_OCTETS + params.MAX_NOTIFICATION
        response = await self._transport.open(
            contact, "GET", url, pragma=READ_INBOX, wait_ms=wait_ms, expected=expected
        )
        async with response:
            page = await answer(InboxPage, contact, response)
        self._learn(contact, page.time, page.heads)
        return page

    async def append_inbox(self, contact: Contact, entry: SignedStatement) -> None:
        """Append one entry by the single request of Table 3 (`PUT` + `Pragma: append-inbox`); durable on return."""
        statement = entry.statement
        if not isinstance(statement, EntryStatement):
            raise Malformed(f"{type(statement).__name__}: not an entry")
        content = frame(entry)
        body = Content(hashlib.sha256(content).digest(), len(content), lambda: content)
        url = _url(contact, statement.inbox_key)
        (await self._transport.open(contact, "PUT", url, body, pragma=APPEND_INBOX)).release()

    async def delete(self, contact: Contact, deletion: Deletion) -> None:
        """Remove one delete right by the single request of Table 3 (`DELETE`); durable on return."""
        statement = deletion.object.statement
        if not isinstance(statement, ObjectStatement):
            raise Malformed(f"{type(statement).__name__}: not an object")
        content = encode(deletion)
        body = Content(hashlib.sha256(content).digest(), len(content), lambda: content)
        (await self._transport.open(contact, "DELETE", _url(contact, statement.object_key), body)).release()

    async def close(self) -> None:
        """Close all connections; requests under way end as Unreachable."""
        await self._transport.close()

    async def _batch(
        self, contact: Contact, operations: Sequence[Operation], certificates: tuple[bytes, ...]
    ) -> list[Result]:
        body = await self._content(Batch(certificates, tuple(operations)))
        expected = 0 if all(isinstance(operation, _WRITING) for operation in operations) else params.MAX_BATCH
        url = f"https://{contact.endpoint}/v1/batch"
        async with await self._transport.open(contact, "POST", url, body, expected=expected) as response:
            reply = await answer(BatchReply, contact, response)
        if len(reply.results) != len(operations):
            raise Unreachable(f"{contact.endpoint}: {len(reply.results)} results for {len(operations)} operations")
        self._learn(contact, reply.time, reply.heads)
        return list(reply.results)

    async def _content(self, batch: Batch) -> Content:
        """Return the body of a request with `batch`, encoded and digested once where the k nodes get the same."""
        if self._latest is not None and _same(self._latest[0], batch):
            return self._latest[1]
        octets = encode(batch)
        if len(octets) > params.MAX_BATCH or len(batch.operations) > params.MAX_BATCH_OPERATIONS:
            raise TooLarge(f"a batch of {len(batch.operations)} operations and {len(octets)} octets")
        digest = await asyncio.to_thread(_sha256, octets) if len(octets) > 4 * LARGE else _sha256(octets)
        if len(octets) > params.SEGMENT_SIZE:
            return Content(digest, len(octets), lambda: pieces(b"", octets))
        content = Content(digest, len(octets), lambda: octets)
        self._latest = (batch, content)
        return content

    def _learn(self, contact: Contact, time: int, heads: tuple[SignedStatement, ...]) -> None:
        self._transport.note_time(contact, time)
        if heads:
            for callback in self._heads_callbacks:
                callback(heads)

    def _der_of(self, fingerprint: bytes) -> bytes:
        if fingerprint == self._signer.fingerprint:
            return self._signer.certificate.der
        certificate = self._trust.get(fingerprint)
        return certificate.der if certificate else b""

    async def _put_digest(self, prefix: bytes, source: Path | bytes) -> bytes:
        """Return SHA-256(prefix ‖ source); the k uploads of one body, which begin together, share one pass."""
        key = hashlib.sha256(prefix).digest()
        digest = self._digests.get(key)
        if digest is None:
            digest = asyncio.ensure_future(asyncio.to_thread(framed_digest, prefix, source))
            remember(self._digests, key, digest)
        try:
            return await shared(digest)
        except BaseException:  # `source` could not be read, or may go away now: the next attempt looks again
            self._digests.pop(key, None)
            raise


def _same(one: Batch, other: Batch) -> bool:
    """Return whether both are of the very same objects: comparing their octets would take longer."""
    return (
        one.certificates == other.certificates
        and len(one.operations) == len(other.operations)
        and all(map(is_, one.operations, other.operations))
    )


def _url(contact: Contact, key: bytes) -> str:
    return f"https://{contact.endpoint}/v1/{key.hex()}"


def _update(hasher: "hashlib._Hash", pieces: list[bytes]) -> None:
    for piece in pieces:
        hasher.update(piece)


def _sha256(octets: bytes) -> bytes:
    return hashlib.sha256(octets).digest()
