"""Entries as an inbox reader gives them, and bodies as replicas give them, without a network."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import msgspec

from p2pcore import params
from p2pcore.client.held_file import HeldFile
from p2pcore.client.reads import Asked
from p2pcore.crypto.notifications import NotificationSealer
from p2pcore.dht.contact import Contact
from p2pcore.errors import CannotKnow
from p2pcore.mail.read import ReceivedEntry
from p2pcore.mail.retrieve import Retrieved
from p2pcore.records import Notification, SignedStatement, Verdicts
from tests.support.identities import Member, World, entry_statement, object_statement

U = TypeVar("U")

CONTENT = b"From: bob@example.net\r\nMessage-ID: <1@example.net>\r\nSubject: hello\r\n\r\nIt works.\r\n"
TRACE = b"Return-Path: <bob@example.net>\r\nReceived: from a by b\r\n"
NODE = Contact(bytes(32), "192.0.2.1", 4466)


@dataclass
class Sending:
    """A gateway, alice, and what the gateway sends her."""

    world: World = field(default_factory=World)

    def __post_init__(self) -> None:
        self.alice = self.world.user("alice")
        self.gateway = self.world.gateway()
        self.bodies: dict[str, bytes] = {}

    def notification(self, content: bytes = CONTENT, signer: Member | None = None, **changed: object) -> Notification:
        """A notification to alice that nothing is wrong with, but for what is `changed`."""
        signer = signer or self.gateway
        identifier = f"<{len(self.bodies)}@mx.example.org>"
        self.bodies[identifier] = content
        notification = Notification(
            inbox_key=self.alice.certificate.inbox_key,
            signer=signer.signer.fingerprint,
            reverse_path="bob@example.net",
            forward_path="alice@example.org",
            trace=TRACE,
            body_identifier=identifier,
            session_key=bytes(32),
            digest=hashlib.sha256(content).digest(),
            sealed_size=len(content),
            content_size=len(content),
            received=self.world.clock(),
            verdicts=Verdicts(client_address="192.0.2.9"),
            delete_secret=bytes(32),
        )
        return msgspec.structs.replace(notification, **changed)

    def entry(
        self, notification: Notification, signer: Member | None = None, to: Member | None = None
    ) -> ReceivedEntry:
        """The entry that carries `notification`, sealed to alice or to somebody else."""
        signer = signer or self.gateway
        sealed = NotificationSealer().seal(notification, (to or self.alice).hpke_key.public_bytes)
        statement = entry_statement(signer.signer, self.alice.certificate.inbox_key, self.world.clock(), sealed)
        return ReceivedEntry(hashlib.sha256(sealed).digest(), statement, signer.certificate, NODE)

    def object(self) -> SignedStatement:
        return self.gateway.signer.sign([object_statement(self.gateway.signer, self.world.clock())])[0]


class Replicas:
    """A Retriever whose answers a test decides: failures first, by body identifier, then the body."""

    def __init__(self, sending: Sending, directory: Path) -> None:
        self._sending = sending
        self._directory = directory
        self.failures: dict[str, list[Exception]] = {}
        self.hangs: set[str] = set()  # body identifiers that get no answer at all
        self.asked: list[str] = []
        self.given: list[Retrieved] = []
        self.as_files = False

    def missing(self, notification: Notification, times: int, kind: Callable[[str], Exception] = CannotKnow) -> None:
        self.failures[notification.body_identifier] = [kind("not now") for _ in range(times)]

    async def retrieve_together(
        self, contact: Contact, notifications: Sequence[Notification], use: Callable[[int, Retrieved], U]
    ) -> list[U | Asked]:
        """What fails, hangs or is a file is not had together with others."""
        outcomes = list[U | Asked]()
        for index, notification in enumerate(notifications):
            identifier = notification.body_identifier
            if self.failures.get(identifier) or identifier in self.hangs or self.as_files:
                outcomes.append(Asked(asyncio.get_running_loop().create_future(), index, 0.0))
            else:
                outcomes.append(use(index, await self.retrieve(notification, contact)))
        return outcomes

    async def retrieve(
        self, notification: Notification, first: Contact | None = None, asked: Asked | None = None
    ) -> Retrieved:
        assert first == NODE
        self.asked.append(notification.body_identifier)
        if notification.body_identifier in self.hangs:
            await asyncio.get_running_loop().create_future()
        failures = self.failures.get(notification.body_identifier, [])
        if failures:
            raise failures.pop(0)
        content = self._sending.bodies[notification.body_identifier]
        held = None
        if self.as_files:
            held = HeldFile.temporary(self._directory)
            held.file.write(content)
            held.file.flush()
        digest = hashlib.sha256(content).digest()
        retrieved = Retrieved(held.path if held else content, digest, self._sending.object(), held)
        self.given.append(retrieved)
        return retrieved


class Holders:
    """A Finisher whose answers a test decides; `tell` None: the network cannot be asked."""

    def __init__(self) -> None:
        self.tell: Callable[[bytes], bool] | None = lambda entry: True
        self.rounds: list[list[bytes]] = []

    async def finish(self, tasks: list[object]) -> list[bool]:
        entries = [task.entry for task in tasks]  # type: ignore[attr-defined]
        assert 0 < len(entries) <= params.MAX_ACKNOWLEDGED
        self.rounds.append(entries)
        if self.tell is None:
            raise CannotKnow("k and w are not known")
        return [self.tell(entry) for entry in entries]
