"""What repair does before the hour is over, on virtual time: the interval is a day here."""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import apsw

from p2pcore import params
from p2pcore.node.repair import STORED
from p2pcore.records import Append, Replication, Store, identity
from p2pcore.sim.chance import seeded
from p2pcore.sim.clients import Mail, SimulatedClient
from p2pcore.sim.links import Quality
from p2pcore.sim.members import BelievedTrust, member
from p2pcore.sim.network import Network
from p2pcore.sim.node import SimulatedNode
from p2pcore.sim.storage import MemoryStorage
from p2pcore.sim.virtual_time import run_virtually, virtual_clock

_HISTORY = (Replication(since=0, k=3, w=2),)


class _Three:
    """Three nodes that know each other, and a gateway."""

    def __init__(self) -> None:
        self.network = Network(Quality(), 1)
        self.trust = BelievedTrust()
        self.nodes = [self._node(number) for number in range(3)]
        self.gateway = SimulatedClient(self.network, member(self.trust, "gateway", "mx"), self.trust, _HISTORY)
        self.user = member(self.trust, "user", "alice")

    def _node(self, number: int) -> SimulatedNode:
        own = member(self.trust, "node", f"node{number}")
        return SimulatedNode(
            self.network, own, self.trust, lambda: _HISTORY, interval=params.DAY, settling=5 * params.SECOND
        )

    async def grow(self) -> None:
        """Start everybody, and let the changes of contacts settle."""
        for node in self.nodes:
            await node.start([self.nodes[0].contact])
        await self.gateway.substrate.join([self.nodes[0].contact])
        await asyncio.sleep(600)

    async def write(self, mail: Mail, nodes: list[SimulatedNode]) -> None:
        """Write a mail to these nodes, as a sender does."""
        for node in nodes:
            peers = self.gateway._peers
            await peers.call(node.contact, [Store(mail.body, mail.octets), Append(mail.entry)])

    async def end(self) -> None:
        for node in self.nodes:
            await node.crash()
        await self.gateway.stop()


def _holds(node: SimulatedNode, mail: Mail) -> int:
    """Return how many of a mail's body and entry a node holds."""
    named = (identity(mail.object), identity(mail.entry.statement))

    def count(db: apsw.Connection) -> int:
        held = "SELECT identity FROM objects WHERE held > 0 UNION ALL SELECT identity FROM entries"
        return sum(bytes(one) in named for (one,) in db.execute(held))

    return node.storage.read_now(count)


def _in_virtual_time(scene: Coroutine[Any, Any, None]) -> None:
    run_virtually(scene)


def test_a_copy_that_its_sender_did_not_write_is_there_within_minutes() -> None:
    """A sender that died at the quorum leaves w copies: the holders write the others, not at the hour but now."""

    async def scene() -> None:
        three = _Three()
        await three.grow()
        mail = three.gateway._draft(three.user, random.Random(1))
        await three.write(mail, three.nodes[:2])
        await asyncio.sleep(STORED / params.SECOND / 2)
        assert _holds(three.nodes[2], mail) == 0, "its sender may still be writing"
        await asyncio.sleep(STORED / params.SECOND)
        assert [_holds(node, mail) for node in three.nodes] == [2, 2, 2]
        await three.end()

    with seeded(1):
        _in_virtual_time(scene())


def test_what_was_compared_once_is_not_compared_again() -> None:
    """What is stored costs one comparison, not one a minute."""

    async def scene() -> None:
        three = _Three()
        await three.grow()
        source = random.Random(2)
        first, second = (three.gateway._draft(three.user, source) for _ in range(2))
        await three.write(first, three.nodes)
        await asyncio.sleep(600)
        rounds = three.nodes[0].done.rounds
        before = three.network.traffic["repair"].messages
        await asyncio.sleep(6 * 3_600)
        assert three.network.traffic["repair"].messages == before
        await three.write(second, three.nodes)
        await asyncio.sleep(600)
        assert three.nodes[0].done.rounds == rounds + 1
        assert three.nodes[0].done.passed_on == 0
        await three.end()

    with seeded(2):
        _in_virtual_time(scene())


def test_a_node_that_lost_its_disk_has_all_again_before_anybody_missed_it() -> None:
    """Nobody's contacts change when a node is back at once; it says that it was started, and they compare."""

    async def scene() -> None:
        three = _Three()
        await three.grow()
        mail = three.gateway._draft(three.user, random.Random(3))
        await three.write(mail, three.nodes)
        await asyncio.sleep(600)
        victim = three.nodes[1]
        await victim.crash()
        victim.storage = MemoryStorage(virtual_clock)
        victim.storage.open()
        await victim.start([])
        await asyncio.sleep(30)
        assert _holds(victim, mail) == 2
        await three.end()

    with seeded(3):
        _in_virtual_time(scene())
