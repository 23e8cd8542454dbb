"""What the tests of outgoing mail share: items, and a network of our own domain that stores in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.mail.outgoing import NewItem, NewRecipient, Ret
from gateway.outbound.bodies import open_content, seal
from p2pcore.client.replicas import Written
from p2pcore.crypto.sealing import open_notification
from p2pcore.errors import Failure, NoSuchAddress
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent, prepare
from p2pcore.mail.names import Recipients
from p2pcore.mail.send import Outcome, Stored
from p2pcore.names import key_of
from p2pcore.records import EntryStatement, Notification, SignedStatement, Verdicts, identity
from tests.support.identities import Member, World

KEY = bytes(range(32))
CONTENT = b"From: alice@example.org\r\nTo: x@remote.example\r\nSubject: hello\r\n\r\nfirst\r\n.dot\r\n..two\r\n"


def new_item(
    *paths: str,
    submission_id: str = "s-1",
    reverse_path: str = "alice@example.org",
    content: bytes | SealedContent = CONTENT,
    notify: str = "",
    ret: Ret = "",
    smtputf8: bool = False,
) -> NewItem:
    """An item of alice; without `paths` for x@remote.example."""
    return NewItem(
        submission_id=submission_id,
        submitter="alice@example.org",
        reverse_path=reverse_path,
        recipients=tuple(NewRecipient(path, notify) for path in paths or ("x@remote.example",)),
        content=content,
        smtputf8=smtputf8,
        ret=ret,
        trace=b"Received: from [127.0.0.1]\r\n\tby mx.example.org with ESMTPSA id s-1;\r\n\tnow\r\n",
    )


@dataclass
class FakeNetwork:
    """Names and Sender of our own domain; `failing` addresses raise, `refusing` is what injections raise instead."""

    world: World
    users: dict[str, Member]
    failing: dict[str, Failure] = field(default_factory=dict)
    refusing: Failure | None = None
    entry_failures: dict[str, Failure] = field(default_factory=dict)
    injections: list[Injection] = field(default_factory=list)
    inboxes: dict[bytes, dict[bytes, EntryStatement]] = field(default_factory=dict)
    bodies: dict[bytes, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.signer = self.world.gateway().signer

    async def recipient(self, address: str) -> Recipients:
        if address in self.failing:
            raise self.failing[address]
        if address == "all@example.org":
            return Recipients(address, tuple(user.certificate for user in self.users.values()))
        user = self.users.get(address.partition("@")[0].partition("+")[0])
        if user is None:
            raise NoSuchAddress(address)
        return Recipients(address, (user.certificate,))

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection:
        return prepare(sealed, parts, verdicts, self.signer, self.world.clock())

    async def inject_each(self, injection: Injection) -> Outcome:
        self.injections.append(injection)
        if self.refusing is not None:
            raise self.refusing
        body = injection.body if isinstance(injection.body, bytes) else injection.body.read_bytes()
        self.bodies[injection.body_statement.object_key] = body
        return Outcome(Written((b"a", b"b"), 3), tuple(map(self._append, injection.entries)))

    async def inject(self, injection: Injection) -> Stored:
        outcome = await self.inject_each(injection)
        for entry in outcome.entries:
            if isinstance(entry, Failure):
                raise entry
        return Stored(2, 3)

    def _append(self, signed: SignedStatement) -> Written | Failure:
        statement = signed.statement
        assert isinstance(statement, EntryStatement)
        for name, failure in self.entry_failures.items():
            if self.users[name].certificate.inbox_key == statement.inbox_key:
                return failure
        self.inboxes.setdefault(statement.inbox_key, {})[identity(statement)] = statement
        return Written((b"a", b"b"), 3)

    async def report(self) -> Injection:
        """Return some finished report to alice."""
        part = RecipientPart(self.users["alice"].certificate, "", "alice@example.org", b"Return-Path: <>\r\n")
        return await self.prepare(seal(b"report"), [part], Verdicts())

    def mail_of(self, name: str) -> list[tuple[Notification, bytes]]:
        """Return what is in the inbox of `name`: notification and content."""
        user = self.users[name]
        found = []
        for entry in self.inboxes.get(user.certificate.inbox_key, {}).values():
            notification = open_notification(entry.notification, [user.hpke_key], entry.inbox_key, entry.signer)
            sealed = SealedContent(
                notification.session_key,
                notification.digest,
                notification.sealed_size,
                notification.content_size,
                self.bodies[key_of(notification.body_identifier)],
            )
            found.append((notification, open_content(sealed)))
        return found


def make_network(world: World | None = None) -> FakeNetwork:
    world = world or World()
    return FakeNetwork(world, {name: world.user(name) for name in ("alice", "bob", "carol")})
