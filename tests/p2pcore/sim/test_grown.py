"""A network grown by joining: the real substrate on virtual links."""

import asyncio
import random

from p2pcore import params
from p2pcore.dht.contact import distance
from p2pcore.sim.chance import seeded
from p2pcore.sim.links import Quality
from p2pcore.sim.members import BelievedTrust, member
from p2pcore.sim.network import Network
from p2pcore.sim.substrate import SimulatedSubstrate
from p2pcore.sim.virtual_time import run_virtually

_NODES = 40


async def _grown(network: Network, source: random.Random) -> list[SimulatedSubstrate]:
    trust = BelievedTrust()
    there: list[SimulatedSubstrate] = []
    for number in range(_NODES):
        joining = SimulatedSubstrate(network, member(trust, "node", f"node{number}"), trust)
        known = [own for each in there[-1:] if (own := each.own) is not None]
        await joining.join(known)
        there.append(joining)
    for each in there:
        assert await each.lookup(source.randbytes(params.KEY_SIZE), 5)
    await asyncio.sleep(params.WARM_AFTER_LOOKUP / params.SECOND)  # whose table is small asks for news meanwhile
    return there


def test_a_grown_network_knows_what_a_population_is_given() -> None:
    """Nodes that joined one by one and looked something up soon know nearly everybody, as Population assumes."""

    async def main(source: random.Random) -> list[int]:
        there = await _grown(Network(Quality(loss=0.02), 1), source)
        sizes = [each.table_size() for each in there]
        for each in there:
            await each.stop()
        return sizes

    with seeded(1) as source:
        sizes = run_virtually(main(source))
    assert min(sizes) >= params.BUCKET_SIZE
    assert sum(sizes) / _NODES >= 0.85 * (_NODES - 1)


def test_lookups_in_a_grown_network_are_right() -> None:
    """A lookup from anywhere names the closest nodes, the asking one included."""

    async def main(source: random.Random) -> list[bool]:
        there = await _grown(Network(Quality(), 1), source)
        everybody = [own for each in there if (own := each.own) is not None]
        right = []
        for each in there[::6]:
            key = source.randbytes(params.KEY_SIZE)
            expected = sorted(everybody, key=lambda contact: distance(contact.node_id, key))[:5]
            right.append(list(await each.lookup(key, 5)) == expected)
        for each in there:
            await each.stop()
        return right

    with seeded(1) as source:
        assert all(run_virtually(main(source)))
