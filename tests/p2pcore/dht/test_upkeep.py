"""What a node sends without being asked for anything: enough to keep its table right, and little."""

import asyncio
from pathlib import Path

from p2pcore import params
from p2pcore.dht.datagrams import read_datagram
from p2pcore.records import FindNode
from p2pcore.sim.virtual_time import run_virtually
from tests.p2pcore.dht.support import Swarm, now, object_key
from tests.support.fake_network import FakeNetwork


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
