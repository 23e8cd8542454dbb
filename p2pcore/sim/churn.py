"""Nodes that come and go: sessions from a trace's figures, and the bound "at most k − w down at once" where it is set.

The bound is per key: of the k nodes of the network closest to it, up or down, at most k − w are away. A node is away
while it is down, and as a newcomer among the k closest until it has been up for `settling`: it cannot have a copy
before somebody has repaired. Whoever would break the bound stays until he would not.
"""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from typing import Any

from p2pcore import params
from p2pcore.dht.contact import Contact, distance
from p2pcore.sim.node import SimulatedNode
from p2pcore.sim.sessions import Sessions

_PATIENCE = 60.0  # seconds after which somebody who had to stay tries to leave again


@dataclass(slots=True)
class _Watched:
    """One key: since when (ms) each of its k closest nodes has been up and among them."""

    key: bytes
    since: dict[Contact, int] = field(default_factory=dict)


class Bound:
    """Says who may leave. `settling` in ms."""

    def __init__(self, k: int, w: int, settling: int) -> None:
        self._k = k
        self._most = k - w
        self._settling = settling
        self._watched: dict[bytes, _Watched] = {}

    def watch(self, keys: Iterable[bytes], nodes: Iterable[SimulatedNode]) -> None:
        """Hold the bound for `keys` as well; whoever is up now among their closest has a copy."""
        listed = list(nodes)
        for key in keys:
            watched = self._watched[key] = _Watched(key)
            watched.since = {node.contact: -self._settling for node in self._closest(key, listed) if node.up}

    def unwatch(self, key: bytes) -> None:
        """Let go of a key."""
        self._watched.pop(key, None)

    def changed(self, nodes: Iterable[SimulatedNode], now: int) -> None:
        """Take note that somebody came, went, or was replaced at `now` (ms)."""
        listed = list(nodes)
        for watched in self._watched.values():
            closest = [node for node in self._closest(watched.key, listed) if node.up]
            watched.since = {node.contact: watched.since.get(node.contact, now) for node in closest}

    def may_leave(self, leaving: SimulatedNode, nodes: Iterable[SimulatedNode], now: int) -> bool:
        """Return whether at most k − w are away from every key when `leaving` has gone."""
        listed = list(nodes)
        return all(self._holds_without(leaving, watched, listed, now) for watched in self._watched.values())

    def _holds_without(self, leaving: SimulatedNode, watched: _Watched, nodes: list[SimulatedNode], now: int) -> bool:
        closest = self._closest(watched.key, nodes)
        if leaving not in closest:
            return True
        since = watched.since
        there = [each for each in closest if each is not leaving and each.contact in since]
        settled = [each for each in there if now - since[each.contact] >= self._settling]
        return self._k - len(settled) <= self._most

    def _closest(self, key: bytes, nodes: list[SimulatedNode]) -> list[SimulatedNode]:
        return sorted(nodes, key=lambda node: distance(node.contact.node_id, key))[: self._k]


@dataclass(slots=True)
class Comings:
    """What has happened."""

    departures: int = 0
    returns: int = 0
    replaced: int = 0
    postponed: int = 0  # departures that had to wait for the bound


class Churn:
    """Lets `nodes` come and go until `stop`. `replacement` makes a node that has never been there."""

    def __init__(
        self,
        nodes: list[SimulatedNode],
        replacement: Callable[[], SimulatedNode],
        sessions: Sessions,
        bound: Bound | None,
        source: random.Random,
    ) -> None:
        self.nodes = nodes
        self.comings = Comings()
        self._replacement = replacement
        self._sessions = sessions
        self._bound = bound
        self._source = source
        self._tasks: set[asyncio.Task[None]] = set()
        self.asleep: set[SimulatedNode] = set()

    def start(self) -> None:
        """Begin: everybody now there has a last day drawn, so that 1 / turnover days later each has been replaced."""
        for node in self.nodes:
            self._own(self._live(node, self._source.uniform(0, params.DAY / self._sessions.turnover)))

    async def stop(self) -> None:
        """Have nobody come or go any more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def up(self) -> list[SimulatedNode]:
        """Return the nodes that are up."""
        return [node for node in self.nodes if node.up]

    async def sleep(self, node: SimulatedNode) -> bool:
        """Put a node to sleep until `wake`, if the bound allows; return whether it did."""
        if not node.up or not self._may_leave(node):
            return False
        self.asleep.add(node)
        await node.crash()
        self._changed()
        return True

    async def wake(self, node: SimulatedNode) -> None:
        """Start a sleeper again."""
        await self._start(node)
        self.asleep.discard(node)

    async def _live(self, node: SimulatedNode, last: float) -> None:
        begun = self._now()
        while True:
            await asyncio.sleep(self._sessions.up(self._source) / params.SECOND)
            await self._until_allowed(node)
            if self._now() - begun >= last:
                break
            await node.crash()
            self.comings.departures += 1
            self._changed()
            await asyncio.sleep(self._sessions.down(self._source) / params.SECOND)
            await self._start(node)
            self.comings.returns += 1
        successor = self._replacement()
        self.nodes[self.nodes.index(node)] = successor
        await node.crash()
        self.comings.replaced += 1
        await self._start(successor)
        self._own(self._live(successor, self._source.expovariate(self._sessions.turnover / params.DAY)))

    async def _until_allowed(self, node: SimulatedNode) -> None:
        waited = False
        while node in self.asleep or not self._may_leave(node):
            waited = True
            await asyncio.sleep(_PATIENCE)
        self.comings.postponed += waited

    async def _start(self, node: SimulatedNode) -> None:
        others = [other.contact for other in self.up()]
        await node.start(self._source.sample(others, min(3, len(others))))
        self._changed()

    def _may_leave(self, node: SimulatedNode) -> bool:
        return self._bound is None or self._bound.may_leave(node, self.nodes, self._now())

    def _changed(self) -> None:
        if self._bound is not None:
            self._bound.changed(self.nodes, self._now())

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="churn")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now(self) -> int:
        return int(asyncio.get_running_loop().time() * params.SECOND)
