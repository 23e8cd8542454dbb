"""The domain of the fault runs: three nodes (k = 3, w = 2), two gateways, alice and bob; its record published."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from p2pcore import names, params
from p2pcore.clock import Clock
from p2pcore.crypto.sealing import seal_addresses
from p2pcore.dht.contact import Contact
from p2pcore.names import VersionedKind
from p2pcore.records import (
    AddressList,
    DomainRecord,
    PublishedVersion,
    Replication,
    VersionStatement,
    encode,
)
from tests.faults.machines import Machine, Surroundings, network_of
from tests.support.identities import START, Member, World

NODES = 3
GATEWAYS = 2
FIRST_PORT = 4_460  # the first node's; every machine of a run has the same address
HISTORY = (Replication(START - params.DAY, NODES, NODES // 2 + 1),)


@dataclass(frozen=True)
class Domain:
    """The members, and `template`: what lies on each machine's disk when a run begins."""

    world: World
    alice: Member
    bob: Member
    office: Member
    nodes: tuple[Member, ...]
    gateways: tuple[Member, ...]
    template: Path

    @classmethod
    def new(cls, template: Path) -> "Domain":
        world = World()
        return cls(
            world,
            world.user("alice"),
            world.user("bob"),
            world.directory(),
            tuple(world.node() for _ in range(NODES)),
            tuple(world.gateway(f"mx{number}.{world.domain}") for number in range(GATEWAYS)),
            template,
        )

    def surroundings(self, clock: Clock, host: str) -> Surroundings:
        """Return what the machines of a run share, whose nodes listen on `host`."""
        contacts = tuple(
            Contact(member.certificate.node_id, host, FIRST_PORT + number) for number, member in enumerate(self.nodes)
        )
        return Surroundings(self.world, HISTORY, clock, contacts)

    async def publish(self, machine: Machine) -> None:
        """Publish the record and the users' certificates as the directory, at the place of `machine`."""
        network = network_of(self.office, machine)
        async with network.member(self.office.identity) as member:
            for published in (self._certificate(self.alice), self._certificate(self.bob), self._record()):
                await member.replicas.publish(published)

    def copy(self, directory: Path) -> None:
        shutil.copytree(self.template, directory)

    def _record(self) -> PublishedVersion:
        users = tuple(user.certificate.primary_address for user in (self.alice, self.bob))
        addresses = AddressList(users, {}, (), "")
        keys = [member.hpke_key.public_bytes for member in self.gateways]
        address_keys, sealed = seal_addresses(addresses, self.world.domain, keys)
        record = DomainRecord(
            domain=self.world.domain,
            epoch=1,
            time=START,
            next_update=START + params.RECORD_VALIDITY,
            replication=HISTORY,
            gateways=(),
            bootstrap=(),
            revocations=(),
            address_keys=address_keys,
            addresses=sealed,
        )
        return self._version("domain", names.domain_identifier(self.world.domain), 1, START, encode(record))

    def _certificate(self, user: Member) -> PublishedVersion:
        certificate = user.certificate
        identifier = names.certificate_identifier(certificate.primary_address)
        return self._version("certificate", identifier, 0, certificate.not_before, certificate.der)

    def _version(self, kind: VersionedKind, identifier: str, epoch: int, time: int, content: bytes) -> PublishedVersion:
        statement = VersionStatement(
            kind=kind,
            identifier=identifier,
            epoch=epoch,
            time=time,
            digest=hashlib.sha256(content).digest(),
            size=len(content),
            issued=START,
            expires=START + params.DAY * 100,
            signer=self.office.signer.fingerprint,
        )
        return PublishedVersion(self.office.signer.sign([statement])[0], content)
