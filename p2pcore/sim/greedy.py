"""p2pMail's question: does greedy routing get stuck in a local extreme? Hamming distance beside XOR (docs/scale.md).

Greedy: whoever holds the message passes it to that neighbour of his who is closest to the destination, and keeps it
where none is closer than he is himself. There he is a local extreme, unless he is the destination.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass

Metric = Callable[[int, int], int]
Neighbours = Callable[[int], tuple[int, ...]]


def hamming(a: int, b: int) -> int:
    """Return in how many bits two IDs differ."""
    return (a ^ b).bit_count()


def xor(a: int, b: int) -> int:
    """Return Kademlia's distance, in which the first bit that differs outweighs all that follow."""
    return a ^ b


@dataclass(frozen=True, slots=True)
class Route:
    """Where a message ended, after how many hops; `arrived` at its destination, else in a local extreme."""

    arrived: bool
    hops: int


def nearest(ids: list[int], metric: Metric, count: int) -> Neighbours:
    """Return the rule by which a node's neighbours are the `count` closest others; computed once per node."""
    known: dict[int, tuple[int, ...]] = {}

    def neighbours(own: int) -> tuple[int, ...]:
        if own not in known:
            closest = heapq.nsmallest(count + 1, ids, key=lambda other: metric(other, own))
            known[own] = tuple(other for other in closest if other != own)[:count]
        return known[own]

    return neighbours


def route(start: int, destination: int, neighbours: Neighbours, metric: Metric) -> Route:
    """Send a message from `start` to the node with the ID `destination`."""
    at, hops = start, 0
    while at != destination:
        best = min(neighbours(at), key=lambda other: metric(other, destination))
        if metric(best, destination) >= metric(at, destination):
            return Route(arrived=False, hops=hops)
        at, hops = best, hops + 1
    return Route(arrived=True, hops=hops)


def asked_until_found(start: int, destination: int, neighbours: Neighbours, metric: Metric, most: int) -> int:
    """Return how many nodes are asked until one names `destination`, the closest heard of first; at most `most`.

    This is greedy routing that may turn back: it leaves every local extreme, at a price.
    """
    heard = {start}
    queue = [(metric(start, destination), start)]
    asked = 0
    while queue and asked < most:
        _, at = heapq.heappop(queue)
        asked += 1
        for other in neighbours(at):
            if other == destination:
                return asked
            if other not in heard:
                heard.add(other)
                heapq.heappush(queue, (metric(other, destination), other))
    return most


def random_ids(count: int, bits: int, source: random.Random) -> list[int]:
    """Return `count` different IDs of `bits` bits; all that there are, where `count` is 2 to the power of `bits`."""
    if bits <= 20:
        return source.sample(range(1 << bits), count)
    ids: set[int] = set()
    while len(ids) < count:
        ids.add(source.getrandbits(bits))
    return sorted(ids)
