"""Nodes that come, fall silent, come back or move: what the others know of them, and when."""

import asyncio
from pathlib import Path

from p2pcore import params
from p2pcore.endpoint import Endpoint
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import PORT, Swarm, now, object_key
from tests.support.fake_network import FakeNetwork


def test_everybody_learns_of_a_newcomer_at_once(tmp_path: Path) -> None:
    """A newcomer's own lookup makes it known to all; their callbacks fire and their next lookups include it."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        await asyncio.sleep(1)  # until all know all
        changes: list[int] = []
        for number, node in swarm.nodes.items():
            node.on_change(lambda number=number: changes.append(number))  # type: ignore[misc]
        await (await swarm.start(4, [0])).joined()
        await asyncio.sleep(0.2)
        assert sorted(changes) == [0, 1, 2, 3]
        for node in swarm.nodes.values():
            assert len(await node.lookup(object_key(1), 20)) == 5
        await swarm.stop()

    run_virtually(main())


def test_clients_hear_of_a_newcomer_within_a_minute_of_use(tmp_path: Path) -> None:
    """Nobody tells a client; its table is verified while it is being used, which brings the news."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(3)
        client = await swarm.client(swarm.world.gateway().signer, [0])
        assert len(await client.lookup(object_key(1), 20)) == 3
        await (await swarm.start(3, [1])).joined()
        # What HTTP says of old contacts does not stand in for asking them
        for _ in range(12):
            await asyncio.sleep(5)
            for contact in client.known():
                client.report(contact, alive=True)
            await client.lookup(object_key(1), 3)
        assert len(await client.lookup(object_key(1), 20)) == 4
        await swarm.stop()

    run_virtually(main())


def test_silence_reported_by_others_is_verified_before_the_next_answer(tmp_path: Path) -> None:
    """After `report(alive=False)` a lookup returns the contact if it still answers and leaves it out if not."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        await asyncio.sleep(1)
        asker, suspect = swarm.nodes[0], swarm.contact(2)
        asker.report(suspect, alive=False)
        assert suspect in await asker.lookup(object_key(1), 4)
        swarm.kill(2)
        began = now()
        asker.report(suspect, alive=False)
        assert suspect not in await asker.lookup(object_key(1), 4)
        assert now() - began < 1, "two timeouts, whatever else is under way"
        began = now()
        assert suspect not in await asker.lookup(object_key(2), 4)
        assert now() == began, "nobody waits twice"
        await asyncio.sleep(5)
        assert suspect not in asker.known()
        await swarm.stop()

    run_virtually(main())


def test_a_node_that_comes_back_is_found_again(tmp_path: Path) -> None:
    """Evicted while dead, a node is asked again after its back-off, and at once when it speaks up itself."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(3)
        swarm.kill(1)
        await asyncio.sleep(params.TABLE_FRESH / 1_000)
        assert len(await swarm.nodes[0].lookup(object_key(1), 3)) == 2
        await asyncio.sleep(10)
        swarm.network.dead.clear()
        await asyncio.sleep(4 * params.DEAD_BACKOFF_FIRST / 1_000)
        assert swarm.contact(1) in swarm.nodes[0].known()
        assert len(await swarm.nodes[0].lookup(object_key(1), 3)) == 3
        await swarm.stop()

    run_virtually(main())


def test_a_node_that_moved_takes_its_old_place_once_that_is_silent(tmp_path: Path) -> None:
    """The verified endpoint is kept while it answers; a restart at another port is found after it has gone silent."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(3)
        await swarm.nodes[1].stop()
        moved = await swarm.start(1, [0], port=PORT + 1)
        await moved.joined()
        await asyncio.sleep(5)
        for number in (0, 2):
            endpoints = {contact.endpoint for contact in swarm.nodes[number].known()}
            assert Endpoint(swarm.host(1), PORT + 1) in endpoints
            assert Endpoint(swarm.host(1), PORT) not in endpoints
        await swarm.stop()

    run_virtually(main())


def test_a_relay_cannot_take_a_nodes_place(tmp_path: Path) -> None:
    """A live node stays at its verified endpoint although its answers also come back through another one."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(2)
        victim, relay = swarm.contact(1), Endpoint("10.66.6.6", 666)
        network = swarm.network

        class Relay(asyncio.DatagramProtocol):
            asker: Endpoint | None = None

            def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
                source = Endpoint(*addr)
                if source != victim.endpoint:
                    self.asker = source
                    network.send(relay, victim.endpoint, data)
                elif self.asker is not None:
                    network.send(relay, self.asker, data)

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                pass

        await network.opener(relay.host)(Relay, relay)
        peers = swarm.nodes[0]._peers
        await peers.introduce(relay, victim.node_id)
        assert peers.table.get(victim.node_id) == victim
        await swarm.stop()

    run_virtually(main())
