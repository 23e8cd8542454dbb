"""Every primitive in every form it has on the wire, asked by anybody, and what the node makes of it."""

import base64
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from p2pcore import errors, names, params
from p2pcore.client.framing import APPEND_INBOX, READ_INBOX, frame
from p2pcore.client.pinning import PinnedNode
from p2pcore.client.results import value_of
from p2pcore.errors import Failure
from p2pcore.node.settings import Limits
from p2pcore.records import (
    Acknowledge,
    Append,
    AppendAfter,
    AskCertificate,
    AskInbox,
    AskSettled,
    Batch,
    BatchReply,
    Delete,
    Deletion,
    Fetch,
    Greet,
    HeadStatement,
    Offer,
    Operation,
    Publish,
    PublishedVersion,
    Resolve,
    Revocation,
    decode,
    encode,
    identity,
)
from tests.p2pcore.node.test_requests import Wire
from tests.p2pcore.node.test_versioned import certificate_version, domain_version
from tests.support.identities import START, ManualClock, Member, World
from tests.support.nodes import Body, acknowledgement, body, client_of, entry
from tests.threats.table import ROLES

LIMITS: Final = Limits()


@dataclass(frozen=True)
class Request:
    """One form of a primitive."""

    method: str
    path: str
    octets: bytes
    pragma: str = ""


class People:
    """Everybody who asks, by role: as admitted, revoked and expired; `stranger` is of another authority."""

    def __init__(self) -> None:
        self.clock = ManualClock(START - params.CERTIFICATE_LIFETIME - params.DAY)
        self.world = World(clock=self.clock)
        self.expired = self._one_of_each("late")
        self.clock.now = START
        self.admitted = self._one_of_each("alice") | {"other user": self.world.user("bob")}
        self.revoked = self._one_of_each("eve")
        self.stranger = World().user("alice")
        self.member = self.world.node()  # the node that is asked

    def _one_of_each(self, name: str) -> dict[str, Member]:
        world = self.world
        made = (world.user(name), world.user(f"{name}2"), world.gateway(), world.node(), world.directory())
        return dict(zip(ROLES, made, strict=True))

    @property
    def revocations(self) -> tuple[Revocation, ...]:
        return tuple(Revocation(each.certificate.serial, "retired", START) for each in self.revoked.values())


@dataclass(frozen=True)
class Scene:
    """One node with something of each kind on it."""

    people: People
    wire: Wire
    held: Body

    @property
    def now(self) -> int:
        return self.people.clock()

    def forms(self, primitive: str, asker: Member, owner: Member) -> list[Request]:
        """Return the requests by which `asker` asks for `primitive`, which is about what `owner` has or signed."""
        return _FORMS[primitive](self, asker, owner)

    def sign(self, member: Member, request: Request, *, node_id: bytes = b"", now: int = 0) -> dict[str, str]:
        """Return the header fields of `request`, signed by `member`."""
        return self.wire.signed(
            member, request.method, request.path, request.octets, pragma=request.pragma, node_id=node_id, now=now
        )

    def unsigned(self, request: Request) -> dict[str, str]:
        """Return the header fields of `request` without a signature."""
        digest = base64.b64encode(hashlib.sha256(request.octets).digest()).decode()
        fields = {"Content-Digest": f"sha-256=:{digest}:", "P2pmail-Node": self.wire.running.contact.node_id.hex()}
        return fields | ({"Pragma": request.pragma} if request.pragma else {})

    async def send(self, request: Request, headers: dict[str, str]) -> type[Failure] | None:
        """Return the failure that the node answers with; None: it did what was asked."""
        pin = PinnedNode(self.wire.running.contact.node_id)
        url = self.wire.url(request.path)
        async with self.wire.session.request(
            request.method, url, data=request.octets, headers=headers, ssl=pin
        ) as response:
            octets = await response.read()
            if response.status != 200:
                return _named(octets.decode(), response.status)
        if request.path != "/v1/batch":
            return None
        [result] = decode(BatchReply, octets).results
        return None if result.status == 200 else _named(result.reason, result.status)


async def furnish(people: People, wire: Wire) -> Scene:
    """Return a scene on a node that holds a body, an entry, a certificate and a domain record."""
    owner, gateway, directory = (people.admitted[role] for role in ("owner", "gateway", "directory"))
    held = body(gateway.signer, people.clock(), rights=1)
    operations: list[Operation] = [
        held.store,
        Append(entry(gateway.signer, owner.certificate.inbox_key, people.clock())),
    ]
    async with client_of(people.world, gateway) as client:
        for result in await client.call(wire.running.contact, operations):
            value_of(result)
    published = [
        certificate_version(people.world, directory, owner),
        domain_version(people.world, directory, people.clock()),
    ]
    async with client_of(people.world, directory) as client:
        for result in await client.call(wire.running.contact, [Publish(each) for each in published]):
            value_of(result)
    return Scene(people, wire, held)


def _named(text: str, status: int) -> type[Failure]:
    kind = vars(errors).get(text.partition(":")[0])
    assert isinstance(kind, type), (status, text)
    assert issubclass(kind, Failure)
    assert kind.http_status == status
    return kind


def _batch(operation: Operation) -> Request:
    return Request("POST", "/v1/batch", encode(Batch((), (operation,))))


def _path(key: bytes, query: str = "") -> str:
    return f"/v1/{key.hex()}{query}"


def _store(scene: Scene, stored: Body) -> list[Request]:
    put = Request("PUT", _path(stored.statement.object_key), frame(stored.signed) + stored.octets)
    return [_batch(stored.store), put]


def _append(scene: Scene, inbox_key: bytes, signer: Member) -> list[Request]:
    """An entry by itself, and one that goes with a body that is held."""
    first, second, third = (entry(signer.signer, inbox_key, scene.now) for _ in range(3))
    return [
        _batch(Append(first)),
        _batch(AppendAfter(second, identity(scene.held.statement))),
        Request("PUT", _path(inbox_key), frame(third), APPEND_INBOX),
    ]


def _delete(scene: Scene, asker: Member, owner: Member, *, secret: bytes = b"") -> list[Request]:
    """A deletion of a fresh object, which need not have come here yet."""
    signer = scene.people.admitted["gateway"].signer
    made = body(signer, scene.now)
    deletion = Deletion(made.signed, secret or made.secrets[0])
    return [_batch(Delete(deletion)), Request("DELETE", _path(made.statement.object_key), encode(deletion))]


def _publish(published: PublishedVersion, identifier: str) -> list[Request]:
    put = Request("PUT", _path(names.key_of(identifier)), frame(published.version) + published.content)
    return [_batch(Publish(published)), put]


def _certificate(scene: Scene, asker: Member, owner: Member) -> list[Request]:
    published = certificate_version(scene.people.world, asker, owner)
    return _publish(published, names.certificate_identifier(owner.certificate.primary_address))


def _record(scene: Scene, asker: Member) -> list[Request]:
    published = domain_version(scene.people.world, asker, scene.now)
    return _publish(published, names.domain_identifier(scene.people.world.domain))


def _head(scene: Scene, asker: Member) -> list[Request]:
    statement = HeadStatement(
        domain=scene.people.world.domain,
        record_digest=bytes(32),
        issued=scene.now,
        expires=scene.now + params.HEAD_LIFETIME,
        signer=asker.signer.fingerprint,
    )
    return [_batch(Publish(PublishedVersion(asker.signer.sign([statement])[0], b"")))]


def _acknowledge(signer: Member, owner: Member, now: int) -> list[Request]:
    signed = acknowledgement(signer.signer, owner.certificate.inbox_key, now, [os.urandom(32)])
    return [_batch(Acknowledge(signed))]


def _fetch(scene: Scene) -> list[Request]:
    key = scene.held.statement.object_key
    return [_batch(Fetch(key, b"")), Request("GET", _path(key), b"")]


def _resolve(scene: Scene) -> list[Request]:
    identifier = names.domain_identifier(scene.people.world.domain)
    query = f"?kind=domain&identifier={identifier}"
    return [_batch(Resolve("domain", identifier)), Request("GET", _path(names.key_of(identifier), query), b"")]


def _inbox_of(owner: Member) -> bytes:
    return owner.certificate.inbox_key


_FORMS: Final[dict[str, Callable[[Scene, Member, Member], list[Request]]]] = {
    "store": lambda scene, asker, owner: _store(scene, body(asker.signer, scene.now)),
    "store, signed by the owner": lambda scene, asker, owner: _store(scene, body(owner.signer, scene.now)),
    "fetch": lambda scene, asker, owner: _fetch(scene),
    "delete, with a secret": lambda scene, asker, owner: _delete(scene, asker, owner),
    "delete, without one": lambda scene, asker, owner: _delete(scene, asker, owner, secret=os.urandom(32)),
    "append-inbox": lambda scene, asker, owner: _append(scene, _inbox_of(owner), asker),
    "append-inbox, signed by the owner": lambda scene, asker, owner: _append(scene, _inbox_of(owner), owner),
    "read-inbox": lambda scene, asker, owner: [Request("GET", _path(_inbox_of(owner)), b"", READ_INBOX)],
    "acknowledge": lambda scene, asker, owner: _acknowledge(asker, owner, scene.now),
    "acknowledge, signed by the owner": lambda scene, asker, owner: _acknowledge(owner, owner, scene.now),
    "publish a user's certificate": _certificate,
    "publish a domain record": lambda scene, asker, owner: _record(scene, asker),
    "publish a head": lambda scene, asker, owner: _head(scene, asker),
    "publish what the directory signed": lambda scene, asker, owner: _record(scene, scene.people.admitted["directory"]),
    "resolve": lambda scene, asker, owner: _resolve(scene),
    "ask-inbox": lambda scene, asker, owner: [_batch(AskInbox(_inbox_of(owner)))],
    "ask-certificate": lambda scene, asker, owner: [_batch(AskCertificate(scene.held.statement.signer))],
    "offer": lambda scene, asker, owner: [_batch(Offer("object", (identity(scene.held.statement),)))],
    "ask-settled": lambda scene, asker, owner: [_batch(AskSettled("object", b"", (identity(scene.held.statement),)))],
    "greet": lambda scene, asker, owner: [_batch(Greet())],
}
