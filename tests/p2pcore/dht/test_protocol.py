"""What a node makes of datagrams: who is answered, what is dropped, and that dropping costs nothing."""

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.records import ContactInfo, Datagram, FindNode, Nodes, Ping, Pong, Revocation, WhoAreYou
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import Swarm, loop_clock, node_signer
from tests.support.fake_network import FakeNetwork
from tests.support.identities import START, World

ALICE = Endpoint("10.7.0.1", 777)


class Peer(asyncio.DatagramProtocol):
    """A hand-driven peer at ALICE: sends what a test composes, keeps what comes back."""

    def __init__(self, swarm: Swarm, signer: Signer, endpoint: Endpoint = ALICE) -> None:
        self.swarm = swarm
        self.signer = signer
        self.endpoint = endpoint
        self.received: list[tuple[int, Datagram]] = []
        self.reply: Callable[[Datagram], datagrams.Payload | None] = lambda _: None
        self.introduces = True

    async def open(self) -> None:
        await self.swarm.network.opener(self.endpoint.host)(lambda: self, self.endpoint)

    def compose(self, payload: datagrams.Payload, to: bytes, *, introduce: bool = False, time: int = 0) -> Datagram:
        certificate = self.signer.certificate.der if introduce else b""
        when = time or loop_clock()
        return Datagram(payload, secrets.token_bytes(8), to, self.signer.fingerprint, when, certificate)

    def send(self, datagram: Datagram, to: Contact, key: SigningKey | None = None) -> bytes:
        octets = datagrams.write_datagram(datagram, key or self.signer.key)
        self.swarm.network.send(self.endpoint, to.endpoint, octets)
        return octets

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        pass

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        datagram = datagrams.read_datagram(data)[1]
        self.received.append((len(data), datagram))
        payload = None if datagrams.is_reply(datagram.payload) else self.reply(datagram)
        if payload is not None:
            source = Contact(bytes(32), addr[0], addr[1])
            answer = self.compose(payload, datagram.recipient, introduce=self.introduces)
            recipient = node_signer(self.swarm.world, 0).certificate.node_id
            self.send(replaced(answer, request_id=datagram.request_id, recipient=recipient), source)

    def payloads(self, kind: type[datagrams.Payload]) -> list[Datagram]:
        return [datagram for _, datagram in self.received if isinstance(datagram.payload, kind)]


def replaced(datagram: Datagram, **changes: object) -> Datagram:
    fields = {name: getattr(datagram, name) for name in datagram.__struct_fields__}
    return Datagram(**{**fields, **changes})


async def rest() -> None:
    """Let everything that is on its way arrive and be answered."""
    await asyncio.sleep(4)


async def one_node(tmp_path: Path) -> tuple[Swarm, KademliaSubstrate, Contact]:
    swarm = Swarm(tmp_path, FakeNetwork(1))
    node = await swarm.start(0)
    await node.joined()
    return swarm, node, swarm.contact(0)


def test_a_stranger_is_asked_who_he_is_and_answered_once_introduced(tmp_path: Path) -> None:
    """C: Ping · S: WhoAreYou, no larger · C: Ping with certificate · S: Pong with its own."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        peer = Peer(swarm, swarm.world.user("alice").signer)
        await peer.open()
        request = peer.compose(Ping(), contact.node_id)
        octets = peer.send(request, contact)
        await rest()
        [(size, question)] = peer.received
        assert isinstance(question.payload, WhoAreYou)
        assert question.request_id == request.request_id
        assert size <= len(octets)
        peer.send(peer.compose(Ping(), contact.node_id, introduce=True), contact)
        await rest()
        [pong] = peer.payloads(Pong)
        assert parse_certificate(pong.certificate).node_id == contact.node_id
        peer.send(peer.compose(FindNode(bytes(32)), contact.node_id), contact)
        await rest()
        assert [nodes.certificate for nodes in peer.payloads(Nodes)] == [b""]
        assert not peer.payloads(Ping), "a user is no node and not pinged back"
        assert node.known() == (contact,)
        await swarm.stop()

    run_virtually(main())


def test_a_node_enters_the_table_only_by_answering_a_ping_back(tmp_path: Path) -> None:
    """C: Ping with a node's certificate · S: Pong, Ping · (silence: no contact) · C: Pong · now it is a contact."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        peer = Peer(swarm, node_signer(swarm.world, 77))
        await peer.open()
        peer.send(peer.compose(Ping(), contact.node_id, introduce=True), contact)
        await rest()
        assert peer.payloads(Ping)
        assert node.known() == (contact,)
        await asyncio.sleep(params.PING_BACK_INTERVAL / 1_000)
        peer.reply = lambda _: Pong()
        peer.send(peer.compose(Ping(), contact.node_id), contact)
        await rest()
        assert {known.endpoint for known in node.known()} == {contact.endpoint, ALICE}
        await swarm.stop()

    run_virtually(main())


def drop_cases(world: World) -> dict[str, Callable[[Peer, Contact], tuple[Datagram, SigningKey | None]]]:
    stranger = World()

    def compose(
        payload: datagrams.Payload, to: bytes | None = None, skew: int = 0, key: SigningKey | None = None
    ) -> Callable[[Peer, Contact], tuple[Datagram, SigningKey | None]]:
        return lambda peer, contact: (
            peer.compose(payload, contact.node_id if to is None else to, introduce=True, time=loop_clock() + skew),
            key,
        )

    return {
        "mis_signed": compose(Ping(), key=stranger.node().signer.key),
        "misaddressed": compose(Ping(), to=b"x" * 32),
        "skewed": compose(Ping(), skew=-params.DATAGRAM_SKEW),
        "unmatched": compose(Pong()),
        "unadmitted": lambda peer, contact: (
            replaced(
                peer.compose(Ping(), contact.node_id),
                signer=(other := stranger.node()).certificate.fingerprint,
                certificate=other.certificate.der,
            ),
            other.signer.key,
        ),
    }


@pytest.mark.parametrize("reason", ["mis_signed", "misaddressed", "skewed", "unmatched", "unadmitted"])
def test_what_breaks_a_rule_is_counted_and_changes_nothing(tmp_path: Path, reason: str) -> None:
    """Forged, mis-addressed, untimely, unasked-for and foreign datagrams are dropped without an answer."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        peer = Peer(swarm, node_signer(swarm.world, 77))
        peer.reply = lambda _: Pong()
        await peer.open()
        datagram, key = drop_cases(swarm.world)[reason](peer, contact)
        peer.send(datagram, contact, key)
        await rest()
        assert getattr(node.counters, reason) == 1
        assert node.counters.sent == 0
        assert peer.received == []
        assert node.known() == (contact,)
        await swarm.stop()

    run_virtually(main())


def test_a_replayed_request_is_not_answered_again(tmp_path: Path) -> None:
    """The same octets from the same or another source are answered once."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        peer = Peer(swarm, swarm.world.gateway().signer)
        await peer.open()
        octets = peer.send(peer.compose(Ping(), contact.node_id, introduce=True), contact)
        await rest()
        for source in (ALICE, Endpoint("10.6.6.6", 666)):
            swarm.network.send(source, contact.endpoint, octets)
        await rest()
        assert len(peer.payloads(Pong)) == 1
        assert node.counters.replayed == 2
        await swarm.stop()

    run_virtually(main())


def test_a_revoked_node_is_not_admitted(tmp_path: Path) -> None:
    """A certificate that the domain has revoked opens nothing."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        trust = swarm.trust()
        peer = Peer(swarm, node_signer(swarm.world, 77))
        trust.set_revocations((Revocation(peer.signer.certificate.serial, "compromised", START),))
        swarm.trust = lambda: trust  # type: ignore[method-assign]
        node, contact = await swarm.start(0), swarm.contact(0)
        await peer.open()
        peer.send(peer.compose(Ping(), contact.node_id, introduce=True), contact)
        await rest()
        assert (node.counters.unadmitted, node.counters.sent) == (1, 0)
        await swarm.stop()

    run_virtually(main())


def test_replies_must_come_from_where_and_from_whom_they_were_asked(tmp_path: Path) -> None:
    """A reply from another endpoint, another node, a user, or of another kind leaves the question open."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        asked = Peer(swarm, node_signer(swarm.world, 77), swarm.contact(77).endpoint)
        elsewhere = Peer(swarm, asked.signer)
        another = Peer(swarm, node_signer(swarm.world, 78), asked.endpoint)
        user = Peer(swarm, swarm.world.user("eve").signer, asked.endpoint)
        own = swarm.contact(0)

        def reply(request: Datagram) -> None:
            for liar, payload in ((elsewhere, Pong()), (another, Pong()), (user, Pong()), (asked, Nodes(()))):
                lie = liar.compose(payload, own.node_id, introduce=True)
                liar.send(replaced(lie, request_id=request.request_id), own)

        asked.reply = reply
        await asked.open()
        node = await swarm.start(0, [77])
        assert not await node.joined()
        assert node.known() == (own,)
        assert node.counters.unmatched >= 2
        assert node.counters.misaddressed >= 2
        asked.reply = lambda request: Pong() if isinstance(request.payload, Ping) else Nodes(())
        await asyncio.sleep(10)
        assert len(node.known()) == 2
        await swarm.stop()

    run_virtually(main())


def test_a_user_who_answers_as_a_node_is_refused(tmp_path: Path) -> None:
    """Behind a bootstrap endpoint of unknown ID only a node's certificate counts."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        user = Peer(swarm, swarm.world.user("eve").signer, swarm.contact(77).endpoint)
        user.reply = lambda _: Pong()
        await user.open()
        node = await swarm.start(0, [77], named=False)
        assert not await node.joined()
        assert node.counters.unadmitted >= 1
        await swarm.stop()

    run_virtually(main())


def test_contacts_that_others_name_are_only_candidates(tmp_path: Path) -> None:
    """A member who names invented nodes, names of hosts and port 0 fills no table and resolves no name."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        liar = Peer(swarm, node_signer(swarm.world, 77), swarm.contact(77).endpoint)
        invented = (
            *(ContactInfo(bytes([n]) * 32, f"10.66.0.{n}", 1) for n in range(1, 10)),
            ContactInfo(b"h" * 32, "host.example", 1),
            ContactInfo(b"p" * 32, "10.66.0.99", 0),
        )
        liar.reply = lambda request: Pong() if isinstance(request.payload, Ping) else Nodes(invented)
        liar.introduces = True
        await liar.open()
        node = await swarm.start(0, [77])
        await node.joined()
        assert {contact.port for contact in await node.lookup(bytes(32), 20)} == {swarm.contact(0).port}
        assert len(node.known()) == 2
        assert {sent.destination.host for sent in swarm.network.sent} <= {
            *(f"10.66.0.{n}" for n in range(1, 10)),
            swarm.host(0),
            swarm.host(77),
        }
        await swarm.stop()

    run_virtually(main())


def test_a_flood_of_the_unadmitted_changes_nothing(tmp_path: Path) -> None:
    """Ten thousand datagrams of outsiders: no contact, bounded answers and certificate checks, members still served."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        outsider = Peer(swarm, World().node().signer)
        plain = datagrams.write_datagram(outsider.compose(Ping(), contact.node_id), outsider.signer.key)
        introduced = datagrams.write_datagram(
            outsider.compose(Ping(), contact.node_id, introduce=True), outsider.signer.key
        )
        for _ in range(5_000):
            swarm.network.send(Endpoint("10.66.6.6", 666), contact.endpoint, plain)
            swarm.network.send(Endpoint("10.66.6.7", 667), contact.endpoint, introduced)
        await asyncio.sleep(0.1)
        counters = node.counters
        assert node.known() == (contact,)
        assert counters.received == 10_000
        assert counters.sent == counters.who_are_you <= params.SOURCE_BURST + params.SOURCE_RATE
        assert counters.unadmitted <= params.INTRODUCTION_BURST + params.INTRODUCTION_RATE
        assert counters.rate_limited > 7_000
        member = Peer(swarm, swarm.world.user("alice").signer)
        await member.open()
        member.send(member.compose(Ping(), contact.node_id, introduce=True), contact)
        await rest()
        assert member.payloads(Pong)
        await swarm.stop()

    run_virtually(main())


def test_one_ipv6_host_with_many_addresses_is_one_source(tmp_path: Path) -> None:
    """From thousands of addresses of one /64 no more is answered than from one; another /64 is served."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        peer = Peer(swarm, swarm.world.user("alice").signer)
        octets = datagrams.write_datagram(peer.compose(Ping(), contact.node_id), peer.signer.key)
        for number in range(3_000):
            swarm.network.send(Endpoint(f"2001:db8::{number:x}", 9), contact.endpoint, octets)
        await asyncio.sleep(0.1)
        assert node.counters.who_are_you <= params.SOURCE_BURST + params.SOURCE_RATE
        assert node.counters.rate_limited >= 1_500
        answered = node.counters.who_are_you
        swarm.network.send(Endpoint("2001:db8:0:1::1", 9), contact.endpoint, octets)
        await asyncio.sleep(0.1)
        assert node.counters.who_are_you == answered + 1
        await swarm.stop()

    run_virtually(main())


def test_a_client_answers_nobody(tmp_path: Path) -> None:
    """A client asks and is answered; asked, even by a node that knows its endpoint, it is silent."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        client = await swarm.client(swarm.world.gateway().signer, [0])
        assert client.own is None
        assert client.known() == (contact,)
        assert node.known() == (contact,)
        peer = Peer(swarm, node_signer(swarm.world, 77))
        await peer.open()
        target = Contact(client._signer.certificate.node_id, "10.9.0.1", client.port)
        peer.send(peer.compose(Ping(), target.node_id, introduce=True), target)
        await rest()
        assert peer.received == []
        assert client.counters.misaddressed == 1
        await swarm.stop()

    run_virtually(main())


def test_a_client_with_a_nodes_certificate_is_not_taken_for_a_node(tmp_path: Path) -> None:
    """Who asks with a node's certificate and does not answer is served, and enters no table."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path)
        client = await swarm.client(node_signer(swarm.world, 88), [0])
        assert await client.lookup(bytes(32), 3) == (contact,)
        await asyncio.sleep(60)
        assert node.known() == (contact,)
        await swarm.stop()

    run_virtually(main())


@settings(max_examples=60, deadline=None)
@given(octets=st.binary(max_size=1_500), source=st.tuples(st.text(max_size=20), st.integers(0, 65_535)))
def test_any_octets_never_raise_and_change_nothing(
    octets: bytes, source: tuple[str, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever arrives from wherever, `datagram_received` returns, sends nothing and remembers nothing."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path_factory.mktemp("any"))
        protocol = node._make_protocol()
        for addr in (source, ("10.0.0.9", 9)):
            protocol.datagram_received(octets, addr)
            protocol.datagram_received(bytes(64) + octets, addr)
        assert protocol.counters.received == 4
        assert protocol.counters.malformed + protocol.counters.misaddressed == 4
        assert protocol.counters.sent == 0
        assert node.known() == (contact,)
        await swarm.stop()

    run_virtually(main())


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), change=st.integers(0, 255), cut=st.integers(0, 10_000))
def test_damaged_datagrams_never_raise_and_admit_nobody(
    position: int, change: int, cut: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A member's introduction with an octet changed or its end missing is dropped; only the intact one is answered."""

    async def main() -> None:
        swarm, node, contact = await one_node(tmp_path_factory.mktemp("damaged"))
        peer = Peer(swarm, node_signer(swarm.world, 77))
        intact = datagrams.write_datagram(peer.compose(Ping(), contact.node_id, introduce=True), peer.signer.key)
        damaged = bytearray(intact)
        damaged[position % len(intact)] ^= change
        protocol = node._protocol
        assert protocol is not None
        protocol.datagram_received(bytes(damaged), (ALICE.host, ALICE.port))
        assert node.counters.requests == (bytes(damaged) == intact)
        protocol.datagram_received(intact[: cut % len(intact)], (ALICE.host, ALICE.port))
        assert node.counters.requests <= 1
        assert node.known() == (contact,)
        await swarm.stop()

    run_virtually(main())


def test_a_renewed_certificate_is_introduced_by_itself(tmp_path: Path) -> None:
    """A node that comes back with a new certificate for its key stays a contact; nobody waits for a timeout."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(2)
        await swarm.nodes[1].stop()
        key = node_signer(swarm.world, 1).key
        der = swarm.world.authority.issue("node", "renewed", key.public_bytes, None, START + 5_000)
        renewed = KademliaSubstrate(
            Signer(key, parse_certificate(der)),
            swarm.trust(),
            loop_clock,
            listen=swarm.contact(1).endpoint,
            node=True,
            contacts_file=tmp_path / "none.json",
            open_transport=swarm.network.opener(swarm.host(1)),
        )
        await renewed.start([])
        await asyncio.sleep(params.TABLE_FRESH / 1_000 + 1)
        assert set(await swarm.nodes[0].lookup(bytes(32), 3)) == {swarm.contact(0), swarm.contact(1)}
        assert swarm.nodes[0].counters.timeouts == 0
        await renewed.stop()
        await swarm.nodes[0].stop()

    run_virtually(main())
