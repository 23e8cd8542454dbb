"""Admitted nodes that lie, everywhere and around one inbox, and outsiders who flood: honest lookups stay right."""

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact, distance
from p2pcore.endpoint import Endpoint
from p2pcore.records import Datagram, FindNode
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import PORT, Swarm, loop_clock, node_signer, object_key
from tests.support.fake_network import FakeNetwork
from tests.support.identities import World

NODES = 35
LIARS = NODES // 5
K = 8
Lie = Callable[[bytes], list[Contact]]


class Liars:
    """Nodes of a swarm that answer FindNode with lies of every kind, each with its own."""

    def __init__(self, swarm: Swarm, numbers: Iterable[int]) -> None:
        self.swarm = swarm
        self.numbers = sorted(numbers)
        self.contacts = [swarm.contact(number) for number in self.numbers]
        self._random = random.Random(1)

    def begin(self) -> None:
        """Lie from now on: by invention, alone and in concert, by omission, by wrong endpoints, and by silence."""
        lies: list[Lie] = [self.invented, self.shared, self.colluders, self.farthest, self.misplaced, self.mixed]
        for place, number in enumerate(self.numbers):
            closest = partial(_lying, lies[place % len(lies)])
            self.swarm.nodes[number]._peers.closest = closest  # type: ignore[method-assign]

    def invented(self, target: bytes) -> list[Contact]:
        """Contacts that never were, closer to the target than anybody, others each time."""
        return [self._invented(target, self._random.getrandbits(200)) for _ in range(params.BUCKET_SIZE)]

    def shared(self, target: bytes) -> list[Contact]:
        """The same invented contacts as all who lie so."""
        return [self._invented(target, 1 + number) for number in range(params.BUCKET_SIZE)]

    def mixed(self, target: bytes) -> list[Contact]:
        """Half of it the truth."""
        return [*self.invented(target)[: K // 2], *self.swarm.true_closest(target, K // 2)]

    def colluders(self, target: bytes) -> list[Contact]:
        """Liars only."""
        return sorted(self.contacts, key=lambda contact: distance(contact.node_id, target))

    def farthest(self, target: bytes) -> list[Contact]:
        """Real nodes, but those farthest from the target."""
        return list(reversed(self.swarm.true_closest(target, NODES)))[:K]

    def misplaced(self, target: bytes) -> list[Contact]:
        """The truth at endpoints where nobody answers."""
        return [Contact(contact.node_id, "10.66.0.1", 1) for contact in self.swarm.true_closest(target, K)]

    def _invented(self, target: bytes, difference: int) -> Contact:
        node_id = (int.from_bytes(target, "big") ^ difference).to_bytes(32, "big")
        return Contact(node_id, f"10.66.{difference % 250}.{difference // 250 % 250}", PORT)


def _lying(lie: Lie, target: bytes, asker: bytes) -> list[Contact]:
    return lie(target)


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_fifth_of_the_nodes_lie_and_lookups_find_the_honest_closest(tmp_path: Path) -> None:
    """Lies of all kinds from the first join on, two liars silent: every honest node among the k closest is found.

    Everybody is given two honest bootstrap nodes beside one that may lie, as an invitation names several.
    """

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1), bucket_size=K)
        liars = Liars(swarm, range(2, NODES, 5))
        for number in range(NODES):
            await (await swarm.start(number, sorted({0, 1, number // 2} - {number}))).joined()
            if number in liars.numbers:
                Liars(swarm, [number]).begin()
        liars.begin()
        assert len(liars.numbers) == LIARS
        for number in liars.numbers[3], liars.numbers[6]:
            swarm.kill(number)
        honest = [number for number in range(NODES) if number not in liars.numbers]
        hits = expected = 0
        took: list[float] = []
        for number in range(40):
            key = object_key(number)
            began = now()
            found = await swarm.nodes[honest[number * 7 % len(honest)]].lookup(key, K)
            took.append(now() - began)
            true = {contact for contact in swarm.true_closest(key, K) if contact not in liars.contacts}
            hits += len(true & set(found))
            expected += len(true)
            assert {contact.port for contact in found} == {PORT}
            assert all(contact in map(swarm.contact, range(NODES)) for contact in found), (
                "invented contacts never count"
            )
        assert hits / expected >= 0.99
        assert sorted(took)[len(took) // 2] < 2
        assert max(took) < params.LOOKUP_DEADLINE / 1_000
        await swarm.stop()

    run_virtually(main())


@pytest.mark.parametrize("silent", [False, True])
def test_liars_around_one_inbox_hide_no_honest_node(tmp_path: Path, silent: bool) -> None:
    """The four nodes closest to one inbox lie or are silent; whoever looks up 3, 8 or 12 finds the true closest."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(2), bucket_size=K + 4)
        await swarm.grow(NODES)
        inbox = hashlib.sha256(b"alice@example.org").digest()
        closest = sorted(range(NODES), key=lambda number: distance(swarm.contact(number).node_id, inbox))
        liars = Liars(swarm, closest[:4])
        liars.begin()
        for number in closest[:4] if silent else []:
            swarm.kill(number)
        for asker in closest[6::4]:
            for k in (3, K, K + 4):
                found = await swarm.nodes[asker].lookup(inbox, k)
                assert found == swarm.true_closest(inbox, k)
        # Whoever wants k honest ones, whatever the four say, asks for k + 4
        found = await swarm.nodes[closest[-1]].lookup(inbox, K + 4)
        honest = [contact for contact in found if contact not in liars.contacts]
        assert honest[:K] == [swarm.contact(number) for number in closest[4 : 4 + K]]
        await swarm.stop()

    run_virtually(main())


def test_a_liar_in_a_small_network_holds_up_nobody(tmp_path: Path) -> None:
    """Five nodes, one names twenty new inventions in each answer: lookups stay exact and quick, memory bounded."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(5)
        liar = Liars(swarm, [3])
        liar.begin()
        took = []
        for number in range(60):
            await asyncio.sleep(10)
            began = now()
            found = await swarm.nodes[number % 3].lookup(object_key(number), 3)
            took.append(now() - began)
            assert found == swarm.true_closest(object_key(number), 3)
        assert max(took) < 1
        for node in (swarm.nodes[0], swarm.nodes[1]):
            assert len(node.known()) == 5
            assert len(node._peers.liveness) <= params.MAX_PEER_STATES
            assert len(node._peers._meetings) <= params.MAX_PING_BACKS
        await swarm.stop()

    run_virtually(main())


def test_a_flood_of_outsiders_changes_no_table_no_memory_and_no_answer(tmp_path: Path) -> None:
    """Thousands of signed datagrams of people without a certificate, from many addresses, while members look up."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        await asyncio.sleep(1)
        node, target = swarm.nodes[0], swarm.contact(0)
        before = set(node.known())
        states = len(node._peers.liveness)
        outsiders = [World().node().signer for _ in range(5)]
        for number in range(3_000):
            signer = outsiders[number % 5]
            der = signer.certificate.der if number % 2 else b""
            request_id = number.to_bytes(8, "big")
            flood = Datagram(FindNode(bytes(32)), request_id, target.node_id, signer.fingerprint, loop_clock(), der)
            octets = datagrams.write_datagram(flood, signer.key)
            swarm.network.send(Endpoint(f"10.66.{number % 200}.{number % 7}", 9), target.endpoint, octets)
            if number % 500 == 0:
                assert await node.lookup(object_key(number), 3) == swarm.true_closest(object_key(number), 3)
        await asyncio.sleep(1)
        protocol = node._protocol
        assert protocol is not None
        assert set(node.known()) == before
        assert len(node._peers.liveness) == states
        assert not protocol._outstanding
        assert node.counters.unadmitted + node.counters.unknown_signer + node.counters.rate_limited == 3_000
        assert all(protocol._trust.get(signer.fingerprint) is None for signer in outsiders)
        assert node_signer(swarm.world, 1).certificate.node_id in {contact.node_id for contact in node.known()}
        await swarm.stop()

    run_virtually(main())
