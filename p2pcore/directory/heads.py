"""Heads: the directory's small word every few minutes that a record is the newest, and how it gets about."""

from collections.abc import Sequence
from typing import Protocol

from p2pcore import names, params
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.directory.directory import Directory
from p2pcore.errors import Failure, NoQuorum
from p2pcore.records import HeadStatement, Operation, Publish, PublishedVersion, Result, SignedStatement


class Announcer(Protocol):
    """Spreads heads; the nodes' replies carry the newest one they know."""

    async def announce(self, head: SignedStatement) -> None:
        """Hand `head` to nodes. Raises Failure."""


class Asker(Protocol):
    """Asks several nodes the same (client.replicas.Replicas)."""

    async def ask_all(self, contacts: Sequence[Contact], operation: Operation) -> list[Result | Failure]:
        """Return what each contact answers, in their order."""


class HeadSpreader:
    """The Announcer for a real network: every node we know, and those nearest to the domain record, get each head.

    They put it on all their replies, so whoever talks to any of them has it.
    """

    def __init__(self, substrate: Substrate, asker: Asker) -> None:
        self._substrate = substrate
        self._asker = asker

    async def announce(self, head: SignedStatement) -> None:
        """Raises NoQuorum where no node took it."""
        statement = head.statement
        assert isinstance(statement, HeadStatement)
        key = names.key_of(names.domain_identifier(statement.domain))
        nearest = await self._substrate.lookup(key, params.VERSIONED_REPLICAS)
        contacts = tuple({contact.node_id: contact for contact in (*nearest, *self._substrate.known())}.values())
        # A head travels as a version without content
        answers = await self._asker.ask_all(contacts, Publish(PublishedVersion(head, b"")))
        if not any(isinstance(answer, Result) and answer.status == 200 for answer in answers):
            raise NoQuorum(f"none of {len(contacts)} nodes took the head: {answers[:1]}")


def sign_head(directory: Directory, record_digest: bytes) -> SignedStatement:
    """Return the head that says, from now on for HEAD_LIFETIME, that this is the newest record."""
    now, signer = directory.clock(), directory.signer
    statement = HeadStatement(directory.domain, record_digest, now, now + params.HEAD_LIFETIME, signer.fingerprint)
    return signer.sign([statement])[0]
