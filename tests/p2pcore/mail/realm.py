"""A domain whose directory really publishes to real nodes, for tests in which months pass by a clock that is set."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from p2pcore.client.batching import Batcher
from p2pcore.client.primitives import PeerClient
from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import VersionChecker
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.crypto.statements import Signer, StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.directory.directory import Directory
from p2pcore.directory.heads import HeadSpreader, sign_head
from p2pcore.directory.publishing import DirectoryPublisher, version_of
from p2pcore.endpoint import Endpoint
from p2pcore.mail.names import DomainNames
from p2pcore.mail.successor import Successor
from p2pcore.records import Identity, Result, Role
from tests.support.fixed_substrate import FixedSubstrate
from tests.support.identities import Member, World
from tests.support.nodes import Running, running_node


@dataclass
class Party:
    """One member's process: its access to the nodes, what it knows of the domain, and its certificate followed."""

    member: Member
    peers: PeerClient
    replicas: Replicas
    trust: Trust
    names: DomainNames
    successor: Successor
    adopted: list[Certificate] = field(default_factory=list)


@dataclass
class Realm:
    """`directory` lists whom `join` made; `publish` and `announce` are what its publisher does when it runs."""

    world: World
    directory: Directory
    publisher: DirectoryPublisher
    spreader: HeadSpreader
    substrate: FixedSubstrate
    path: Path
    stack: AsyncExitStack
    nodes: list[Running] = field(default_factory=list)
    parties: dict[str, Party] = field(default_factory=dict)

    def join(self, role: Role, name: str) -> Member:
        """List a new member with fresh keys."""
        key, hpke = SigningKey.generate(), None if role == "node" else HpkeKey.generate()
        match role:
            case "user":
                assert hpke is not None
                der = self.directory.add_user(name, key.public_bytes, hpke.public_bytes)
            case "gateway":
                assert hpke is not None
                der = self.directory.add_gateway(name, Endpoint(name, 465), key.public_bytes, hpke.public_bytes)
            case _:
                der = self.directory.add_node(name, Endpoint(name, 4466), key.public_bytes)
        identity = Identity(
            role=role,
            domain=self.world.domain,
            name=name,
            signing_key=key.private_bytes,
            hpke_keys=(hpke.private_bytes,) if hpke else (),
            certificate=der,
            authority=self.world.authority.certificate,
        )
        return Member(identity, Signer(key, parse_certificate(der)), hpke)

    async def party(self, member: Member, trust: Trust | None = None, name: str = "") -> Party:
        """Start the process of `member`, known by its name or `name`; `trust` is given where a node's is shared."""
        trust = trust or self.world.trust(member)
        replicas, peers = self.replicas(member.signer, trust)
        name = name or member.identity.name
        keys = [member.hpke_key] if member.identity.role == "gateway" else []
        cache = self.path / f"cache of {name}"
        cache.mkdir()
        names = DomainNames(replicas, trust, self.world.clock, cache, self.world.domain, keys)
        peers.on_heads(names.heard)
        self.stack.push_async_callback(names.stop)
        adopted: list[Certificate] = []

        async def adopt(certificate: Certificate) -> None:
            adopted.append(certificate)

        successor = Successor(replicas, member.signer, self.world.clock, adopt)
        party = self.parties[name] = Party(member, peers, replicas, trust, names, successor, adopted)
        return party

    def replicas(self, signer: Signer, trust: Trust) -> tuple[Replicas, PeerClient]:
        peers = PeerClient(signer, trust, self.world.clock)
        self.stack.push_async_callback(peers.close)
        batcher = Batcher(peers)
        self.stack.push_async_callback(batcher.stop)
        replicas = Replicas(
            self.substrate,
            peers,
            batcher,
            self.directory.replication,
            self.world.clock,
            checker=VersionChecker(trust, StatementVerifier(trust, self.world.clock)),
            directory=self.path,
        )
        self.stack.push_async_callback(replicas.stop)
        return replicas, peers

    async def publish(self) -> None:
        """One round of the directory's publication, which finds its quorum."""
        await self.publisher.publish_due()
        assert self.publisher.failures == {}

    async def announce(self) -> None:
        """The directory's head of the record that it published last."""
        digest = version_of(self.directory.current_record()).digest
        await self.spreader.announce(sign_head(self.directory, digest))


@asynccontextmanager
async def realm_of(path: Path, nodes: int = 3) -> AsyncIterator[Realm]:
    """Yield a domain of so many nodes, each a party as well; nothing is published yet."""
    world = World()
    office = world.directory()
    directory = Directory(path / "book.db", world.domain, world.authority, office.signer, world.clock)
    async with AsyncExitStack() as stack:
        stack.callback(directory.close)
        substrate = FixedSubstrate()
        trust = world.trust(office)
        realm = Realm(world, directory, None, None, substrate, path, stack)  # type: ignore[arg-type]
        replicas, _ = realm.replicas(office.signer, trust)
        realm.spreader = HeadSpreader(substrate, replicas)
        realm.publisher = DirectoryPublisher(directory, replicas, trust=trust, own=office.signer)
        for number in range(nodes):
            member = realm.join("node", f"node{number}")
            running = await stack.enter_async_context(
                running_node(world, path / f"node{number}", member=member, k=nodes)
            )
            realm.nodes.append(running)
            await realm.party(member, running.trust)
        substrate.replace([running.contact for running in realm.nodes])
        directory.set_replication(nodes, nodes // 2 + 1)
        yield realm


def statuses(answers: Sequence[Result | Exception]) -> list[object]:
    """What each node said: an HTTP status, or the kind of failure."""
    return [answer.status if isinstance(answer, Result) else type(answer) for answer in answers]
