"""The substrate as its users see it: many nodes, dead nodes, newcomers, restarts, small networks."""

import asyncio
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.contacts import load_contacts
from p2pcore.dht.datagrams import read_datagram
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Unreachable
from p2pcore.records import FindNode
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import PORT, Swarm, loop_clock, node_signer, object_key
from tests.support.fake_network import FakeNetwork
from tests.support.identities import World


def now() -> float:
    return asyncio.get_running_loop().time()


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


def test_a_machine_finds_its_network_again_by_its_saved_contacts(tmp_path: Path) -> None:
    """Killed and started without any bootstrap node, a node is in the network again; so is a client."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        client = await swarm.client(swarm.world.gateway().signer, [0])
        await asyncio.sleep(params.CONTACTS_SAVED_EVERY / 1_000 + 1)
        assert set(load_contacts(tmp_path / "contacts3.json")) == {swarm.contact(number) for number in range(3)}
        swarm.nodes[3]._transport.close()  # type: ignore[union-attr]  # as SIGKILL would, without stop
        again = await swarm.start(3, [])
        assert await again.joined()
        assert len(await again.lookup(object_key(1), 10)) == 4
        await client.stop()
        assert len(load_contacts(tmp_path / "client0.json")) == 4
        await swarm.stop()

    run_virtually(main())


def test_a_full_restart_heals_whatever_the_order(tmp_path: Path) -> None:
    """All are stopped and come back an hour later, minutes apart, the bootstrap node last: all find all."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        await asyncio.sleep(15)
        await swarm.stop()
        await asyncio.sleep(3_600)
        for number in (3, 1, 2):
            await swarm.start(number, [0])
            await asyncio.sleep(120)
        quiet = len(swarm.network.sent)
        await asyncio.sleep(600)
        assert len(swarm.network.sent) - quiet < 600, "back-off, not insistence"
        await swarm.start(0, [])
        await asyncio.sleep(params.BOOTSTRAP_RETRY_CONNECTED / 1_000)
        for node in swarm.nodes.values():
            assert len(await node.lookup(object_key(1), 10)) == 4
        await swarm.stop()

    run_virtually(main())


def test_a_network_larger_than_any_table_heals_by_saved_contacts_alone(tmp_path: Path) -> None:
    """Thirty nodes die at once and come back with no bootstrap node at all: soon all find the true closest again."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(3), bucket_size=6)
        await swarm.grow(30)
        await asyncio.sleep(params.CONTACTS_SAVED_EVERY / 1_000 + 1)
        for node in swarm.nodes.values():
            node._transport.close()  # type: ignore[union-attr]  # as SIGKILL would, without stop
        old = list(swarm.nodes.values())
        for number in range(30):
            await swarm.start(number, [])
            await asyncio.sleep(3)
        await asyncio.sleep(60)
        for number in range(30):
            found = await swarm.nodes[number].lookup(object_key(number), 3)
            assert found == swarm.true_closest(object_key(number), 3)
        await swarm.stop()
        for node in old:
            await node.stop()

    run_virtually(main())


@pytest.mark.parametrize("alive", range(4))
def test_any_one_bootstrap_node_alive_is_enough(tmp_path: Path, alive: int) -> None:
    """Of four bootstrap nodes three are dead, whichever: the first attempt joins, in less than a lookup may take."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(6)
        await asyncio.sleep(1)
        for number in set(range(4)) - {alive}:
            swarm.kill(number)
        began = now()
        newcomer = await swarm.start(6, range(4))
        assert await newcomer.joined()
        assert now() - began < params.LOOKUP_DEADLINE / 1_000
        assert set(await newcomer.lookup(object_key(1), 8)) == {swarm.contact(number) for number in (alive, 4, 5, 6)}
        await swarm.stop()

    run_virtually(main())


def test_buckets_that_no_lookup_touches_are_looked_into_every_hour(tmp_path: Path) -> None:
    """Without any lookup asked for, each bucket is refreshed within the hour by a lookup of an ID in it."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(4), bucket_size=4)
        await swarm.grow(16)
        await asyncio.sleep(10)
        node = swarm.nodes[0]
        ranges = node._peers.table.ranges()
        assert len(ranges) > 2
        before = len(swarm.network.sent)
        await asyncio.sleep(params.BUCKET_REFRESH / 1_000 + 60)
        targets = set()
        for sent in swarm.network.sent[before:]:
            payload = read_datagram(sent.octets)[1].payload
            if sent.source.host == swarm.host(0) and isinstance(payload, FindNode):
                targets.add(int.from_bytes(payload.target, "big"))
        for first, last in ranges:
            assert any(first <= target <= last for target in targets)
        assert node._peers.table.stale(int(now() * 1_000) - params.BUCKET_REFRESH) == []
        await swarm.stop()

    run_virtually(main())


def test_parts_that_started_apart_find_each_other(tmp_path: Path) -> None:
    """Two pairs, each bootstrapped from a node of the other that came too late, become one network."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        swarm.network.dead = {swarm.host(2), swarm.host(3)}
        await swarm.start(0, [2])
        await swarm.start(1, [0])
        await swarm.start(2, [])
        await swarm.start(3, [2])
        await asyncio.sleep(30)
        swarm.network.dead = set()
        await asyncio.sleep(2 * params.BOOTSTRAP_RETRY_CONNECTED / 1_000)
        assert [len(node.known()) for node in swarm.nodes.values()] == [4] * 4
        await swarm.stop()

    run_virtually(main())


def test_an_idle_network_is_nearly_silent(tmp_path: Path) -> None:
    """Without lookups five nodes send a few datagrams per contact and hour; while used, one round per half minute."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(5)
        await asyncio.sleep(5)
        sent = len(swarm.network.sent)
        await asyncio.sleep(3_600)
        per_pair = (len(swarm.network.sent) - sent) / 20
        assert per_pair <= 2 * 2 * 3_600_000 / params.IDLE_REFRESH
        await swarm.nodes[0].lookup(object_key(1), 3)
        sent = len(swarm.network.sent)
        for _ in range(600):
            await asyncio.sleep(1)
            await swarm.nodes[0].lookup(object_key(1), 3)
        rounds = 600_000 / params.WARM_REFRESH
        assert len(swarm.network.sent) - sent <= (rounds + 2) * 4 * 2 + 40
        await swarm.stop()

    run_virtually(main())


def test_a_node_alone_is_its_own_network(tmp_path: Path) -> None:
    """One node, told to bootstrap from itself, finds itself at once and keeps quiet."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        node = await swarm.start(0, [0], named=False)
        assert not await node.joined()
        began = now()
        assert await node.lookup(object_key(1), 3) == (swarm.contact(0),)
        assert now() == began
        sent = len(swarm.network.sent)
        await asyncio.sleep(3_600)
        assert len(swarm.network.sent) == sent
        assert not (tmp_path / "contacts0.json").exists()
        await swarm.stop()

    run_virtually(main())


def test_a_client_of_nobody_answers_in_time_and_joins_when_there_is_somebody(tmp_path: Path) -> None:
    """With every bootstrap node dead a lookup is empty within the deadline; it is right soon after one starts."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        client = await swarm.client(swarm.world.user("alice").signer, [0])
        began = now()
        assert await client.lookup(object_key(1), 3) == ()
        assert now() - began <= params.LOOKUP_DEADLINE / 1_000
        await swarm.start(0)
        await asyncio.sleep(params.BOOTSTRAP_RETRY_LAST / 1_000)
        assert await client.lookup(object_key(1), 3) == (swarm.contact(0),)
        await swarm.stop()

    run_virtually(main())


def test_a_host_name_is_resolved_and_one_that_is_not_is_tried_again(tmp_path: Path) -> None:
    """A bootstrap node is named by host name; that it cannot be resolved at first does not matter."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(1)
        calls: list[str] = []

        async def resolve(endpoint: Endpoint) -> tuple[Endpoint, ...]:
            calls.append(endpoint.host)
            if len(calls) == 1:
                raise Unreachable("no such host yet")
            return (Endpoint(swarm.host(9), endpoint.port), Endpoint(swarm.host(0), endpoint.port))

        client = KademliaSubstrate(
            swarm.world.gateway().signer,
            swarm.trust(),
            loop_clock,
            listen=None,
            node=False,
            contacts_file=tmp_path / "named.json",
            open_transport=swarm.network.opener("10.9.9.9"),
            resolve=resolve,
        )
        await client.start([("node.example", PORT, None)])
        await asyncio.sleep(10)
        assert client.known() == (swarm.contact(0),)
        assert set(calls) == {"node.example"}
        await client.stop()
        await swarm.stop()

    run_virtually(main())


def test_a_damaged_contacts_file_is_no_obstacle(tmp_path: Path) -> None:
    """The file is a hint: unreadable, it is passed over."""

    async def main() -> None:
        (tmp_path / "contacts1.json").write_text("{")
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(2)
        assert len(swarm.nodes[1].known()) == 2
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
