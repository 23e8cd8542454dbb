"""An inbound SMTP server as tests need it: real sessions, real sealing and signing, a network of one list."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from gateway.maillog import MailLog
from gateway.resolver import Answer, Kind, Value
from gateway.smtp.acceptance import RelayedReports
from gateway.smtp.server import GatewaySmtp
from gateway.smtp.settings import SmtpLimits, SmtpSettings
from p2pcore import names
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.sealing import open_body, open_notification
from p2pcore.crypto.statements import Signer
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow, InboxDormant, InboxFull, NoSuchAddress, NotOurDomain
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent, prepare
from p2pcore.mail.names import Recipients
from p2pcore.mail.send import Stored
from p2pcore.records import EntryStatement, Notification, Verdicts
from tests.support import identities

NOW = identities.START  # 2026-09-21 14:13:20 UTC
DOMAIN = "example.org"
TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Message:
    """What the network was given for one message, opened with its recipients' keys, by primary address."""

    content: bytes
    notifications: dict[str, Notification]
    body_on_disk: bytes | None


class Users:
    """A domain's users with their keys, and the gateway's signer."""

    def __init__(self, *local_parts: str) -> None:
        domain = identities.World(DOMAIN)
        members = [domain.user(local) for local in local_parts]
        self.keys: dict[str, HpkeKey] = {one.certificate.primary_address: one.hpke_key for one in members}
        self.certificates: dict[str, Certificate] = {
            one.certificate.primary_address: one.certificate for one in members
        }
        self.signer: Signer = domain.gateway().signer


class FakeNames:
    """Answers RCPT from a table; some addresses stand for a failure."""

    domain = DOMAIN

    def __init__(self, users: Users) -> None:
        self._users = users
        self.aliases: dict[str, tuple[str, ...]] = {"both": ("alice", "bob"), "postmaster": ("alice",)}
        self.failures: dict[str, Exception] = {
            "unknown": CannotKnow("the secret reason"),
            "full": InboxFull("the secret reason"),
            "dormant": InboxDormant("the secret reason"),
            "broken": RuntimeError("the secret reason"),
        }

    async def recipient(self, address: str) -> Recipients:
        return self._found(address)

    def known(self, address: str) -> Recipients | None:
        with suppress(Exception):
            return self._found(address)
        return None

    def _found(self, address: str) -> Recipients:
        canonical = names.canonical_address(address)
        local, domain = names.split_address(canonical)
        if domain != DOMAIN:
            raise NotOurDomain(address)
        if local in self.failures:
            raise self.failures[local]
        users = [f"{user}@{DOMAIN}" for user in self.aliases.get(local, (local,))]
        if any(user not in self._users.certificates for user in users):
            raise NoSuchAddress(address)
        return Recipients(canonical, tuple(self._users.certificates[user] for user in users))


@dataclass
class FakeNetwork:
    """Prepares with the real code; `inject` stores in a list, waits on `gate`, or raises `failure`."""

    users: Users
    messages: list[Message] = field(default_factory=list)
    failure: BaseException | None = None
    gate: asyncio.Event | None = None
    entered: asyncio.Event = field(default_factory=asyncio.Event)

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection:
        return prepare(sealed, parts, verdicts, self.users.signer, NOW)

    async def inject(self, injection: Injection) -> Stored:
        self.entered.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.messages.append(self._open(injection))
        return Stored(2, 3)

    def _open(self, injection: Injection) -> Message:
        on_disk = injection.body.read_bytes() if isinstance(injection.body, Path) else None
        sealed = on_disk if on_disk is not None else injection.body
        assert isinstance(sealed, bytes)
        notifications = {}
        for entry in injection.entries:
            statement = entry.statement
            assert isinstance(statement, EntryStatement)
            keys = {names.inbox_key(address): (address, key) for address, key in self.users.keys.items()}
            address, key = keys[statement.inbox_key]
            notifications[address] = open_notification(
                statement.notification, [key], statement.inbox_key, statement.signer
            )
        first = next(iter(notifications.values()))
        return Message(open_body(first.session_key, first.content_size, sealed), notifications, on_disk)


class FakeDns:
    """DNS from a table; a name in `silent` never answers, one in `broken` cannot be known."""

    def __init__(self, records: dict[tuple[str, Kind], tuple[Value, ...]] | None = None) -> None:
        self.records = records or {}
        self.broken: set[str] = set()
        self.silent: set[str] = set()
        self.asked: list[tuple[str, Kind]] = []

    async def ask(self, name: str, kind: Kind) -> Answer[Value]:
        name = name.lower()
        self.asked.append((name, kind))
        if name in self.silent:
            await asyncio.Event().wait()
        if name in self.broken:
            raise CannotKnow(name)
        return Answer(self.records.get((name, kind), ()))

    async def text(self, name: str) -> Answer[bytes]:
        answer = await self.ask(name, "TXT")
        return Answer(tuple(b"".join(value) for value in answer.values if isinstance(value, tuple)))  # type: ignore[arg-type]

    async def addresses(self, name: str) -> Answer[str]:
        found = (await self.ask(name, "A")).values + (await self.ask(name, "AAAA")).values
        return Answer(tuple(str(value) for value in found))

    async def names_of(self, address: str) -> Answer[str]:
        return Answer(tuple(str(value) for value in (await self.ask(f"ptr:{address}", "PTR")).values))


class ListLog:
    """Collects events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []

    def info(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    warning = info
    error = info

    def named(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.events if name == event]


@dataclass
class World:
    """One server with everything around it."""

    server: GatewaySmtp
    network: FakeNetwork
    names: FakeNames
    dns: FakeDns
    log: ListLog
    directory: Path

    async def __aenter__(self) -> Self:
        await self.server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop()

    async def client(self) -> "SmtpClient":
        """A client that has read the greeting."""
        client = await SmtpClient.connect(self.server.ports[0])
        return await client.greeted()

    def files(self) -> list[Path]:
        """What lies in the temporary directory under a name."""
        return list(self.directory.iterdir())


def make_world(
    users: Users,
    directory: Path,
    tls: Any = None,
    *,
    clock: Callable[[], int] = lambda: NOW,
    limits: dict[str, int] | None = None,
    reports: RelayedReports | None = None,
    **settings: Any,
) -> World:
    """A server that is not started; `limits` and `settings` replace defaults."""
    chosen = SmtpSettings((Endpoint("127.0.0.1", 0),), f"mx.{DOMAIN}", directory, **settings)
    chosen = replace(chosen, limits=replace(SmtpLimits(), **(limits or {})))
    network, known, dns, log = FakeNetwork(users), FakeNames(users), FakeDns(), ListLog()
    server = GatewaySmtp(chosen, known, network, tls, dns, clock, MailLog(log), reports)
    return World(server, network, known, dns, log, directory)


@dataclass
class SmtpClient:
    """A client that says exactly what it is told to."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def greeted(self) -> Self:
        """Read the greeting; closed where none comes."""
        try:
            assert (await self.reply()).startswith("220 ")
        except BaseException:
            self.close()
            raise
        return self

    async def reply(self) -> str:
        """The next reply, its lines joined with "|"; "" where the server has closed."""
        lines: list[str] = []
        while True:
            try:
                line = (await asyncio.wait_for(self.reader.readline(), TIMEOUT)).decode()
            except ConnectionError:
                return ""
            if not line:
                return ""
            lines.append(line.removesuffix("\r\n"))
            if line[3:4] != "-":
                return "|".join(lines)

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def command(self, text: str) -> str:
        """Send one command and return its reply."""
        self.send(text.encode() + b"\r\n")
        return await self.reply()

    async def open_transaction(self, *recipients: str, sender: str = "sender@example.net") -> None:
        """EHLO to DATA; every command is accepted."""
        assert (await self.command("EHLO client.example.net")).startswith("250")
        assert (await self.command(f"MAIL FROM:<{sender}> BODY=8BITMIME")).startswith("250")
        for recipient in recipients or (f"alice@{DOMAIN}",):
            assert (await self.command(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await self.command("DATA")).startswith("354")

    async def deliver(self, stuffed: bytes, *recipients: str, sender: str = "sender@example.net") -> str:
        """A whole transaction with `stuffed` between 354 and the dot; the reply to it."""
        await self.open_transaction(*recipients, sender=sender)
        self.send(stuffed + b".\r\n")
        return await self.reply()

    async def deliver_open(self, stuffed: bytes, *recipients: str, sender: str) -> str:
        """The same in a session that has said EHLO, and perhaps logged in."""
        assert (await self.command(f"MAIL FROM:<{sender}>")).startswith("250")
        for recipient in recipients or (f"bob@{DOMAIN}",):
            assert (await self.command(f"RCPT TO:<{recipient}>")).startswith("250")
        assert (await self.command("DATA")).startswith("354")
        self.send(stuffed + b".\r\n")
        return await self.reply()

    def close(self) -> None:
        self.writer.close()
