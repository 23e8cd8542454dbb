"""A domain over nodes in memory: alice and bob, a gateway, a directory, and everything a message needs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from p2pcore import names, params
from p2pcore.client.batching import Batcher
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.crypto.sealing import BodySealer, seal_addresses
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.mail.injection import RecipientPart, SealedContent
from p2pcore.mail.names import DomainNames
from p2pcore.records import (
    AddressList,
    DomainRecord,
    PublishedVersion,
    Replication,
    Revocation,
    VersionStatement,
    encode,
)
from tests.p2pcore.client.memory_network import MemoryNetwork, MemoryNode
from tests.support.identities import START, Member, World


def seal(content: bytes, path: Path | None = None) -> SealedContent:
    """`content` sealed, in memory or in the file at `path`."""
    sealer = BodySealer()
    octets = b"".join([*sealer.update(content), *sealer.finish()])
    if path is not None:
        path.write_bytes(octets)
    return SealedContent(sealer.session_key, sealer.digest, len(octets), len(content), path or octets)


def part(member: Member, reverse_path: str = "eve@outside.example") -> RecipientPart:
    address = member.certificate.primary_address
    return RecipientPart(member.certificate, reverse_path, address, b"Received: here\r\n")


@dataclass
class Domain:
    """The members; `record` and `certificate` make what the directory and users publish."""

    world: World
    alice: Member
    bob: Member
    gateway: Member
    directory: Member

    @classmethod
    def new(cls) -> "Domain":
        world = World()
        return cls(world, world.user("alice"), world.user("bob"), world.gateway(), world.directory())

    @property
    def members(self) -> tuple[Member, ...]:
        return self.alice, self.bob, self.gateway, self.directory

    def record(
        self,
        time: int = START,
        addresses: AddressList | None = None,
        revocations: Sequence[Revocation] = (),
        replication: Replication | None = None,
    ) -> PublishedVersion:
        listed = addresses or AddressList(
            ("alice@example.org", "bob@example.org"),
            {"team@example.org": ("alice@example.org", "bob@example.org")},
            (),
            "",
        )
        keys, sealed = seal_addresses(listed, "example.org", [self.gateway.hpke_key.public_bytes])
        record = DomainRecord(
            domain="example.org",
            epoch=1,
            time=time,
            next_update=time + params.RECORD_VALIDITY,
            replication=(replication or Replication(START - params.DAY, 3, 2),),
            gateways=(),
            bootstrap=(),
            revocations=tuple(revocations),
            address_keys=keys,
            addresses=sealed,
        )
        content = encode(record)
        return self._version("domain", names.domain_identifier("example.org"), 1, time, content, self.directory)

    def certificate(self, member: Member) -> PublishedVersion:
        certificate = member.certificate
        identifier = names.certificate_identifier(certificate.primary_address)
        return self._version("certificate", identifier, 0, certificate.not_before, certificate.der, self.directory)

    def _version(
        self, kind: str, identifier: str, epoch: int, time: int, content: bytes, member: Member
    ) -> PublishedVersion:
        now = self.world.clock()
        statement = VersionStatement(
            kind="domain" if kind == "domain" else "certificate",
            identifier=identifier,
            epoch=epoch,
            time=time,
            digest=hashlib.sha256(content).digest(),
            size=len(content),
            issued=now,
            expires=now + params.DAY * 100,
            signer=member.signer.fingerprint,
        )
        return PublishedVersion(member.signer.sign([statement])[0], content)

    def install(self, network: MemoryNetwork) -> None:
        """Put the record and both users' certificates on every node, and the certificates of all signers."""
        for published in (self.record(), self.certificate(self.alice), self.certificate(self.bob)):
            put(network, published)
        for node in network.nodes:
            for member in self.members:
                node.certificates[member.certificate.fingerprint] = member.certificate.der


def put(network: MemoryNetwork, published: PublishedVersion) -> None:
    """Put one version on every node."""
    for node in network.nodes:
        put_on(node, published)


def put_on(node: MemoryNode, published: PublishedVersion) -> None:
    """Put one version on one node."""
    statement = published.version.statement
    assert isinstance(statement, VersionStatement)
    node.versions[statement.identifier] = published


def replicas_over(domain: Domain, network: MemoryNetwork, directory: Path, trust: Trust) -> Replicas:
    """Replicas with k = 3 and w = 2."""
    verifier = StatementVerifier(trust, domain.world.clock)
    return Replicas(
        network,
        network,
        Batcher(network),
        lambda: (Replication(START - params.DAY, 3, 2),),
        domain.world.clock,
        checker=VersionChecker(trust, verifier),
        directory=directory,
    )


def names_over(domain: Domain, replicas: Replicas, directory: Path, *, gateway: bool = True) -> DomainNames:
    """A gateway's, which opens the address list, or an agent's; not started."""
    keys = (domain.gateway.hpke_key,) if gateway else ()
    return DomainNames(replicas, replicas.checker.trust, domain.world.clock, directory, "example.org", keys)


def altered(published: PublishedVersion, content: bytes) -> PublishedVersion:
    return msgspec.structs.replace(published, content=content)
