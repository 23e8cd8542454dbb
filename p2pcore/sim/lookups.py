"""Lookups among 10³ to 10⁶ nodes: the real `Lookup`, `Table` and `Liveness`, requests handed over as objects."""

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.liveness import Liveness
from p2pcore.dht.lookup import Lookup
from p2pcore.sim.links import Links, Quality
from p2pcore.sim.population import ID_BITS, Population


@dataclass(frozen=True, slots=True)
class Outcome:
    """One lookup. `hops`: how many contacts it took from the own table to the closest node, that node included;
    `requests`: all that were sent, each answered by one message; `time` in ms; `recall`: share of the true k closest
    live nodes among those found; `table`: the asking node's contacts.
    """

    hops: int
    requests: int
    time: float
    recall: float
    table: int


class LookupWorld:
    """Carries out lookups one after the other on the running virtual loop."""

    def __init__(self, population: Population, quality: Quality, seed: int) -> None:
        self._population = population
        self._links = Links(quality, seed)
        self._random = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable

    async def lookups(self, keys: int, origins: int, k: int) -> list[Outcome]:
        """Look up random keys, each from several random nodes that are up: the same ones for every `k`."""
        up = [index for index in range(len(self._population)) if index not in self._population.down]
        pairs: list[tuple[int, int]] = []
        for _ in range(keys):
            key = self._random.getrandbits(ID_BITS)
            pairs += ((origin, key) for origin in self._random.sample(up, origins))
        return [await self.lookup(origin, key, k) for origin, key in pairs]

    async def lookup(self, origin: int, target: int, k: int) -> Outcome:
        """Look up the `k` nodes closest to `target` from the node at place `origin`."""
        key = target.to_bytes(params.KEY_SIZE, "big")
        seeds = self._population.table(origin).all()
        asking = _Asking(self._population, self._links, origin, seeds)
        lookup = Lookup(key, k, seeds, asking.ask, self._population.contact(origin).node_id)
        begun = asyncio.get_running_loop().time()
        with suppress(TimeoutError):  # as KademliaSubstrate: what has answered by then counts
            async with asyncio.timeout(params.LOOKUP_DEADLINE / params.SECOND):
                await lookup.run()
        found = lookup.closest(k)
        # The asking node is among the closest now and then, and is never asked
        true = [index for index in self._population.closest(target, k + 1) if index != origin][:k]
        expected = {self._population.contact(index) for index in true}
        return Outcome(
            hops=asking.hops(found[0]) if found else 0,
            requests=lookup.asked,
            time=(asyncio.get_running_loop().time() - begun) * params.SECOND,
            recall=len(expected.intersection(found)) / len(expected),
            table=len(seeds),
        )


class _Asking:
    """The asking node's side: timeouts as its Liveness has them, and how far away each contact was heard of."""

    def __init__(self, population: Population, links: Links, origin: int, seeds: Iterable[Contact]) -> None:
        self._population = population
        self._links = links
        self._own = population.contact(origin)
        self._liveness = Liveness()
        self._heard_at = dict.fromkeys(seeds, 0)

    def hops(self, contact: Contact) -> int:
        """Return 1 for a contact of the own table, 2 for one that such a contact named first, and so on."""
        return self._heard_at[contact] + 1

    async def ask(self, contact: Contact, target: bytes) -> list[Contact]:
        """Return what `contact` answers to a FindNode. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        sent = int(loop.time() * params.SECOND)
        timeout = self._liveness.timeout(contact) / params.SECOND
        there_and_back = self._links.delay() + self._links.delay()
        place = self._population.index(contact)
        lost = self._links.lose() or self._links.lose() or there_and_back > timeout
        if place in self._population.down or lost:
            await asyncio.sleep(timeout)
            self._liveness.missed(contact, sent, int(loop.time() * params.SECOND))
            raise TimeoutError
        await asyncio.sleep(there_and_back)
        self._liveness.answered(contact, sent, int(loop.time() * params.SECOND))
        closest = self._population.table(place).closest(target, params.BUCKET_SIZE + 1)
        named = [other for other in closest if other != self._own][: params.BUCKET_SIZE]
        for other in named:
            self._heard_at.setdefault(other, self.hops(contact))
        return named
