"""The datagrams' row of the table (primitive × who asks): who is answered, and why the others are dropped."""

from pathlib import Path
from typing import Final

import pytest

from p2pcore import params
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.errors import CertificateRefused, Failure, NotAuthorised, Replayed, SignatureRefused
from p2pcore.records import FindNode, Nodes, Ping, Pong, Revocation, WhoAreYou
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import Swarm
from tests.p2pcore.dht.test_protocol import ALICE, Peer, rest
from tests.support.fake_network import FakeNetwork
from tests.support.identities import START, ManualClock, Member, World
from tests.threats.table import DATAGRAMS, ROLES, TABLE, WHO

COUNTED: Final[dict[type[Failure], str]] = {
    CertificateRefused: "unadmitted",
    SignatureRefused: "mis_signed",
    Replayed: "replayed",
    NotAuthorised: "misaddressed",
}
PAYLOADS: Final[tuple[datagrams.Request, ...]] = (Ping(), FindNode(bytes(32)))


def asker_of(world: World, who: str) -> Member:
    """Whoever asks; everybody but `ROLES` is as a node, which is let into tables otherwise."""
    match who:
        case "owner" | "other user":
            return world.user("alice")
        case "gateway":
            return world.gateway()
        case "directory":
            return world.directory()
        case "stranger":
            return World().node()
        case "expired":
            return world.node(now=START - params.CERTIFICATE_LIFETIME - params.DAY)
    return world.node()


async def started(swarm: Swarm, revoked: Member) -> tuple[KademliaSubstrate, Contact]:
    trust = swarm.trust()
    trust.set_revocations((Revocation(revoked.certificate.serial, "retired", START),))
    swarm.trust = lambda: trust  # type: ignore[method-assign]
    node = await swarm.start(0)
    await node.joined()
    return node, swarm.contact(0)


async def ask(swarm: Swarm, who: str, payload: datagrams.Request) -> type[Failure] | None:
    """What the node does about a datagram of `who`: answer it, or drop it for a reason that it counts."""
    asker, nobody = asker_of(swarm.world, who), swarm.world.node()
    node, contact = await started(swarm, asker if who == "revoked" else nobody)
    peer = Peer(swarm, asker.signer)
    await peer.open()
    to = nobody.certificate.node_id if who == "to another node" else contact.node_id
    datagram = peer.compose(payload, to, introduce=True)
    octets = peer.send(datagram, contact, nobody.signer.key if who == "unsigned" else None)
    await rest()
    if who.startswith("replayed"):
        assert peer.payloads(Pong) or peer.payloads(Nodes)
        peer.received.clear()
        if who == "replayed after a restart":
            await node.stop()
            node = await swarm.start(0)
            await node.joined()
        swarm.network.send(ALICE, contact.endpoint, octets)
        await rest()
    answered = [*peer.payloads(Pong), *peer.payloads(Nodes), *peer.payloads(WhoAreYou)]
    found = [kind for kind, field in COUNTED.items() if getattr(node.counters, field)]
    assert len(answered) + len(found) == 1
    assert node.known() == (contact,), "nobody is let in by what he says alone"
    return found[0] if found else None


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: type(payload).__name__)
@pytest.mark.parametrize("who", WHO)
def test_cell(tmp_path: Path, who: str, payload: datagrams.Request) -> None:
    """Whoever is admitted is answered; what is dropped is counted by its reason."""

    async def main() -> None:
        world = World(clock=ManualClock(START - params.CERTIFICATE_LIFETIME - params.DAY))
        world.clock.now = START
        swarm = Swarm(tmp_path, FakeNetwork(1), world)
        assert await ask(swarm, who, payload) is TABLE[DATAGRAMS, who]
        await swarm.stop()

    run_virtually(main())


def test_the_row_is_complete() -> None:
    """Everybody of the table asks here too."""
    assert {who for primitive, who in TABLE if primitive == DATAGRAMS} == set(WHO)
    assert set(ROLES) <= set(WHO)
