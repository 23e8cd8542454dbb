"""Who sends and who receives: the real `Replicas` and `Finisher` on the virtual network, mail as mere objects."""

import asyncio
import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2pcore import params
from p2pcore.client.batching import Batcher
from p2pcore.client.placement import widened
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure
from p2pcore.mail.finish import Finisher
from p2pcore.records import (
    AcknowledgeStatement,
    Append,
    CleanupTask,
    EntryStatement,
    InboxPage,
    ObjectStatement,
    Replication,
    SignedStatement,
    Store,
    identity,
)
from p2pcore.sim.members import BelievedTrust, Member
from p2pcore.sim.network import Network
from p2pcore.sim.peers import SimulatedPeers
from p2pcore.sim.substrate import SimulatedSubstrate
from p2pcore.sim.virtual_time import virtual_clock

BODY: Final = 8 << 10  # octets: sealed and padded
NOTIFICATION: Final = 3_200  # octets: the smallest padded class, sealed
_AGAIN: Final = 60.0  # seconds until a cleaning up that is not complete is repeated
_ATTEMPTS: Final = 10
_POINTER: Final = 3 * params.KEY_SIZE  # body key ‖ digest ‖ secret, in clear here


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it lies in the network: a body under its own key, an entry in the recipient's inbox."""

    body: SignedStatement
    entry: SignedStatement
    octets: bytes

    @property
    def object(self) -> ObjectStatement:
        statement = self.body.statement
        assert isinstance(statement, ObjectStatement)
        return statement

    @property
    def inbox_key(self) -> bytes:
        statement = self.entry.statement
        assert isinstance(statement, EntryStatement)
        return statement.inbox_key


class SimulatedClient:
    """A gateway or an agent: in the DHT as a client."""

    def __init__(
        self, network: Network, member: Member, trust: BelievedTrust, history: tuple[Replication, ...]
    ) -> None:
        self.member = member
        self.substrate = SimulatedSubstrate(network, member, trust)
        self._peers = SimulatedPeers(network, member, "client")
        self._batcher = Batcher(self._peers)
        self.replicas = Replicas(
            self.substrate,
            self._peers,
            self._batcher,
            lambda: history,
            virtual_clock,
            checker=VersionChecker(trust, StatementVerifier(trust, virtual_clock)),
            directory=Path("/nonexistent"),
        )
        self._finisher = Finisher(self.replicas, member.signer, bytes(16), virtual_clock)

    async def stop(self) -> None:
        """End what goes on in the background."""
        await self.replicas.stop()
        await self._batcher.stop()
        await self.substrate.stop()

    async def send(self, recipient: Member, source: random.Random) -> Mail:
        """Store a body and append an entry, each on w of k nodes on return. Raises NoQuorum."""
        mail = self._draft(recipient, source)
        await self.replicas.write(mail.object.object_key, Store(mail.body, mail.octets))
        await self.replicas.write(mail.inbox_key, Append(mail.entry))
        return mail

    async def collect(self) -> tuple[list[CleanupTask], int]:
        """Read our inbox on all its holders and fetch every body; return what we owe, and how many bodies nobody gave.

        What a holder that is down has is not read, as in the real reader: it is asked again later.
        """
        owed: list[CleanupTask] = []
        missed = 0
        for entry in await self._waiting():
            try:
                owed.append(await self._fetch(entry))
            except Failure:
                missed += 1
        return owed, missed

    async def finish(self, owed: list[CleanupTask]) -> None:
        """Acknowledge and delete everywhere, some times over until every holder that could be found has confirmed."""
        for _ in range(_ATTEMPTS):
            if not owed:
                return
            done = await self._finisher.finish(owed)
            owed = [task for task, over in zip(owed, done, strict=True) if not over]
            if owed:
                await asyncio.sleep(_AGAIN)

    def _draft(self, recipient: Member, source: random.Random) -> Mail:
        signer, now = self.member.signer, virtual_clock()
        octets, secret, key = (
            source.randbytes(BODY),
            source.randbytes(params.KEY_SIZE),
            source.randbytes(params.KEY_SIZE),
        )
        digest = hashlib.sha256(octets).digest()
        expires = now + params.OBJECT_LIFETIME
        rights = (hashlib.sha256(secret).digest(),)
        body = ObjectStatement(key, digest, len(octets), now, expires, rights, signer.fingerprint)
        notification = (key + digest + secret).ljust(NOTIFICATION, b".")
        entry = EntryStatement(recipient.certificate.inbox_key, notification, now, expires, signer.fingerprint)
        signed = signer.sign([body, entry])
        return Mail(signed[0], signed[1], octets)

    async def _waiting(self) -> list[EntryStatement]:
        """Return the entries of all holders that answer, less those acknowledged."""
        inbox_key = self.member.certificate.inbox_key
        holders = await self.substrate.lookup(inbox_key, widened(self.replicas.largest_k(0)))
        pages = [page for holder in holders for page in await self._pages(holder, inbox_key)]
        found = {identity(signed.statement): signed.statement for page in pages for signed in page.entries}
        for page in pages:
            for signed in page.acknowledged:
                assert isinstance(signed.statement, AcknowledgeStatement)
                for gone in signed.statement.entries:
                    found.pop(gone, None)
        return [statement for statement in found.values() if isinstance(statement, EntryStatement)]

    async def _pages(self, holder: Contact, inbox_key: bytes) -> list[InboxPage]:
        pages: list[InboxPage] = []
        incarnation, cursor, more = b"", 0, True
        try:
            while more:
                page = await self._peers.read_inbox(holder, inbox_key, incarnation, cursor, 0)
                incarnation, cursor, more = page.incarnation, page.cursor, page.more
                pages.append(page)
        except Failure:
            self.substrate.report(holder, alive=False)
        return pages

    async def _fetch(self, entry: EntryStatement) -> CleanupTask:
        size = params.KEY_SIZE
        key, digest, secret = (entry.notification[start : start + size] for start in range(0, _POINTER, size))
        fetched = await self.replicas.fetch(key, digest, BODY, since=entry.issued)
        return CleanupTask(identity(entry), entry.expires, virtual_clock(), fetched.object, secret)
