"""gateway.renewing: a machine's certificates on disk and in use, and what `status` says of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from gateway.administration import administer
from gateway.founding import open_directory
from gateway.network import Network, Signers
from gateway.renewing import WARNED_BEFORE, Renewals, renew_from_book
from gateway.site import Site
from p2pcore import names, params
from p2pcore.client.replicas import Replicas
from p2pcore.clock import system_clock
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.errors import CertificateRefused
from p2pcore.mail.names import DomainNames
from p2pcore.records import DomainRecord, GatewayInfo, Identity, PublishedVersion, Revocation, decode, encode
from tests.gateway.sites import ALICE, BOB, PASSWORD
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, put, replicas_over
from tests.support.identities import Member


@dataclass
class Stage:
    """A gateway's process: its domain, nodes, identity file, and what follows its certificate."""

    domain: Domain
    nodes: MemoryNetwork
    network: Network
    renewals: Renewals
    replicas: Replicas
    file: Path
    renewed: asyncio.Queue[Identity]
    stack: AsyncExitStack

    @property
    def gateway(self) -> Member:
        return self.domain.gateway

    def successor(self, member: Member, keys: tuple[SigningKey, HpkeKey] | None = None) -> Certificate:
        """What the directory issues an hour later, for the same keys or others; published."""
        signing, hpke = keys or (member.signer.key, member.hpke_key)
        held, later = member.certificate, self.domain.world.clock() + params.HOUR
        name = list(held.addresses) or held.host
        der = self.domain.world.authority.issue(held.role, name, signing.public_bytes, hpke.public_bytes, later)
        certificate = self.domain.world.trust().add(der)
        self.domain.world.clock.advance(params.HOUR)
        version = self.domain._version(
            "certificate", certificate.identifier, 0, certificate.not_before, der, self.domain.directory
        )
        put(self.nodes, version)
        return certificate

    def record(self, gateway: Certificate) -> PublishedVersion:
        """A newer record that lists this certificate."""
        content = decode(DomainRecord, self.domain.record(self.domain.world.clock()).content)
        key = self.gateway.hpke_key.fingerprint
        listed = msgspec.structs.replace(
            content, gateways=(GatewayInfo("mx.example.org", 465, gateway.fingerprint, key),)
        )
        identifier = names.domain_identifier("example.org")
        return self.domain._version("domain", identifier, 1, content.time, encode(listed), self.domain.directory)

    async def follow(self, member: Member) -> None:
        KeyFiles().write_identity(self.file, member.identity)
        await self.renewals.follow(self.stack, self.replicas, self.file, member.identity, self.renewed.put_nowait)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    domain, nodes = Domain.new(), MemoryNetwork(3)
    domain.install(nodes)
    trust = domain.world.trust(*domain.members)
    replicas = replicas_over(domain, nodes, tmp_path, trust)
    network = Network(trust, Signers(trust), nodes, domain.world.clock, tmp_path)
    network.names = DomainNames(replicas, trust, domain.world.clock, tmp_path, "example.org")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(replicas.batcher.stop)
        stack.push_async_callback(replicas.stop)
        stack.push_async_callback(network.names.stop)
        yield Stage(
            domain,
            nodes,
            network,
            Renewals(network, KeyFiles()),
            replicas,
            tmp_path / "identity",
            asyncio.Queue(),
            stack,
        )


async def test_a_record_that_names_another_certificate_is_reason_to_ask(stage: Stage) -> None:
    """Agents know a gateway by that one: it is taken up at once, on disk before anybody is shown it."""
    await stage.follow(stage.gateway)
    assert stage.network.names is not None
    await stage.network.names.adopt(stage.record(stage.gateway.certificate))
    successor = stage.successor(stage.gateway)
    await stage.network.names.adopt(stage.record(successor))
    async with asyncio.timeout(10):
        renewed = await stage.renewed.get()
    assert renewed.certificate == successor.der
    assert KeyFiles().read_identity(stage.file) == renewed
    signer = stage.network.signers.of(stage.gateway.identity)
    assert signer.certificate == successor
    assert stage.network.signers.of(renewed) is signer


async def test_keys_that_were_changed_meanwhile_are_not_overwritten(stage: Stage) -> None:
    """A certificate for the keys that were is not put beside those that are."""
    await stage.follow(stage.domain.alice)
    other = msgspec.structs.replace(stage.domain.bob.identity, name="alice@example.org")
    KeyFiles().write_identity(stage.file, other)
    stage.successor(stage.domain.alice)
    ((_, follower),) = stage.renewals._followed
    with pytest.raises(CertificateRefused, match="another key by now"):
        await follower.ask()
    assert KeyFiles().read_identity(stage.file) == other
    assert stage.renewed.empty()


async def test_what_is_wrong_with_a_certificate_is_said(stage: Stage) -> None:
    """Near its end, after it, revoked, and where the domain has given her other keys elsewhere."""
    alice = stage.domain.alice
    await stage.follow(alice)
    assert stage.renewals.warnings() == []
    clock, end = stage.domain.world.clock, alice.certificate.not_after
    now = clock()
    for time, said in (
        (end - WARNED_BEFORE + 1, "will expire on"),
        (end + 1, "will expire on"),
        (end + 2 * params.HOUR, "has expired on"),
    ):
        clock.now = time
        (warning,) = stage.renewals.warnings()
        assert "the certificate of alice@example.org " + said in warning
    assert "`p2pmail user rotate`" in warning
    clock.now = now
    stage.network.trust.set_revocations((Revocation(alice.certificate.serial, "retired", now),))
    (warning,) = stage.renewals.warnings()
    assert "is revoked" in warning
    stage.network.trust.set_revocations(())
    stage.successor(alice, (SigningKey.generate(), HpkeKey.generate()))
    ((_, follower),) = stage.renewals._followed
    assert not await follower.ask()
    (warning,) = stage.renewals.warnings()
    assert "was replaced by one for other keys" in warning


async def test_nothing_is_followed_after_its_holder_has_stopped(stage: Stage) -> None:
    """An agent that stops takes its certificate along."""
    async with AsyncExitStack() as own:
        KeyFiles().write_identity(stage.file, stage.domain.alice.identity)
        await stage.renewals.follow(own, stage.replicas, stage.file, stage.domain.alice.identity)
        assert len(stage.renewals._followed) == 1
    assert stage.renewals._followed == []


async def test_a_machine_with_the_book_renews_itself_at_its_start(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off past the end of all its certificates, it could ask nobody; an account that is damaged stops no other."""
    for address in (ALICE, BOB):
        await asyncio.to_thread(administer, site, "user-add", address=address, password=PASSWORD)
    damaged = site.account_directory(ALICE) / "identity"
    damaged.write_bytes(b"x")
    later = system_clock() + 430 * params.DAY
    monkeypatch.setattr("gateway.founding.system_clock", lambda: later)
    book = open_directory(site)
    renew_from_book(site, book)
    for identity in (site.identity("node"), site.identity("gateway"), site.user_identity(BOB)):
        certificate = parse_certificate(identity.certificate)
        assert certificate.not_after > later
        assert certificate.public_key == SigningKey.from_bytes(identity.signing_key).public_bytes
    assert damaged.read_bytes() == b"x"
    before = site.identity_file("node").stat().st_mtime_ns
    renew_from_book(site, book)
    book.close()
    assert site.identity_file("node").stat().st_mtime_ns == before
