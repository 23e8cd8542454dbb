"""The two listeners for our own users: real sessions, TLS and certificates; outbox and queue are lists."""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from gateway.errors import AccountClosed
from gateway.mail.outgoing import NewItem, Sending
from gateway.mail.submission import Submission
from gateway.maillog import MailLog
from gateway.smtp.relay import RelayServer
from gateway.smtp.settings import RelaySettings, SmtpLimits, SubmissionSettings
from gateway.smtp.submission import SubmissionServer
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.sealing import open_body
from p2pcore.crypto.tls import user_client_context
from p2pcore.crypto.trust import Trust
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow, InboxFull, Malformed, NoSuchAddress, PermanentFailure, TooLarge
from p2pcore.mail.injection import SealedContent
from p2pcore.names import canonical_address
from tests.gateway.smtp.world import DOMAIN, FakeNames, ListLog, SmtpClient, Users
from tests.support import identities
from tests.support.identities import ManualClock, Member

LOCALHOST = Endpoint("127.0.0.1", 0)
ALICE = f"alice@{DOMAIN}"


@dataclass
class People:
    """The domain and who dials in."""

    domain: identities.World = field(default_factory=lambda: identities.World(DOMAIN))

    def __post_init__(self) -> None:
        self.alice = self.domain.user("alice", "al", '"quoted local"')
        self.bob = self.domain.user("bob")
        self.greta = self.domain.user("grüße")
        self.node = self.domain.node()
        self.gateway = self.domain.gateway()
        self.stranger = identities.World("example.net").user("alice")
        self.users = Users("alice", "bob")

    @property
    def by_name(self) -> Mapping[str, Member]:
        """Members by the name a transcript gives a connection; "" is alice."""
        return {"": self.alice, "bob": self.bob, "greta": self.greta, "node": self.node, "stranger": self.stranger}


class FakeOutbox:
    """Keeps submissions in a list, their content read as a durable outbox would; some addresses stand for a failure."""

    def __init__(self) -> None:
        self.kept: list[Submission] = []
        self.paths: list[Path] = []
        self.failure: BaseException | None = None
        self.failures = {
            f"nobody@{DOMAIN}": NoSuchAddress("the secret reason"),
            f"full@{DOMAIN}": InboxFull("the secret reason"),
            f"unknown@{DOMAIN}": CannotKnow("the secret reason"),
            f"closed@{DOMAIN}": PermanentFailure("the secret reason"),
            f"small@{DOMAIN}": TooLarge("the secret reason"),
        }

    async def check_recipient(self, address: str) -> None:
        if address in self.failures:
            raise self.failures[address]

    async def accept(self, submission: Submission) -> str:
        if self.failure is not None:
            raise self.failure
        if isinstance(submission.content, Path):
            self.paths.append(submission.content)
            submission = replace(submission, content=await asyncio.to_thread(submission.content.read_bytes))
        self.kept.append(submission)
        return f"outbox-{len(self.kept)}"


class FakeQueue:
    """Keeps items in a list, once per submitter and submission ID, with their content opened."""

    def __init__(self) -> None:
        self.kept: list[tuple[NewItem, bytes]] = []
        self.sources: list[bytes | Path] = []
        self.before: list[Sending] = []
        self.failure: BaseException | None = None

    async def knows(self, submitter: str, submission_id: str) -> bool:
        return any((one.submitter, one.submission_id) == (submitter, submission_id) for one, _ in self.kept)

    async def accept(self, item: NewItem) -> bool:
        if self.failure is not None:
            raise self.failure
        if await self.knows(item.submitter, item.submission_id):
            return False
        assert isinstance(item.content, SealedContent)
        source = item.content.source
        self.sources.append(source)
        sealed = source if isinstance(source, bytes) else await asyncio.to_thread(source.read_bytes)
        self.kept.append((item, open_body(item.content.session_key, item.content.content_size, sealed)))
        return True

    async def sendings(self) -> list[Sending]:
        return self.before


@dataclass
class SubmissionWorld:
    """An agent's listener; the password of "alice" is "secret"."""

    server: SubmissionServer
    outbox: FakeOutbox
    log: ListLog
    clock: ManualClock

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def client(self, *, logged_in: bool = True) -> SmtpClient:
        """A client that has read the greeting, and logged in if it is to."""
        client = await SmtpClient.connect(self.server.listeners[0].port)
        await client.greeted()
        if logged_in:
            assert (await client.command("EHLO [127.0.0.1]")).startswith("250")
            assert (await client.command("AUTH PLAIN AGFsaWNlAHNlY3JldA==")).startswith("235")
        return client

    async def dial(self, tls: ssl.SSLContext) -> SmtpClient:
        """A client of the listener with implicit TLS that has read the greeting."""
        port = self.server.listeners[-1].port
        client = SmtpClient(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=""))
        await client.greeted()
        return client


def make_submission(
    people: People, tls: ssl.SSLContext | None = None, *, limits: dict[str, int] | None = None, **settings: Any
) -> SubmissionWorld:
    """A server that is not started; `limits` and `settings` replace defaults."""
    chosen = SubmissionSettings((LOCALHOST,), f"agent.{DOMAIN}", **settings)
    chosen = replace(chosen, limits=replace(SmtpLimits(failed_login_delay=0), **(limits or {})))
    outbox, log, clock = FakeOutbox(), ListLog(), people.domain.clock

    async def authenticate(user: str, password: str) -> Certificate | None:
        if (user, password) == ("closed", "secret"):
            raise AccountClosed(user)
        known = user in ("alice", ALICE) and password == "secret"
        return people.alice.certificate if known else None

    def counted_as(user: str) -> str:
        try:
            return canonical_address(user if "@" in user else f"{user}@{DOMAIN}")
        except Malformed:
            return user

    def outbox_of(address: str) -> FakeOutbox:
        assert address == ALICE
        return outbox

    server = SubmissionServer(chosen, authenticate, outbox_of, tls, clock, MailLog(log), counted_as=counted_as)
    return SubmissionWorld(server, outbox, log, clock)


@dataclass
class RelayWorld:
    """A gateway's listener for agents."""

    server: RelayServer
    queue: FakeQueue
    names: FakeNames
    trust: Trust
    log: ListLog
    clock: ManualClock
    people: People
    directory: Path

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    @property
    def port(self) -> int:
        return self.server.listeners[0].port

    def files(self) -> list[Path]:
        """What lies in the temporary directory under a name."""
        return list(self.directory.iterdir())

    def dial(self, member: Member) -> ssl.SSLContext:
        """What `member` dials this gateway with."""
        return user_client_context(member.identity, self.people.gateway.certificate.fingerprint)

    async def client(self, member: Member | None = None, *, logged_in: bool = True) -> SmtpClient:
        """A client that has read the greeting, and logged in if it is to; alice unless said otherwise."""
        tls = self.dial(member or self.people.alice)
        client = SmtpClient(*await asyncio.open_connection("127.0.0.1", self.port, ssl=tls, server_hostname=""))
        await client.greeted()
        if logged_in:
            assert (await client.command("EHLO agent.example.org")).startswith("250")
            assert (await client.command("AUTH EXTERNAL =")).startswith("235")
        return client


def make_relay(
    people: People,
    directory: Path,
    clock: Callable[[], int] | None = None,
    *,
    limits: dict[str, int] | None = None,
    **settings: Any,
) -> RelayWorld:
    """A server that is not started; `limits` and `settings` replace defaults."""
    chosen = RelaySettings((LOCALHOST,), f"mx.{DOMAIN}", directory, **settings)
    chosen = replace(chosen, limits=replace(SmtpLimits(failed_login_delay=0), **(limits or {})))
    manual = ManualClock(people.domain.clock())
    queue, known, log, trust = FakeQueue(), FakeNames(people.users), ListLog(), people.domain.trust()
    server = RelayServer(chosen, queue, known, trust, people.gateway.identity, clock or manual, MailLog(log))
    return RelayWorld(server, queue, known, trust, log, manual, people, directory)
