"""Versioned objects: the highest version under an authorised signer wins; heads ride on every reply."""

import hashlib
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from p2pcore import names, params
from p2pcore.client.framing import frame
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.crypto.trust import Trust
from p2pcore.errors import ClockSkew, Failure, Malformed, NotAuthorised, NotFound, Superseded, Tampered
from p2pcore.node import reading, versioned
from p2pcore.records import (
    DomainRecord,
    HeadStatement,
    Operation,
    Publish,
    PublishedVersion,
    Replication,
    Resolve,
    SignedStatement,
    VersionStatement,
    decode,
    encode,
)
from tests.p2pcore.node.test_requests import Wire
from tests.support.identities import Member, World
from tests.support.nodes import Running, client_of, running_node

DOMAIN = "example.org"


@dataclass
class Stage:
    world: World
    running: Running
    directory: Member
    as_directory: PeerClient

    async def one(self, operation: Operation) -> bytes:
        """The value of one operation asked for by the directory. Raises its failure."""
        [result] = await self.as_directory.call(self.running.contact, [operation])
        return value_of(result)

    async def resolve_domain(self) -> DomainRecord:
        value = await self.one(Resolve("domain", names.domain_identifier(DOMAIN)))
        return decode(DomainRecord, decode(PublishedVersion, value).content)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    world = World()
    directory = world.directory()
    async with running_node(world, tmp_path / "node") as running, client_of(world, directory) as as_directory:
        yield Stage(world, running, directory, as_directory)


def domain_version(
    world: World, directory: Member, time: int, *, domain: str = DOMAIN, epoch: int = 1, addresses: bytes = b""
) -> PublishedVersion:
    """A domain record signed by `directory`, of this time."""
    record = DomainRecord(
        domain=domain,
        epoch=epoch,
        time=time,
        next_update=time + params.RECORD_VALIDITY,
        replication=(Replication(0, 1, 1),),
        gateways=(),
        bootstrap=(),
        revocations=(),
        address_keys=(),
        addresses=addresses,
    )
    return version(world, directory, "domain", names.domain_identifier(domain), epoch, time, encode(record))


def version(
    world: World, member: Member, kind: names.VersionedKind, identifier: str, epoch: int, time: int, content: bytes
) -> PublishedVersion:
    statement = VersionStatement(
        kind=kind,
        identifier=identifier,
        epoch=epoch,
        time=time,
        digest=hashlib.sha256(content).digest(),
        size=len(content),
        issued=world.clock(),
        expires=world.clock() + params.MAX_LIFETIME,
        signer=member.signer.fingerprint,
    )
    return PublishedVersion(member.signer.sign([statement])[0], content)


def certificate_version(world: World, signer: Member, user: Member, identifier: str = "") -> PublishedVersion:
    """A user's certificate as `signer` publishes it."""
    name = identifier or names.certificate_identifier(user.certificate.primary_address)
    return version(world, signer, "certificate", name, 0, user.certificate.not_before, user.certificate.der)


async def test_the_highest_version_wins(stage: Stage) -> None:
    """A newer record replaces, an equal one changes nothing, an older one is Superseded."""
    now = stage.world.clock()
    older, newer = (domain_version(stage.world, stage.directory, time) for time in (now - 1, now))
    for published in (older, newer, newer):
        await stage.one(Publish(published))
    with pytest.raises(Superseded):
        await stage.one(Publish(older))
    assert (await stage.resolve_domain()).time == now
    assert stage.running.node.counts().versions == 1


async def test_one_time_used_twice_ends_the_same_everywhere(stage: Stage) -> None:
    """Two records of one version: whatever the order of arrival, the same one stays."""
    now = stage.world.clock()
    records = [domain_version(stage.world, stage.directory, now, addresses=octets) for octets in (b"a", b"b")]
    low, high = sorted(records, key=lambda published: hashlib.sha256(published.content).digest())
    await stage.one(Publish(low))
    await stage.one(Publish(high))
    with pytest.raises(Superseded):
        await stage.one(Publish(low))


async def test_times_far_ahead_are_refused(stage: Stage) -> None:
    """A record more than 15 minutes ahead would block all later ones, so it is refused."""
    time = stage.world.clock() + params.VERSION_AHEAD + params.SECOND
    with pytest.raises(ClockSkew):
        await stage.one(Publish(domain_version(stage.world, stage.directory, time)))


@pytest.mark.parametrize("role", ["user", "gateway", "node"])
async def test_only_a_directory_signs_records(stage: Stage, role: str) -> None:
    """No other role's record is taken, nor a record of an epoch that the directory's certificate does not have."""
    members = {"user": stage.world.user("mallory"), "gateway": stage.world.gateway(), "node": stage.world.node()}
    async with client_of(stage.world, members[role]) as client:
        published = domain_version(stage.world, members[role], stage.world.clock())
        [result] = await client.call(stage.running.contact, [Publish(published)])
        assert result.reason.startswith("NotAuthorised")
    with pytest.raises(NotAuthorised):
        await stage.one(Publish(domain_version(stage.world, stage.directory, stage.world.clock(), epoch=2)))


async def test_the_identifier_must_name_the_content(stage: Stage) -> None:
    """A certificate is published under its own primary address only, a record under its own domain only."""
    alice, bob = stage.world.user("alice"), stage.world.user("bob")
    identifier = names.certificate_identifier(bob.certificate.primary_address)
    with pytest.raises(NotAuthorised):
        await stage.one(Publish(certificate_version(stage.world, stage.directory, alice, identifier)))
    with pytest.raises(NotAuthorised):
        await stage.one(Publish(domain_version(stage.world, stage.directory, stage.world.clock(), domain="else.org")))


async def test_certificates_of_users(stage: Stage) -> None:
    """The directory or the user herself publishes her certificate; anybody resolves it; nobody forges it."""
    alice, bob = stage.world.user("alice"), stage.world.user("bob")
    await stage.one(Publish(certificate_version(stage.world, stage.directory, alice)))
    async with client_of(stage.world, bob) as as_bob:
        own = await as_bob.call(stage.running.contact, [Publish(certificate_version(stage.world, bob, bob))])
        assert [result.status for result in own] == [200]
        forged = await as_bob.call(stage.running.contact, [Publish(certificate_version(stage.world, bob, alice))])
        assert forged[0].status == 403
        identifier = names.certificate_identifier(alice.certificate.primary_address)
        [found] = await as_bob.call(stage.running.contact, [Resolve("certificate", identifier)])
    assert decode(PublishedVersion, found.value).content == alice.certificate.der


async def test_certificates_of_machines(stage: Stage) -> None:
    """The directory publishes them under role and node ID, and under no other name; the machine itself does not."""
    gateway, node = stage.world.gateway(), stage.world.node()
    for member, other in ((gateway, node), (node, gateway)):
        identifier = member.certificate.identifier
        await stage.one(Publish(certificate_version(stage.world, stage.directory, member, identifier)))
        found = decode(PublishedVersion, await stage.one(Resolve("certificate", identifier)))
        assert found.content == member.certificate.der
        with pytest.raises(NotAuthorised):
            await stage.one(
                Publish(certificate_version(stage.world, stage.directory, member, other.certificate.identifier))
            )
        async with client_of(stage.world, member) as client:
            own = Publish(certificate_version(stage.world, member, member, identifier))
            [result] = await client.call(stage.running.contact, [own])
            assert result.status == 403


async def test_certificates_of_another_authority_are_refused(stage: Stage) -> None:
    """A certificate that does not chain to the domain's authority is not held, whoever publishes it."""
    stranger = World().user("alice")
    with pytest.raises(Failure, match="authority"):
        await stage.one(Publish(certificate_version(stage.world, stage.directory, stranger)))
    with pytest.raises(NotFound):
        await stage.one(Resolve("certificate", names.certificate_identifier("alice@example.org")))


async def test_content_must_match_its_digest(stage: Stage) -> None:
    """Content other than what was signed is refused."""
    published = domain_version(stage.world, stage.directory, stage.world.clock())
    with pytest.raises(Tampered):
        await stage.one(Publish(PublishedVersion(published.version, published.content + b"x")))


def head(world: World, directory: Member) -> SignedStatement:
    now = world.clock()
    statement = HeadStatement(DOMAIN, bytes(32), now, now + params.HEAD_LIFETIME, directory.signer.fingerprint)
    return directory.signer.sign([statement])[0]


async def test_heads_ride_on_every_reply(stage: Stage) -> None:
    """The newest head that a node knows is on all its replies; an older one changes nothing."""
    first = head(stage.world, stage.directory)
    stage.world.clock.advance(params.SECOND)
    second = head(stage.world, stage.directory)
    seen: list[tuple[SignedStatement, ...]] = []
    stage.as_directory.on_heads(seen.append)
    for signed in (second, first):
        await stage.one(Publish(PublishedVersion(signed, b"")))
    with pytest.raises(NotFound):
        await stage.one(Resolve("certificate", "nobody"))
    assert seen[-1] == (second,)


async def test_the_machine_hears_of_a_head_that_its_node_is_given(stage: Stage) -> None:
    """What uses the domain's record on a node's machine is told at once of each newer head, and of no older one."""
    first = head(stage.world, stage.directory)
    stage.world.clock.advance(params.SECOND)
    second = head(stage.world, stage.directory)
    told: list[Sequence[SignedStatement]] = []
    stage.running.node.on_heads(told.append)
    for signed in (second, first, second):
        await stage.one(Publish(PublishedVersion(signed, b"")))
    assert told == [(second,)]


async def test_a_head_is_the_directorys(stage: Stage) -> None:
    """Nobody but a directory signs heads, and nothing is attached to one."""
    with pytest.raises(Malformed):
        await stage.one(Publish(PublishedVersion(head(stage.world, stage.directory), b"x")))
    gateway = stage.world.gateway()
    async with client_of(stage.world, gateway) as client:
        forged = PublishedVersion(head(stage.world, gateway), b"")
        [result] = await client.call(stage.running.contact, [Publish(forged)])
    assert result.status == 403


async def test_a_large_record_holds_up_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its digests and what it says are looked at beside the event loop, whether it comes in a batch or by itself."""
    looked_at: list[tuple[int, str]] = []
    check, digest = versioned.check_content, reading.sha256

    def check_content(statement: VersionStatement, content: bytes, trust: Trust) -> None:
        looked_at.append((len(content), threading.current_thread().name))
        check(statement, content, trust)

    def sha256(octets: bytes) -> bytes:
        looked_at.append((len(octets), threading.current_thread().name))
        return digest(octets)

    monkeypatch.setattr(versioned, "check_content", check_content)
    monkeypatch.setattr(reading, "sha256", sha256)
    now = stage.world.clock()
    first, second = (
        domain_version(stage.world, stage.directory, time, addresses=bytes(900_000)) for time in (now, now + 1)
    )
    await stage.one(Publish(first))
    octets = frame(second.version) + second.content
    path = f"/v1/{names.key_of(names.domain_identifier(DOMAIN)).hex()}"
    async with aiohttp.ClientSession() as session:
        wire = Wire(stage.world, stage.running, session)
        headers = wire.signed(stage.directory, "PUT", path, octets)
        assert (await wire.send(headers, "PUT", path, octets))[0] == 200
    large = [thread for size, thread in looked_at if size > 900_000]
    assert len(large) == 4
    assert threading.current_thread().name not in large
