"""Nodes in memory behind the Peers and Substrate protocols, whose failures and delays a test decides."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p2pcore import params
from p2pcore.client.peers import Sink
from p2pcore.dht.contact import Contact, distance
from p2pcore.errors import BodyNotHeld, Failure, NotFound, Tampered, Unreachable
from p2pcore.records import (
    Acknowledge,
    AcknowledgeStatement,
    Append,
    AppendAfter,
    AskCertificate,
    AskInbox,
    Delete,
    EntryStatement,
    Fetch,
    FetchedBody,
    InboxPage,
    InboxStatus,
    ObjectStatement,
    Operation,
    Publish,
    PublishedVersion,
    Resolve,
    Result,
    SignedStatement,
    Store,
    VersionStatement,
    encode,
    identity,
)

PIECE = 64 << 10


def refusal(failure: Failure) -> Result:
    """The Result by which a node names `failure`."""
    return Result(failure.http_status, f"{type(failure).__name__}: {failure}")


@dataclass
class MemoryNode:
    """One node: `down` makes requests Unreachable, `refuse` fails an operation, `gate` holds answers back."""

    contact: Contact
    incarnation: bytes
    down: bool = False
    gate: asyncio.Event | None = None
    refuse: Callable[[Operation], Failure | None] = lambda _operation: None
    objects: dict[bytes, tuple[SignedStatement, bytes]] = field(default_factory=dict)
    deleted: list[bytes] = field(default_factory=list)
    entries: list[SignedStatement] = field(default_factory=list)
    acknowledged: list[SignedStatement] = field(default_factory=list)
    versions: dict[str, PublishedVersion] = field(default_factory=dict)
    certificates: dict[bytes, bytes] = field(default_factory=dict)
    status: InboxStatus = field(default_factory=lambda: InboxStatus(0, 0, 0, True))
    statuses: dict[bytes, InboxStatus] = field(default_factory=dict)  # by inbox, before `status`
    batches: list[list[Operation]] = field(default_factory=list)
    reads: list[tuple[bytes, int, int]] = field(default_factory=list)
    fetches: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def admit(self) -> None:
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise Unreachable(f"{self.contact.endpoint}: down")

    def apply(self, operation: Operation) -> Result:
        failure = self.refuse(operation)
        if failure is not None:
            return refusal(failure)
        try:
            return Result(200, value=self._value(operation))
        except (NotFound, BodyNotHeld) as missing:
            return refusal(missing)

    def append(self, entry: SignedStatement) -> None:
        if identity(entry.statement) not in {identity(held.statement) for held in self.entries}:
            self.entries.append(entry)
            self.news.set()

    def page(self, incarnation: bytes, cursor: int, instance: bytes = b"") -> InboxPage:
        """Cursor = number of entries + acknowledgements given so far; enough for a test."""
        others = tuple(signed for signed in self.acknowledged if not instance or instance_of(signed) != instance)
        start = cursor if incarnation == self.incarnation else 0
        gone = {entry for signed in self.acknowledged for entry in acknowledged_by(signed)}
        entries = tuple(each for each in self.entries[start:] if identity(each.statement) not in gone)
        return InboxPage(self.incarnation, len(self.entries), entries, others, more=False, time=0, heads=())

    def _value(self, operation: Operation) -> bytes:
        match operation:
            case Store(object=signed, body=octets):
                assert isinstance(signed.statement, ObjectStatement)
                self.objects[signed.statement.object_key] = (signed, octets)
            case Append(entry=entry):
                held = (identity(signed.statement) for signed, _ in self.objects.values())
                if isinstance(operation, AppendAfter) and operation.object not in held:
                    raise BodyNotHeld(operation.object.hex())
                self.append(entry)
            case Delete(deletion=deletion):
                self.deleted.append(hashlib.sha256(deletion.secret).digest())
            case Acknowledge(acknowledgement=signed):
                self.acknowledged.append(signed)
            case Fetch(object_key=key):
                self.fetches += 1
                if key not in self.objects:
                    raise NotFound(key.hex())
                return encode(FetchedBody(*self.objects[key]))
            case Publish(published=published):
                assert isinstance(published.version.statement, VersionStatement)
                self.versions[published.version.statement.identifier] = published
            case Resolve(identifier=identifier):
                if identifier not in self.versions:
                    raise NotFound(identifier)
                return encode(self.versions[identifier])
            case AskCertificate(certificate=fingerprint):
                if fingerprint not in self.certificates:
                    raise NotFound(fingerprint.hex())
                return self.certificates[fingerprint]
            case AskInbox(inbox_key=inbox_key):
                return encode(self.statuses.get(inbox_key, self.status))
            case _:
                raise AssertionError(operation)
        return b""


class MemoryNetwork:
    """`count` nodes; every contact is known, as in a small network, unless `large`. Is both Peers and Substrate."""

    def __init__(self, count: int) -> None:
        ids = [hashlib.sha256(b"node %d" % number).digest() for number in range(count)]
        self.nodes = [
            MemoryNode(Contact(node_id, "127.0.0.1", 1 + number), node_id[:16]) for number, node_id in enumerate(ids)
        ]
        self.large = False
        self.dead: set[bytes] = set()
        self.lookups: list[tuple[bytes, int]] = []
        self._callbacks: list[Callable[[], None]] = []

    def closest(self, key: bytes) -> list[MemoryNode]:
        """All nodes, nearest to `key` first."""
        return sorted(self.nodes, key=lambda node: distance(node.contact.node_id, key))

    def node(self, contact: Contact) -> MemoryNode:
        return next(node for node in self.nodes if node.contact == contact)

    def changed(self) -> None:
        for callback in self._callbacks:
            callback()

    # Substrate

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        self.lookups.append((key, k))
        return self._nearest(key, k)

    def nearest(self, key: bytes, k: int) -> tuple[Contact, ...] | None:
        return None if self.large else self._nearest(key, k)

    def _nearest(self, key: bytes, k: int) -> tuple[Contact, ...]:
        return tuple(node.contact for node in self.closest(key) if node.contact.node_id not in self.dead)[:k]

    def known(self) -> tuple[Contact, ...]:
        return tuple(node.contact for node in self.nodes if node.contact.node_id not in self.dead)

    def report(self, contact: Contact, *, alive: bool) -> None:
        if not alive:
            self.dead.add(contact.node_id)

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    # Peers

    async def call(self, contact: Contact, operations: Sequence[Operation]) -> list[Result]:
        node = self.node(contact)
        node.batches.append(list(operations))
        await node.admit()
        return [node.apply(operation) for operation in operations]

    async def put_body(self, contact: Contact, signed: SignedStatement, source: Path | bytes) -> None:
        node = self.node(contact)
        await node.admit()
        octets = source if isinstance(source, bytes) else await asyncio.to_thread(source.read_bytes)
        assert isinstance(signed.statement, ObjectStatement)
        assert hashlib.sha256(octets).digest() == signed.statement.digest
        node.objects[signed.statement.object_key] = (signed, octets)

    async def get_body(
        self, contact: Contact, object_key: bytes, digest: bytes, sink: Sink, size: int = params.MAX_BODY
    ) -> SignedStatement:
        node = self.node(contact)
        node.fetches += 1
        await node.admit()
        if object_key not in node.objects:
            raise NotFound(object_key.hex())
        signed, octets = node.objects[object_key]
        assert isinstance(signed.statement, ObjectStatement)
        for start in range(0, len(octets), PIECE):
            await sink(octets[start : start + PIECE])
        if hashlib.sha256(octets).digest() != signed.statement.digest:
            raise Tampered(object_key.hex())
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
        node = self.node(contact)
        node.reads.append((incarnation, cursor, wait_ms))
        await node.admit()
        page = node.page(incarnation, cursor, instance)
        old_news = incarnation == node.incarnation or not page.acknowledged
        if wait_ms and not page.entries and old_news:
            node.news.clear()
            await node.news.wait()
            page = node.page(incarnation, cursor, instance)
        return page


def entries_of(node: MemoryNode) -> list[EntryStatement]:
    return [each.statement for each in node.entries if isinstance(each.statement, EntryStatement)]


def acknowledged_by(signed: SignedStatement) -> tuple[bytes, ...]:
    """The entries that an acknowledgement names."""
    assert isinstance(signed.statement, AcknowledgeStatement)
    return signed.statement.entries


def instance_of(signed: SignedStatement) -> bytes:
    """The agent that an acknowledgement names."""
    assert isinstance(signed.statement, AcknowledgeStatement)
    return signed.statement.instance
