"""An admitted user whose agent never runs: the tests hold her keys, look into her inbox and sign what she likes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gateway.site import Site
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.notifications import open_notification
from p2pcore.crypto.sealing import BodySealer, open_body
from p2pcore.crypto.statements import Signer, StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.directory import joining
from p2pcore.directory.text_forms import from_text, to_text
from p2pcore.mail.injection import Injection, SealedContent
from p2pcore.names import key_of
from p2pcore.records import (
    Append,
    AskCertificate,
    Delete,
    Deletion,
    EntryStatement,
    Fetch,
    FetchedBody,
    Invitation,
    JoinAnswer,
    Notification,
    ObjectStatement,
    Operation,
    Result,
    SignedStatement,
    Store,
    decode,
    identity,
)
from tests.flow.machines import DOMAIN, Ask, contact_of

T = TypeVar("T")


@dataclass(frozen=True)
class Received:
    """One entry of the insider's inbox, judged and opened; `body` is as the node gave it, still sealed."""

    entry: bytes
    statement: EntryStatement
    certificate: Certificate
    notification: Notification
    body: FetchedBody

    @property
    def object(self) -> ObjectStatement:
        statement = self.body.object.statement
        assert isinstance(statement, ObjectStatement)
        return statement

    @property
    def content(self) -> bytes:
        return open_body(self.notification.session_key, self.notification.content_size, self.body.body)


class Insider:
    """Her address, her keys, and what she can ask of the domain's one node."""

    def __init__(self, site: Site, ask: Ask, user: str) -> None:
        """Have `user` admitted at the directory that `ask` is; `site` is the machine with the node."""
        self.address = f"{user}@{DOMAIN}"
        invitation = from_text(Invitation, ask("invite", role="user", name=self.address)["text"])
        keys = joining.new_identity(invitation)
        request = joining.make_request(invitation, keys, None)
        answer = from_text(JoinAnswer, ask("sign", request=to_text(request))["text"])
        self.identity = joining.install(answer, keys, invitation)
        self.trust = Trust(self.identity.authority, DOMAIN)
        self.trust.add(answer.directory)
        certificate = self.trust.add(self.identity.certificate)
        self.signer = Signer(SigningKey.from_bytes(self.identity.signing_key), certificate)
        self.hpke_keys = [HpkeKey.from_bytes(key) for key in self.identity.hpke_keys]
        self._node = contact_of(site)
        self._cursor = (b"", 0)

    @property
    def certificate(self) -> Certificate:
        return self.signer.certificate

    def ask(self, question: Callable[[PeerClient], Awaitable[T]]) -> T:
        """Return what the node answers to a question that she signs."""

        async def connected() -> T:
            client = PeerClient(self.signer, self.trust, system_clock)
            try:
                return await question(client)
            finally:
                await client.close()

        return asyncio.run(connected())

    def call(self, *operations: Operation) -> list[Result]:
        """Return the node's results; every one must be a success."""
        results = self.ask(lambda client: client.call(self._node, operations))
        assert [result.status for result in results] == [200] * len(operations), results
        return results

    def new_entries(self) -> list[SignedStatement]:
        """Return what came into her inbox since the last call."""
        incarnation, cursor = self._cursor
        page = self.ask(
            lambda client: client.read_inbox(self._node, self.certificate.inbox_key, incarnation, cursor, 0)
        )
        assert not page.more
        self._cursor = page.incarnation, page.cursor
        return list(page.entries)

    def received(self) -> list[Received]:
        """Return what came into her inbox since the last call, with the sealed bodies."""
        return [self._received(signed) for signed in self.new_entries()]

    def fetch(self, notification: Notification) -> FetchedBody:
        """Return the sealed body that a notification names. Raises NotFound."""
        fetch = Fetch(key_of(notification.body_identifier), notification.digest)
        (result,) = self.ask(lambda client: client.call(self._node, [fetch]))
        return decode(FetchedBody, value_of(result))

    def delete(self, received: Received) -> None:
        """Use up her delete right of a body."""
        self.call(Delete(Deletion(received.body.object, received.notification.delete_secret)))

    def inject(self, injection: Injection, entries: Sequence[SignedStatement] = ()) -> None:
        """Store the body and append the entries (the injection's own unless given), signed by her."""
        assert isinstance(injection.body, bytes)
        appends = [Append(entry) for entry in entries or injection.entries]
        self.call(Store(injection.object, injection.body), *appends)

    def certificate_of(self, fingerprint: bytes) -> bytes:
        """Return the certificate (DER) with this fingerprint, as the node gives it."""
        return self.call(AskCertificate(fingerprint))[0].value

    def _received(self, signed: SignedStatement) -> Received:
        statement = signed.statement
        assert isinstance(statement, EntryStatement)
        self.trust.add(self.certificate_of(statement.signer))
        certificate = StatementVerifier(self.trust, system_clock).verify(signed, direct=False)
        notification = open_notification(statement.notification, self.hpke_keys, statement.inbox_key, statement.signer)
        return Received(identity(statement), statement, certificate, notification, self.fetch(notification))


def seal(content: bytes) -> SealedContent:
    """Return `content` sealed as a body in memory."""
    sealer = BodySealer()
    pieces = [*sealer.update(content), *sealer.finish()]
    return SealedContent(sealer.session_key, sealer.digest, sealer.sealed_size, sealer.content_size, b"".join(pieces))
