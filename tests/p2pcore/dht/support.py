"""Many nodes of one domain on a fake network, with identities that are the same in every run."""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path

from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.records import ContactInfo
from tests.support.fake_network import FakeNetwork
from tests.support.identities import START, World

PORT = 4_000


def node_signer(world: World, number: int) -> Signer:
    """The signer of node `number`; its ID depends on the number only."""
    key = SigningKey.from_bytes(hashlib.sha256(f"node {number}".encode()).digest())
    return Signer(key, parse_certificate(world.authority.issue("node", f"node{number}", key.public_bytes, None, START)))


def loop_clock() -> int:
    """The clock of a machine on virtual time."""
    return START + int(asyncio.get_running_loop().time() * 1_000)


def now() -> float:
    """Seconds of the running loop, virtual or not."""
    return asyncio.get_running_loop().time()


class Swarm:
    """Nodes 10.0.0.1, 10.0.0.2, … and clients of one domain. Use within one event loop."""

    def __init__(
        self, directory: Path, network: FakeNetwork, world: World | None = None, bucket_size: int = 20
    ) -> None:
        self.directory = directory
        self.network = network
        self.world = world or World()
        self.bucket_size = bucket_size
        self.nodes: dict[int, KademliaSubstrate] = {}
        self.clients: list[KademliaSubstrate] = []

    def trust(self) -> Trust:
        return Trust(self.world.authority.certificate, self.world.domain)

    def host(self, number: int) -> str:
        return f"10.0.{number // 250}.{number % 250 + 1}"

    def contact(self, number: int) -> Contact:
        return Contact(node_signer(self.world, number).certificate.node_id, self.host(number), PORT)

    def infos(self, *numbers: int) -> list[ContactInfo]:
        """These nodes as a domain record lists them."""
        contacts = map(self.contact, numbers)
        return [ContactInfo(contact.node_id, contact.host, contact.port) for contact in contacts]

    async def start(
        self, number: int, bootstrap: Sequence[int] = (), *, port: int = PORT, named: bool = True
    ) -> KademliaSubstrate:
        """Start node `number`, knowing endpoints (and IDs if `named`) of the nodes in `bootstrap`."""
        substrate = KademliaSubstrate(
            node_signer(self.world, number),
            self.trust(),
            loop_clock,
            listen=Endpoint(self.host(number), port),
            node=True,
            contacts_file=self.directory / f"contacts{number}.json",
            open_transport=self.network.opener(self.host(number)),
            bucket_size=self.bucket_size,
        )
        self.nodes[number] = substrate
        known = [self.contact(other) for other in bootstrap]
        await substrate.start([(contact.host, contact.port, contact.node_id if named else None) for contact in known])
        return substrate

    async def client(self, signer: Signer, bootstrap: Sequence[int]) -> KademliaSubstrate:
        """Start a client at an address of its own."""
        host = f"10.9.0.{len(self.clients) + 1}"
        substrate = KademliaSubstrate(
            signer,
            self.trust(),
            loop_clock,
            listen=None,
            node=False,
            contacts_file=self.directory / f"client{len(self.clients)}.json",
            open_transport=self.network.opener(host),
            bucket_size=self.bucket_size,
        )
        self.clients.append(substrate)
        known = [self.contact(other) for other in bootstrap]
        await substrate.start([(contact.host, contact.port, contact.node_id) for contact in known])
        await substrate.joined()
        return substrate

    async def grow(self, count: int) -> None:
        """Start nodes 0 … count - 1 one after the other, each knowing one earlier node."""
        for number in range(len(self.nodes), count):
            await (await self.start(number, [number // 2] if number else [])).joined()

    def kill(self, number: int) -> None:
        """Cut node `number` off as SIGKILL would, without a word."""
        self.network.dead.add(self.host(number))

    def true_closest(self, key: bytes, k: int) -> tuple[Contact, ...]:
        """The `k` closest of all live nodes, seen from outside."""
        live = [self.contact(number) for number in self.nodes if self.host(number) not in self.network.dead]
        return tuple(sorted(live, key=lambda contact: distance(contact.node_id, key))[:k])

    async def stop(self) -> None:
        for substrate in (*self.nodes.values(), *self.clients):
            await substrate.stop()


def object_key(number: int) -> bytes:
    return hashlib.sha256(f"key {number}".encode()).digest()
