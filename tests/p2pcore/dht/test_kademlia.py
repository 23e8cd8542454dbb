"""The substrate as its users see it: lookups among many nodes and among few, and on real sockets."""

import asyncio
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.contacts import load_contacts
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import Swarm, loop_clock, node_signer, now, object_key
from tests.support.fake_network import FakeNetwork
from tests.support.identities import World


def test_fifty_nodes_of_which_few_know_all_find_the_true_closest(tmp_path: Path) -> None:
    """Lookups are iterative and find exactly the k closest; then 30 % die and lookups find 99 % of the living."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1), bucket_size=8)
        await swarm.grow(50)
        assert sum(len(node.known()) == 50 for node in swarm.nodes.values()) <= 10
        for number in range(30):
            k = (3, 8)[number % 2]
            asker = swarm.nodes[number * 13 % 50]
            found = await asker.lookup(object_key(number), k)
            assert found == swarm.true_closest(object_key(number), k)

        for number in range(0, 45, 3):
            swarm.kill(number)
        living = [number for number in range(50) if swarm.host(number) not in swarm.network.dead]
        hits = expected = 0
        for number in range(60):
            key = object_key(100 + number)
            began = now()
            found = await swarm.nodes[living[number * 13 % 35]].lookup(key, 3)
            # Fifteen dead one after another would take 15 timeouts twice; the deadline is for the whole lookup
            assert now() - began < params.LOOKUP_DEADLINE / 1_000 / 2
            assert not {contact.host for contact in found} & swarm.network.dead, "a dead node is never returned"
            hits += len(set(found) & set(swarm.true_closest(key, 3)))
            expected += 3
        assert hits / expected >= 0.99
        # By now the asker remembers its dead: nothing is waited for any more
        asker = swarm.nodes[living[0]]
        for number in range(20):
            await asker.lookup(object_key(number), 3)
        began = now()
        for number in range(20):
            await asker.lookup(object_key(number), 3)
        assert (now() - began) / 20 < params.PEER_TIMEOUT_LEAST / 1_000
        await swarm.stop()

    run_virtually(main())


def test_loss_hides_few_nodes(tmp_path: Path) -> None:
    """With one datagram in fifty lost, thirty nodes still find each other and 97 % of the closest."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(2, loss=0.02), bucket_size=6)
        await swarm.grow(30)
        hits = 0
        for number in range(50):
            found = await swarm.nodes[number * 7 % 30].lookup(object_key(number), 3)
            hits += len(set(found) & set(swarm.true_closest(object_key(number), 3)))
        assert hits / 150 >= 0.97
        await swarm.stop()

    run_virtually(main())


def test_a_small_network_is_looked_up_without_a_datagram(tmp_path: Path) -> None:
    """Five nodes all know each other as soon as the last has joined; lookups then send nothing and are exact."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(5)
        await asyncio.sleep(1)
        sent = len(swarm.network.sent)
        for number in range(40):
            found = await swarm.nodes[number % 5].lookup(object_key(number), 3)
            assert found == swarm.true_closest(object_key(number), 3)
        assert len(swarm.network.sent) == sent
        assert swarm.nodes[2].own in swarm.nodes[2].known()
        await swarm.stop()

    run_virtually(main())


def test_what_a_small_fresh_table_says_is_had_without_waiting(tmp_path: Path) -> None:
    """Nearest is what a lookup gives as long as everybody was heard of lately and answers, and nothing before or after.

    A lookup makes it so again.
    """

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(3)
        await asyncio.sleep(1)
        asked = swarm.nodes[0]
        assert asked.nearest(object_key(1), 3) == await asked.lookup(object_key(1), 3)
        asked.report(swarm.contact(1), alive=False)
        assert asked.nearest(object_key(1), 3) is None
        await asked.lookup(object_key(1), 3)
        assert asked.nearest(object_key(1), 3) == swarm.true_closest(object_key(1), 3)
        await asyncio.sleep(params.WARM_AFTER_LOOKUP / 1_000 + params.IDLE_REFRESH / 1_000)
        swarm.kill(1)
        await asyncio.sleep(2 * params.TABLE_FRESH / 1_000)
        assert asked.nearest(object_key(1), 3) is None
        assert len(await asked.lookup(object_key(1), 3)) == 2
        await swarm.stop()

    run_virtually(main())


def test_a_node_needs_a_nodes_certificate(tmp_path: Path) -> None:
    """A user's identity or a missing listener cannot be announced as a node."""

    async def main() -> None:
        world = World()
        for signer, listen in ((world.user("alice").signer, Endpoint("10.0.0.1", 1)), (world.node().signer, None)):
            with pytest.raises(ValueError, match="a node needs"):
                KademliaSubstrate(
                    signer, world.trust(), loop_clock, listen=listen, node=True, contacts_file=tmp_path / "c"
                )

    run_virtually(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_real_sockets_on_loopback(tmp_path: Path, host: str) -> None:
    """Two nodes and a client on real UDP sockets, bootstrapped by name, find both nodes."""
    world = World()
    substrates: list[KademliaSubstrate] = []
    for number in range(3):
        substrates.append(
            KademliaSubstrate(
                node_signer(world, number) if number < 2 else world.user("alice").signer,
                world.trust(),
                world.clock,
                listen=Endpoint(host, 0) if number < 2 else None,
                node=number < 2,
                contacts_file=tmp_path / f"{number}.json",
            )
        )
        await substrates[-1].start([("127.0.0.1", substrates[0].port, None)] if number else [])
        assert await substrates[-1].joined() == bool(number)
    joined = asyncio.Event()
    substrates[0].on_change(joined.set)
    if len(substrates[0].known()) < 2:
        await joined.wait()
    expected = {Contact(node_signer(world, n).certificate.node_id, "127.0.0.1", substrates[n].port) for n in range(2)}
    for substrate in substrates:
        assert set(await substrate.lookup(object_key(1), 3)) == expected
    for substrate in substrates:
        await substrate.stop()
    assert {contact.port for contact in load_contacts(tmp_path / "2.json")} == {n.port for n in expected}


async def test_a_port_in_use_is_an_error(tmp_path: Path) -> None:
    """Starting at a taken port raises OSError and leaves nothing behind."""
    world = World()

    def make(port: int) -> KademliaSubstrate:
        return KademliaSubstrate(
            world.node().signer,
            world.trust(),
            world.clock,
            listen=Endpoint("127.0.0.1", port),
            node=True,
            contacts_file=tmp_path / "contacts.json",
        )

    first = make(0)
    await first.start([])
    with pytest.raises(OSError, match="in use"):
        await make(first.port).start([])
    await first.stop()
