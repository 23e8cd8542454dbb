"""Probes how often nodes are up (§4), from what the routing table knows anyway, and says which k that calls for.

| for each followed node, once per UPTIME_INTERVAL | it counts as |
|---|---|
| it is in the routing table, which has just been asked for a lookup | up |
| it is not there, and a lookup of its ID returns it | up |
| a lookup of its ID does not return it | down |

The table learns from every datagram, long poll and request of this process, so a small network costs nothing more than
one verification of its table; a large one some lookups, one per node that is down or has lost its place in the table.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from p2pcore import availability, params
from p2pcore.client.tasks import Tasks
from p2pcore.client.uptime import UptimeHistory, load_uptime, save_uptime
from p2pcore.clock import Clock
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Malformed

Choose = Callable[[Sequence[bytes], int], Sequence[bytes]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Estimate:
    """`up` is p and `k` what equation (6) calls for; both None until UPTIME_SAMPLES samples tell something."""

    up: float | None
    k: int | None
    nodes: int
    samples: int


class Availability:
    """Samples which nodes are up; `own_id` is never one of them. `choose` picks so many of several, by default any."""

    def __init__(
        self,
        substrate: Substrate,
        own_id: bytes,
        clock: Clock,
        path: Path,
        *,
        choose: Choose | None = None,
    ) -> None:
        self._substrate = substrate
        self._own_id = own_id
        self._clock = clock
        self._path = path
        self._choose = choose or random.SystemRandom().sample
        self._history = UptimeHistory()
        self._moved = asyncio.Event()
        self._tasks = Tasks()

    async def start(self) -> None:
        """Load what was learnt before and begin to sample. A file that cannot be read is logged and begun anew."""
        try:
            self._history = await asyncio.to_thread(load_uptime, self._path)
        except (OSError, Malformed) as error:
            _log.warning("uptimes not read: %s", error)
        self._substrate.on_change(self._moved.set)
        self._tasks.start(self._run(), "availability")

    async def stop(self) -> None:
        """End the sampling; what was learnt up to the last sample is on disk."""
        await self._tasks.stop()

    def estimate(self) -> Estimate:
        """Return what is known now."""
        up = self._history.estimate()
        k = None
        if up is not None:
            k = availability.copies_needed(up, params.AVAILABILITY_TARGET, params.AVAILABILITY_OPERATIONS)
        return Estimate(up, k, len(self._history.nodes), self._history.telling())

    async def sample(self) -> None:
        """Count the followed nodes that are up, follow more where there is room, and save both."""
        await self._substrate.lookup(self._own_id, 1)  # has a small table verified
        known = {contact.node_id for contact in self._substrate.known()} - {self._own_id}
        up = {node_id for node_id in self._history.nodes if node_id in known or await self._found(node_id)}
        now = self._clock()
        self._history.count(up, now)
        others = sorted(known - set(self._history.nodes))
        self._history.follow(self._choose(others, min(len(others), self._history.room())), now)
        try:
            await asyncio.to_thread(save_uptime, self._path, self._history)
        except OSError as error:
            _log.warning("uptimes not saved: %s", error)  # the next sample saves them

    async def _found(self, node_id: bytes) -> bool:
        return any(contact.node_id == node_id for contact in await self._substrate.lookup(node_id, params.ALPHA))

    async def _run(self) -> None:
        pause = max(params.UPTIME_FIRST, self._history.due(self._clock()))
        while True:
            await asyncio.sleep(pause / params.SECOND)
            self._moved.clear()
            await self.sample()
            pause = params.UPTIME_INTERVAL
            if not self._history.nodes:  # nobody to follow until somebody is met
                await self._moved.wait()
                pause = params.UPTIME_FIRST
