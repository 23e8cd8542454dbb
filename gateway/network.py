"""This machine's place in the network: what every role shares, and one identity's access to the nodes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from p2pcore.client.batching import Batcher
from p2pcore.client.primitives import PeerClient
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.clock import Clock
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer, StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.dht.substrate import Substrate
from p2pcore.endpoint import Endpoint
from p2pcore.mail.names import DomainNames
from p2pcore.records import ContactInfo, Identity, Replication, Role


@dataclass(frozen=True, slots=True)
class Member:
    """One identity's access to the network; requests are signed by it."""

    signer: Signer
    peers: PeerClient
    replicas: Replicas


class Signers:
    """One signer per key and role of this machine: a renewed certificate then counts wherever its holder speaks."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._signers: dict[tuple[Role, bytes], Signer] = {}

    def of(self, identity: Identity) -> Signer:
        """Return the signer that `identity` holds the key of, under its certificate unless a later one is in use.

        Raises CertificateRefused.
        """
        certificate = self._trust.add(identity.certificate)
        signer = self._signers.get((identity.role, identity.signing_key))
        if signer is None:
            signer = Signer(SigningKey.from_bytes(identity.signing_key), certificate)
            self._signers[identity.role, identity.signing_key] = signer
        elif certificate.not_before > signer.certificate.not_before:
            signer.adopt(certificate)
        return signer


class Network:
    """What the roles of this machine share. `names` is set when the first member exists, before other parts start."""

    def __init__(self, trust: Trust, signers: Signers, substrate: Substrate, clock: Clock, temporary: Path) -> None:
        self.trust = trust
        self.signers = signers
        self.substrate = substrate
        self.clock = clock
        self.verifier = StatementVerifier(trust, clock)
        self.names: DomainNames | None = None
        self._temporary = temporary

    def replication(self) -> tuple[Replication, ...]:
        """Return k and w with their history, () while no domain record is known."""
        return self.names.replication() if self.names else ()

    @asynccontextmanager
    async def member(self, identity: Identity) -> AsyncIterator[Member]:
        """Give `identity` access to the nodes; on leaving, writes past their quorum are brought to an end."""
        signer = self.signers.of(identity)
        peers = PeerClient(signer, self.trust, self.clock)
        peers.on_heads(lambda heads: self.names.heard(heads) if self.names else None)
        batcher = Batcher(peers)
        replicas = Replicas(
            self.substrate,
            peers,
            batcher,
            self.replication,
            self.clock,
            checker=VersionChecker(self.trust, self.verifier),
            directory=self._temporary,
        )
        try:
            yield Member(signer, peers, replicas)
        finally:
            await replicas.stop()
            await batcher.stop()
            await peers.close()


def when_nodes_come(substrate: Substrate, callback: Callable[[], None]) -> None:
    """Call `callback` on the event loop whenever a node is known that was not: it is new, or has come back."""
    known = {contact.node_id for contact in substrate.known()}

    def changed() -> None:
        now = {contact.node_id for contact in substrate.known()}
        come = now - known
        known.clear()
        known.update(now)
        if come:
            callback()

    substrate.on_change(changed)


def told_contacts(network: Network, own: Member, endpoint: Endpoint) -> list[ContactInfo]:
    """Return the nodes known, as a newcomer is told them: this machine's own under `endpoint`."""
    own_id = own.signer.certificate.node_id
    return [
        ContactInfo(contact.node_id, endpoint.host, endpoint.port)
        if contact.node_id == own_id
        else ContactInfo(contact.node_id, contact.host, contact.port)
        for contact in network.substrate.known()
    ]
