"""An outbox with everything around it: a network in memory, gateways on TLS sockets, a mailbox."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gateway.mail.outgoing import NewRecipient
from gateway.mail.submission import Submission
from gateway.outbox.direct import Courier
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from p2pcore.client.replicas import Written
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.tls import relay_server_context
from p2pcore.errors import CannotKnow, Failure
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent, prepare
from p2pcore.mail.send import Outcome
from p2pcore.names import canonical_address
from p2pcore.records import EntryStatement, GatewayInfo, Verdicts
from tests.support.identities import ManualClock, Member, World

KEY = bytes(range(32))
CONTENT = b"From: alice@example.org\r\nMessage-ID: <1@example.org>\r\nSubject: hello\r\n\r\n.a dot\r\nand the end\r\n"
OUTSIDE = "eve@outside.example"


def submission(
    *forward_paths: str,
    content: bytes | Path = CONTENT,
    reverse_path: str = "alice@example.org",
    notify: str = "",
) -> Submission:
    recipients = tuple(NewRecipient(path, notify) for path in forward_paths)
    return Submission(reverse_path, recipients, content)


@dataclass
class FakeNames:
    """Certificates by canonical address; anything else cannot be known."""

    certificates: dict[str, Certificate]
    domain: str = "example.org"

    async def certificate_of(self, address: str) -> Certificate:
        try:
            return self.certificates[canonical_address(address)]
        except KeyError:
            raise CannotKnow(f"certificate of {address}: no node has it") from None


@dataclass
class FakeMailbox:
    """Files each identity once, as the mail store does; `calls` counts repetitions too."""

    sent: dict[bytes, bytes] = field(default_factory=dict)
    reports: dict[bytes, bytes] = field(default_factory=dict)
    calls: int = 0
    failure: Exception | None = None

    async def append_sent(self, identity: bytes, content: bytes | Path, time: int) -> None:
        self._file(self.sent, identity, content)

    async def file_report(self, identity: bytes, content: bytes | Path, time: int) -> None:
        self._file(self.reports, identity, content)

    def _file(self, kept: dict[bytes, bytes], identity: bytes, content: bytes | Path) -> None:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        kept.setdefault(identity, content if isinstance(content, bytes) else content.read_bytes())

    def report(self) -> str:
        """The only report."""
        (octets,) = self.reports.values()
        return octets.decode()


@dataclass
class Relayed:
    """One transaction that a gateway queued."""

    user: str
    reverse_path: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class FakeGateway:
    """A relay port with RelayServer's rules and faults on demand.

    `at_rcpt`: replies by forward-path. `at_mail`, `at_data`, `at_dot`: replies given once each, in order, instead of
    250 and 354. "lose": the content is queued and the connection ends without a reply; "cut": it ends before the
    content is read; "early …": the reply comes before the end of the content.
    """

    member: Member
    queued: dict[str, Relayed] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    transactions: list[str] = field(default_factory=list)
    at_rcpt: dict[str, str] = field(default_factory=dict)
    at_mail: list[str] = field(default_factory=list)
    at_data: list[str] = field(default_factory=list)
    at_dot: list[str] = field(default_factory=list)
    extensions: tuple[str, ...] = ("8BITMIME", "SMTPUTF8", "SIZE 1000000", "DSN", "AUTH EXTERNAL")
    port: int = 0
    _server: asyncio.Server | None = None
    _handlers: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def info(self) -> GatewayInfo:
        key = hashlib.sha256(self.member.hpke_key.public_bytes).digest()
        return GatewayInfo("localhost", self.port, self.member.certificate.fingerprint, key)

    @property
    def envelope_ids(self) -> list[str]:
        """Of all transactions that reached the final dot, in order."""
        return self.transactions

    async def start(self) -> None:
        context = relay_server_context(self.member.identity)
        self._server = await asyncio.start_server(self._accept, "localhost", self.port, ssl=context, limit=1 << 22)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        open_now = dict(self._handlers)
        for handler in open_now.values():
            handler.cancel()
        await asyncio.gather(*open_now.values(), return_exceptions=True)
        for writer in open_now:  # a handler that had not begun closes nothing
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._handlers[writer] = asyncio.create_task(self._serve(reader, writer), name="fake gateway")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            del self._handlers[writer]
            writer.transport.abort()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(reply: str) -> None:
            writer.write(f"{reply}\r\n".encode())

        say("220 gateway")
        user = reverse_path = envelope_id = ""
        accepted: list[str] = []
        while line := (await reader.readline()).decode().rstrip("\r\n"):
            self.commands.append(line)
            verb, _, argument = line.partition(" ")
            if verb == "EHLO":
                writer.write("".join(f"250-{each}\r\n" for each in ("gateway", *self.extensions)).encode())
                say("250 ENHANCEDSTATUSCODES")
            elif verb == "AUTH":
                user = _user(writer)
                say("235 2.7.0 ok" if user else "535 5.7.8 no certificate")
            elif verb == "MAIL":
                reply = self.at_mail.pop(0) if self.at_mail else "250 2.1.0 ok"
                path, *options = argument.removeprefix("FROM:").split()
                reverse_path, accepted = path[1:-1], []
                envelope_id = next((each[6:] for each in options if each.startswith("ENVID=")), "")
                say(reply if user else "530 5.7.0 log in first")
            elif verb == "RCPT":
                path = argument.removeprefix("TO:").split()[0][1:-1]
                reply = self.at_rcpt.get(path, "250 2.1.5 ok")
                accepted += [path] if reply.startswith("2") else []
                say(reply)
            elif verb == "DATA":
                if self.at_dot[:1] == ["cut"]:
                    self.at_dot.pop(0)
                    return
                reply = self.at_data.pop(0) if self.at_data else "354 go on"
                say(reply if envelope_id else "503 5.5.1 no ENVID")
                if not reply.startswith("354"):
                    continue
                if self.at_dot and self.at_dot[0].startswith("early "):
                    await reader.readexactly(1_000)
                    say(self.at_dot.pop(0).removeprefix("early "))
                    await writer.drain()
                    await reader.read()
                    return
                content = await reader.readuntil(b"\r\n.\r\n")
                content = (b"\r\n" + content[:-3]).replace(b"\r\n.", b"\r\n")[2:]
                self.transactions.append(envelope_id)
                reply = self.at_dot.pop(0) if self.at_dot else "250 2.0.0 queued"
                if reply == "lose" or reply.startswith("2"):
                    self.queued.setdefault(envelope_id, Relayed(user, reverse_path, tuple(accepted), content))
                if reply == "lose":
                    return
                say(reply)
            else:
                say("221 2.0.0 bye" if verb == "QUIT" else "250 2.0.0 ok")
            await writer.drain()


def _user(writer: asyncio.StreamWriter) -> str:
    shown = writer.get_extra_info("ssl_object").getpeercert()
    return next((value for kind, value in (shown or {}).get("subjectAltName", ()) if kind == "email"), "")


@dataclass
class FakeSender:
    """Makes real statements; the network is two dictionaries. `appended` has every append, repetitions too."""

    signer: Signer
    clock: ManualClock
    bodies: dict[bytes, bytes] = field(default_factory=dict)
    appended: list[EntryStatement] = field(default_factory=list)
    body_failure: Failure | None = None
    entry_failures: dict[bytes, Failure] = field(default_factory=dict)  # by inbox key

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection:
        return prepare(sealed, parts, verdicts, self.signer, self.clock())

    async def inject_each(self, injection: Injection) -> Outcome:
        written = Written((b"node 1", b"node 2"), 3)
        body = injection.body if isinstance(injection.body, bytes) else injection.body.read_bytes()
        if self.body_failure is None:
            self.bodies[injection.body_statement.object_key] = body
        statements = [signed.statement for signed in injection.entries]
        entries = [statement for statement in statements if isinstance(statement, EntryStatement)]
        self.appended += entries
        outcomes = [self.entry_failures.get(entry.inbox_key, written) for entry in entries]
        return Outcome(self.body_failure or written, tuple(outcomes))


@dataclass
class Bench:
    """Alice's outbox; bob has a certificate, all others of example.org have none."""

    world: World
    alice: Member
    bob: Member
    sender: FakeSender
    gateways: list[FakeGateway]
    names: FakeNames
    directory: Path
    limits: OutboxLimits
    mailbox: FakeMailbox = field(default_factory=FakeMailbox)
    courier: Courier | None = None
    outbox: Outbox = field(init=False)

    def __post_init__(self) -> None:
        self.outbox = self.made()

    async def restart(self) -> None:
        """Stop the outbox and start it again from its directory."""
        await self.outbox.stop()
        self.outbox = self.made()
        await self.outbox.start()

    async def pass_time(self, milliseconds: int) -> None:
        """Let time pass and the outbox do what is due then."""
        self.world.clock.advance(milliseconds)
        self.outbox.wake()
        await self.settled()

    async def settled(self) -> None:
        async with asyncio.timeout(20):
            await self.outbox.settled()

    def entries_of(self, member: Member) -> list[EntryStatement]:
        """The different entries appended for a user."""
        key = member.certificate.inbox_key
        return list(dict.fromkeys(entry for entry in self.sender.appended if entry.inbox_key == key))

    def made(self) -> Outbox:
        """A new outbox over the same directory."""
        return Outbox(
            self.directory / "outbox",
            KEY,
            self.alice.identity,
            self.names,
            self.sender,
            lambda: [gateway.info for gateway in self.gateways],
            self.mailbox.append_sent,
            self.mailbox.file_report,
            self.world.clock,
            self.limits,
            self.directory,
            self.courier,
        )


@asynccontextmanager
async def bench(directory: Path, *, gateways: int = 1, limits: OutboxLimits | None = None) -> AsyncIterator[Bench]:
    """Yield a started bench."""
    world = World()
    alice, bob = world.user("alice"), world.user("bob")
    listeners = [FakeGateway(world.gateway(f"mx{number}.example.org")) for number in range(gateways)]
    names = FakeNames({"bob@example.org": bob.certificate})
    sender = FakeSender(alice.signer, world.clock)
    made = Bench(world, alice, bob, sender, listeners, names, directory, limits or OutboxLimits(sent_grace=0))
    async with AsyncExitStack() as stack:
        for gateway in listeners:
            await gateway.start()
            stack.push_async_callback(gateway.stop)
        await made.outbox.start()
        try:
            yield made
        finally:
            await made.outbox.stop()
