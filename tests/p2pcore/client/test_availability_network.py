"""The probe on the real DHT over a fake network: who is down is seen, who returns is seen, and what it costs."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from p2pcore.client.availability import Availability
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import Swarm, loop_clock
from tests.support.fake_network import FakeNetwork

Story = Callable[[Swarm, KademliaSubstrate, Availability], Coroutine[None, None, None]]


def play(directory: Path, nodes: int, story: Story, *, bucket_size: int = 20) -> None:
    """Run `story` among so many nodes, seen from one client."""

    async def main() -> None:
        swarm = Swarm(directory, FakeNetwork(seed=3), bucket_size=bucket_size)
        await swarm.grow(nodes)
        user = swarm.world.user("alice").signer
        client = await swarm.client(user, [0])
        availability = Availability(
            client, user.certificate.node_id, loop_clock, directory / "uptimes.json", choose=lambda ids, n: ids[:n]
        )
        await availability.start()
        await story(swarm, client, availability)
        await availability.stop()
        await swarm.stop()

    run_virtually(main())


async def samples(availability: Availability, count: int) -> None:
    for _ in range(count):
        await availability.sample()


async def minutes(count: float) -> None:
    await asyncio.sleep(count * 60)


def test_down_and_back(tmp_path: Path) -> None:
    """Of four nodes one is down in half of the samples, and counts as up again when it is back."""

    async def story(swarm: Swarm, _: KademliaSubstrate, availability: Availability) -> None:
        await samples(availability, 1)
        swarm.kill(3)
        await minutes(15)
        await samples(availability, 12)
        swarm.network.dead.clear()
        await minutes(35)  # the longest back-off
        await samples(availability, 12)
        estimate = availability.estimate()
        assert estimate.nodes == 4
        assert estimate.up == pytest.approx(7 / 8, abs=0.02)

    play(tmp_path, 4, story)


def test_cut_off(tmp_path: Path) -> None:
    """While this machine itself is cut off nothing is counted, and afterwards all is as before."""

    async def story(swarm: Swarm, _: KademliaSubstrate, availability: Availability) -> None:
        await samples(availability, 3)
        counted = availability.estimate().samples
        swarm.network.dead.update(swarm.host(number) for number in swarm.nodes)
        await minutes(15)
        await samples(availability, 2)
        assert availability.estimate().samples == counted
        swarm.network.dead.clear()
        await minutes(35)
        await samples(availability, 2)
        assert availability.estimate().samples >= counted + 2
        assert availability.estimate().nodes == 2

    play(tmp_path, 2, story)


def test_large_network(tmp_path: Path) -> None:
    """Where lookups go from node to node, the dead are down, and who lives is up, in the table or not."""

    async def story(swarm: Swarm, client: KademliaSubstrate, availability: Availability) -> None:
        gone = {contact.node_id for contact in client.known()[:2]}
        await samples(availability, 1)  # follows those who were known by then, and nobody who is met later
        assert len(gone) == 2
        for number in swarm.nodes:
            if swarm.contact(number).node_id in gone:
                swarm.kill(number)
        await minutes(4)
        await samples(availability, 24)
        estimate = availability.estimate()
        assert estimate.up == pytest.approx(1 - 2 / estimate.nodes, abs=0.06)

    play(tmp_path, 12, story, bucket_size=4)
