"""Real nodes on loopback for tests, and the statements that go to them."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact
from p2pcore.endpoint import Endpoint
from p2pcore.node.node import Node
from p2pcore.node.settings import Limits, NodeSettings
from p2pcore.records import (
    AcknowledgeStatement,
    Deletion,
    EntryStatement,
    ObjectStatement,
    Replication,
    SignedStatement,
    Store,
)
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import Member, World

GENEROUS = 1 << 30


@dataclass
class Running:
    """A node that answers, and what it was made of."""

    node: Node
    member: Member
    substrate: FixedSubstrate
    directory: Path
    trust: Trust

    @property
    def contact(self) -> Contact:
        return Contact(self.member.certificate.node_id, "127.0.0.1", self.node.port)


@asynccontextmanager
async def running_node(
    world: World,
    directory: Path,
    *,
    member: Member | None = None,
    quota: int = GENEROUS,
    limits: Limits | None = None,
    k: int = 3,
    port: int = 0,
    contacts: Sequence[Contact] = (),
) -> AsyncIterator[Running]:
    """Yield a started node; it is stopped afterwards."""
    member = member or world.node()
    settings = NodeSettings(directory, Endpoint("127.0.0.1", port), quota, limits or Limits())
    substrate = FixedSubstrate(contacts)
    history = (Replication(since=0, k=k, w=k),)
    trust = world.trust(member)
    node = Node(
        settings,
        member.identity,
        member.signer,
        trust,
        substrate,
        world.clock,
        lambda: history,
        repair_settling=0,
    )
    await node.start()
    if not contacts:  # the round at the start has nobody to ask; it is over before a test changes that
        await asyncio.sleep(0)
        await node.repair()
    try:
        yield Running(node, member, substrate, directory, trust)
    finally:
        await node.stop()


@asynccontextmanager
async def client_of(world: World, member: Member, *known: Member) -> AsyncIterator[PeerClient]:
    """Yield a PeerClient of `member`, whose trust knows `known`."""
    client = PeerClient(member.signer, world.trust(member, *known), world.clock)
    try:
        yield client
    finally:
        await client.close()


@dataclass
class Body:
    """A body with its signed statement and the secrets of its delete rights."""

    octets: bytes
    secrets: list[bytes]
    signed: SignedStatement
    statement: ObjectStatement = field(init=False)

    def __post_init__(self) -> None:
        assert isinstance(self.signed.statement, ObjectStatement)
        self.statement = self.signed.statement

    @property
    def store(self) -> Store:
        return Store(self.signed, self.octets)

    def deletion(self, right: int = 0) -> Deletion:
        return Deletion(self.signed, self.secrets[right])


def body(signer: Signer, now: int, octets: bytes = b"sealed", *, rights: int = 1, key: bytes = b"") -> Body:
    """A body under a fresh key, unless `key` says which."""
    secrets = [os.urandom(32) for _ in range(rights)]
    statement = ObjectStatement(
        object_key=key or os.urandom(32),
        digest=hashlib.sha256(octets).digest(),
        size=len(octets),
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        delete_rights=tuple(hashlib.sha256(secret).digest() for secret in secrets),
        signer=signer.fingerprint,
    )
    return Body(octets, secrets, signer.sign([statement])[0])


def entry(signer: Signer, inbox_key: bytes, now: int, notification: bytes = b"") -> SignedStatement:
    """An entry for `inbox_key`, different each time."""
    statement = EntryStatement(
        inbox_key=inbox_key,
        notification=notification or os.urandom(40),
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        signer=signer.fingerprint,
    )
    return signer.sign([statement])[0]


def acknowledgement(
    owner: Signer, inbox_key: bytes, now: int, entries: Sequence[bytes], instance: bytes = bytes(16)
) -> SignedStatement:
    """The owner's acknowledgement of entries (identities)."""
    statement = AcknowledgeStatement(
        inbox_key=inbox_key,
        entries=tuple(entries),
        instance=instance,
        issued=now,
        expires=now + params.OBJECT_LIFETIME + params.TOMBSTONE_GRACE,
        signer=owner.fingerprint,
    )
    return owner.sign([statement])[0]
