"""Garbage collection (§2.3): when room is short, what this node need not hold goes, least recently used first.

An item goes only where this node is not among the k closest to its key, k being the largest there has been, and w of
those that are say that they hold it. What has expired goes before anything else. It begins when the quota is nearly
reached, and when a store is refused for want of room, which then is tried again; it ends when enough room is made or
everything has been looked at. A run that removes little is not repeated at once: lookups are not free.

    killed while      after the restart
    asking others     nothing has changed
    removing          rows are there or not; a file that no row names is removed (bodies.py)
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

import apsw

from p2pcore import params
from p2pcore.client import placement
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, Unreachable
from p2pcore.node import certificates, expiry, inboxes, objects
from p2pcore.node.collectable import Collectable
from p2pcore.node.service import CROWDED, Service, no_room
from p2pcore.node.storage import Transaction
from p2pcore.records import Offer, OfferReply, Replication, decode

Kind = Literal["object", "entry"]

INTERVAL: Final = params.HOUR
_END: Final = 0.8  # of the quota: collection ends; it begins at CROWDED
_PAUSE: Final = params.MINUTE  # after a run that freed less than was wanted
_PORTION: Final = 200  # items looked at together
_PORTIONS: Final = 50  # of one kind in one run; the next goes on from there
_BEFORE_ALL: Final = (-1, 0)  # a place
_LOOKUPS: Final = 8  # at a time
_PATIENCE: Final = 4.0  # seconds that a request waits for room, well within REQUEST_TIMEOUT

_log = logging.getLogger(__name__)


class Collector:
    """Owned by a node; `run` is its task. `collected` counts items since the start."""

    def __init__(
        self,
        service: Service,
        substrate: Substrate,
        peers: PeerClient,
        replication: Callable[[], tuple[Replication, ...]],
        node_id: bytes,
    ) -> None:
        self._service = service
        self._substrate = substrate
        self._peers = peers
        self._replication = replication
        self._node_id = node_id
        self._quota = service.settings.quota
        self._places: dict[Kind, tuple[int, int]] = {}  # where a run ended that had not seen everything
        self._running: asyncio.Task[int] | None = None
        self._goal = 0  # octets that may be held when the run ends: the least that anybody who waits for it wants
        self._not_before = 0
        self.collected = 0
        service.make_room = self.make_room

    async def run(self) -> None:
        """Collect whenever the quota is nearly reached, and look at the interval in any case."""
        while True:
            self._service.crowded.clear()
            if self._service.storage.octets > self._quota * CROWDED:
                await self.make_room(0)
            try:
                async with asyncio.timeout(INTERVAL / params.SECOND):
                    await self._service.crowded.wait()
            except TimeoutError:
                continue

    async def stop(self) -> None:
        """End what is under way, and begin nothing any more."""
        self._service.make_room = no_room
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    async def make_room(self, octets: int) -> bool:
        """Make room for `octets` more if that can be done soon; return whether anything went.

        Requests that wait at the same time share one run. It goes on where they stop waiting.
        """
        held = self._service.storage.octets
        goal = min(int(self._quota * _END), self._quota - octets, held - octets)
        if self._running is not None:
            self._goal = min(self._goal, goal)
        elif self._service.clock() < self._not_before:
            return False
        else:
            self._goal = goal
            self._running = asyncio.get_running_loop().create_task(self._collect(), name="node-collection")
            self._running.add_done_callback(self._ended)
        done, _ = await asyncio.wait([self._running], timeout=_PATIENCE)
        return any(not task.cancelled() and task.exception() is None and task.result() > 0 for task in done)

    def _ended(self, task: asyncio.Task[int]) -> None:
        self._running = None
        if not task.cancelled() and (error := task.exception()) is not None:
            self._not_before = self._service.clock() + _PAUSE
            _log.error("garbage collection was cut short", exc_info=error)

    async def _collect(self) -> int:
        """Remove what has expired, then what may go, until the goal is reached; return how many items went."""
        storage = self._service.storage
        before = storage.octets
        gone = await expiry.sweep(self._service)
        await self._service.uses.write_down()
        history = self._replication()
        if history:
            k = max(replication.k for replication in history)
            w = placement.current(history, self._service.clock()).w
            kinds: tuple[Kind, ...] = ("object", "entry")
            for kind in kinds:
                collected = await self._walk(kind, k, w)
                self.collected += collected
                gone += collected
        if storage.octets > self._goal:
            self._not_before = self._service.clock() + _PAUSE
        if gone:
            await storage.write(certificates.drop_unused)
            _log.info("collection made room of %d octets, %d items went", before - storage.octets, gone)
        return gone

    async def _walk(self, kind: Kind, k: int, w: int) -> int:
        """Go through items of one kind until the goal is reached; return how many went."""
        gone = 0
        after = self._places.pop(kind, _BEFORE_ALL)
        for _ in range(_PORTIONS):
            if self._service.storage.octets <= self._goal:
                return gone
            items = await self._least_used(kind, after)
            if not items:
                return gone
            after = items[-1].place
            gone += await self._remove(kind, await self._needless(kind, items, k, w))
        self._places[kind] = after
        return gone

    async def _least_used(self, kind: Kind, after: tuple[int, int]) -> list[Collectable]:
        now = self._service.clock()

        def read(db: apsw.Connection) -> list[Collectable]:
            order = objects.least_used if kind == "object" else inboxes.oldest
            return order(db, now, after, _PORTION)

        return await self._service.storage.read(read)

    async def _needless(self, kind: Kind, items: Sequence[Collectable], k: int, w: int) -> list[Collectable]:
        """Return those of `items` that w of the k closest nodes hold, of which this node is none."""
        items = [item for item in items if self._seems_far(item.key, k)]
        found = await self._lookup({item.key for item in items}, k)
        asked: dict[Contact, list[Collectable]] = {}
        for item in items:
            closest = found[item.key]
            # Fewer than k: the network is smaller than k, or cut off from us; then this node is one of the closest
            if len(closest) == k and all(contact.node_id != self._node_id for contact in closest):
                for contact in closest:
                    asked.setdefault(contact, []).append(item)
        confirmed: Counter[bytes] = Counter()
        for held in await asyncio.gather(*(self._held_by(contact, kind, those) for contact, those in asked.items())):
            confirmed.update(held)
        return [item for item in items if confirmed[item.identity] >= w]

    def _seems_far(self, key: bytes, k: int) -> bool:
        """Return whether k known contacts are closer to `key`, so that a lookup is worth its datagrams."""
        own = distance(self._node_id, key)
        return sum(distance(contact.node_id, key) < own for contact in self._substrate.known()) >= k

    async def _lookup(self, keys: set[bytes], k: int) -> dict[bytes, tuple[Contact, ...]]:
        slots = asyncio.Semaphore(_LOOKUPS)

        async def closest(key: bytes) -> tuple[Contact, ...]:
            async with slots:
                return await self._substrate.lookup(key, k)

        listed = list(keys)
        return dict(zip(listed, await asyncio.gather(*map(closest, listed)), strict=True))

    async def _held_by(self, contact: Contact, kind: Kind, items: Sequence[Collectable]) -> list[bytes]:
        """Return the identities of those that `contact` says it holds: of none where it does not answer sensibly."""
        try:
            [result] = await self._peers.call(contact, [Offer(kind, tuple(item.identity for item in items))])
            reply = decode(OfferReply, value_of(result))
        except Failure as failure:
            self._substrate.report(contact, alive=not isinstance(failure, Unreachable))
            _log.info("%s does not say what it holds: %s", contact.endpoint, failure)
            return []
        lacking = {*reply.missing, *reply.settled}
        return [item.identity for place, item in enumerate(items) if place not in lacking]

    async def _remove(self, kind: Kind, items: Sequence[Collectable]) -> int:
        """Remove of these, in order, what it takes to reach the goal; return how many went."""
        identities = []
        held = self._service.storage.octets
        for item in items:
            if held > self._goal:
                identities.append(item.identity)
                held -= item.octets

        def work(transaction: Transaction) -> tuple[int, tuple[str, ...]]:
            if kind == "object":
                return objects.collect(transaction, identities)
            return inboxes.collect(transaction, identities), ()

        if not identities:
            return 0
        gone, files = await self._service.storage.write(work)
        await self._service.bodies.remove(files)
        return gone
