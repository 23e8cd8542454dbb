"""The closest nodes of many keys by few lookups: a node's keys lie close together, and so do those who hold them too.

A lookup that asks for more nodes than are wanted finds every node up to the distance of the last one found. So the
largest subtree around its key that lies within this distance is known whole. Every key in that subtree has its closest
nodes there (whatever is outside is farther, by the XOR metric), as long as it has as many as are wanted. In a network
of fewer nodes than are asked for, one lookup finds all of them. A node that a lookup missed, as may happen while many
are down, is missed for all these keys, until the next round.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

from p2pcore import params
from p2pcore.client.placement import widened
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.substrate import Substrate

_LOOKUPS: Final = 8  # at a time


class Neighbourhoods:
    """What one round over many keys has learnt; the next round begins anew, for nodes come and go."""

    def __init__(self, substrate: Substrate) -> None:
        self.lookups = 0  # so far
        self._substrate = substrate
        self._known: dict[tuple[int, int], tuple[Contact, ...]] = {}  # by a subtree's height and prefix
        self._heights: set[int] = set()
        self._everybody: tuple[Contact, ...] = ()  # where all nodes are found by one lookup

    async def closest(self, keys: Collection[bytes], k: int) -> dict[bytes, tuple[Contact, ...]]:
        """Return for each of `keys` what a lookup of its `k` closest nodes would."""
        found: dict[bytes, tuple[Contact, ...]] = {}
        at_once = 1  # the first lookup shows whether the others are needed
        left = sorted(set(keys))
        while left:
            for key in left:
                nodes = self._nodes_around(key, k)
                if nodes:
                    found[key] = _nearest(nodes, key, k)
            left = [key for key in left if key not in found]
            step = -(-len(left) // at_once) or 1
            asked = left[step // 2 :: step]
            found.update(zip(asked, await asyncio.gather(*(self._look_up(key, k) for key in asked)), strict=True))
            left = [key for key in left if key not in found]
            at_once = _LOOKUPS
        return found

    def _nodes_around(self, key: bytes, k: int) -> tuple[Contact, ...]:
        """Return all nodes of a subtree around `key` that has at least `k`; none where no such subtree is known."""
        if self._everybody:
            return self._everybody
        number = int.from_bytes(key, "big")
        subtrees = (self._known.get((height, number >> height), ()) for height in self._heights)
        return next((nodes for nodes in subtrees if len(nodes) >= k), ())

    async def _look_up(self, key: bytes, k: int) -> tuple[Contact, ...]:
        """Return the `k` closest to `key`, and note the subtree that is known with them."""
        self.lookups += 1
        count = max(params.BUCKET_SIZE, widened(k))
        contacts = await self._substrate.lookup(key, count)
        if len(self._substrate.known()) < count:
            self._everybody = contacts
        elif contacts:
            farthest = max(distance(contact.node_id, key) for contact in contacts)
            height = (farthest + 1).bit_length() - 1  # all that differs from `key` in these last bits only is known
            within = tuple(contact for contact in contacts if distance(contact.node_id, key) < 1 << height)
            self._known[height, int.from_bytes(key, "big") >> height] = within
            self._heights.add(height)
        return contacts[:k]


def _nearest(nodes: Sequence[Contact], key: bytes, k: int) -> tuple[Contact, ...]:
    return tuple(sorted(nodes, key=lambda contact: distance(contact.node_id, key))[:k])
