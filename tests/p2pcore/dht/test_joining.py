"""How a machine gets into the network: by bootstrap nodes, by saved contacts, after whatever kind of restart."""

import asyncio
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.dht.contacts import load_contacts
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Unreachable
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import PORT, Swarm, loop_clock, now, object_key
from tests.support.fake_network import FakeNetwork


class PartedNetwork(FakeNetwork):
    """Hosts in `apart` and the others do not reach each other."""

    apart: frozenset[str] = frozenset()

    def send(self, source: Endpoint, destination: Endpoint, octets: bytes) -> None:
        if (source.host in self.apart) == (destination.host in self.apart):
            super().send(source, destination, octets)


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


def test_parts_cut_apart_for_longer_than_the_dead_are_remembered_find_each_other(tmp_path: Path) -> None:
    """Two pairs do not reach each other for eight hours: minutes after they do again, all know all."""

    async def main() -> None:
        network = PartedNetwork(1)
        swarm = Swarm(tmp_path, network)
        for number, bootstrap in ((0, []), (1, [0]), (2, [0]), (3, [0, 2])):
            await swarm.start(number, bootstrap)
        await asyncio.sleep(60)
        assert [len(node.known()) for node in swarm.nodes.values()] == [4] * 4
        network.apart = frozenset((swarm.host(0), swarm.host(1)))
        await asyncio.sleep(8 * 3_600)
        assert [len(node.known()) for node in swarm.nodes.values()] == [2] * 4
        network.apart = frozenset()
        await asyncio.sleep(2 * params.BOOTSTRAP_RETRY_CONNECTED / 1_000)
        assert [len(node.known()) for node in swarm.nodes.values()] == [4] * 4
        await swarm.stop()

    run_virtually(main())


def test_nodes_that_the_domain_record_lists_are_begun_with_too(tmp_path: Path) -> None:
    """The one bootstrap node is dead for good: the first attempt after the record is known finds the others."""

    async def main() -> None:
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(4)
        await asyncio.sleep(10)
        swarm.kill(0)
        client = await swarm.client(swarm.world.user("alice").signer, [0])
        assert client.known() == ()
        client.listed(swarm.infos(0, 1))
        began = now()
        assert len(await client.lookup(object_key(1), 8)) == 3
        assert now() - began < params.LOOKUP_DEADLINE / 1_000
        await swarm.stop()

    run_virtually(main())


def test_parts_find_each_other_by_the_listed_nodes_where_the_bootstrap_node_is_gone(tmp_path: Path) -> None:
    """Two pairs know each other no more, and the node that both began with has left: minutes later all know all."""

    async def main() -> None:
        network = PartedNetwork(1)
        swarm = Swarm(tmp_path, network)
        for number in range(5):
            (await swarm.start(number, [0])).listed(swarm.infos(*range(5)))
        await asyncio.sleep(60)
        assert [len(node.known()) for node in swarm.nodes.values()] == [5] * 5
        swarm.kill(0)
        network.apart = frozenset((swarm.host(1), swarm.host(2)))
        await asyncio.sleep(8 * 3_600)
        assert [len(swarm.nodes[number].known()) for number in range(1, 5)] == [2] * 4
        network.apart = frozenset()
        await asyncio.sleep(2 * params.BOOTSTRAP_RETRY_CONNECTED / 1_000)
        assert [len(swarm.nodes[number].known()) for number in range(1, 5)] == [4] * 4
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


def test_a_damaged_contacts_file_is_no_obstacle(tmp_path: Path) -> None:
    """The file is a hint: unreadable, it is passed over."""

    async def main() -> None:
        (tmp_path / "contacts1.json").write_text("{")
        swarm = Swarm(tmp_path, FakeNetwork(1))
        await swarm.grow(2)
        assert len(swarm.nodes[1].known()) == 2
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
