"""Many nodes as nothing but their IDs, in order: who is closest, and the routing table that each comes to have."""

import random
from bisect import bisect_left
from collections import OrderedDict

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.table import Table

ID_BITS = 8 * params.KEY_SIZE
PORT = 4_000
_LEVEL = 5  # prefix bits between the samples offered to a table; finer than its buckets only where it splits no more
_TABLES = 500  # kept ready; one of 10⁵ nodes takes some 500 kB


class Population:
    """`size` nodes with seeded random IDs, each of which is down with probability `down`.

    A node is named by its place in the order of IDs. Its table is made when it is first asked: every part of the ID
    space is offered to it, a sample of BUCKET_SIZE nodes of each, the dead among them, in random order, and the
    `Table` decides what it keeps. That is the table of a node that has long been there and met whom it could; a network
    grown by joining comes to the same (tests/p2pcore/sim/test_grown.py).
    """

    def __init__(self, size: int, seed: int, down: float = 0.0) -> None:
        source = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable
        self._seed = seed
        self.ids = sorted({source.getrandbits(ID_BITS) for _ in range(size)})
        self.down = {index for index in range(len(self.ids)) if source.random() < down}
        self._places: dict[bytes, int] = {}
        self._tables: OrderedDict[int, Table] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    def contact(self, index: int) -> Contact:
        """Return the node as others know it."""
        octets = self.ids[index].to_bytes(params.KEY_SIZE, "big")
        return Contact(octets, host_of(octets), PORT)

    def index(self, contact: Contact) -> int:
        """Return the place of a contact that `contact` gave."""
        return bisect_left(self.ids, int.from_bytes(contact.node_id, "big"))

    def closest(self, target: int, count: int) -> list[int]:
        """Return the places of the `count` closest nodes that are up, nearest first, as seen from outside."""
        for bits in range(ID_BITS, -1, -1):
            first, last = self._subtree(target, bits)
            up = [index for index in range(first, last) if index not in self.down]
            if len(up) >= count or not bits:
                return sorted(up, key=lambda index: self.ids[index] ^ target)[:count]
        return []

    def table(self, index: int) -> Table:
        """Return the routing table of a node."""
        table = self._tables.get(index)
        if table is None:
            table = self._tables[index] = self._fill(index)
            if len(self._tables) > _TABLES:
                self._tables.popitem(last=False)
        else:
            self._tables.move_to_end(index)
        return table

    def _fill(self, index: int) -> Table:
        own = self.ids[index]
        source = random.Random(self._seed ^ own)  # noqa: S311
        table = Table(own.to_bytes(params.KEY_SIZE, "big"), 0)
        offered: list[int] = []
        for depth in range(0, ID_BITS, _LEVEL):
            first, last = self._subtree(own, depth)
            if last - first <= params.BUCKET_SIZE:
                offered += range(first, last)
                break
            for cell in range(1 << _LEVEL):
                # Beside our own subtree of the next level
                at = own ^ (cell << (ID_BITS - depth - _LEVEL))
                first, last = self._subtree(at, depth + _LEVEL) if cell else (0, 0)
                offered += source.sample(range(first, last), min(last - first, params.BUCKET_SIZE))
        source.shuffle(offered)
        for other in offered:
            table.add(self.contact(other))
        return table

    def _subtree(self, number: int, bits: int) -> tuple[int, int]:
        """Return the places (first, behind the last) of the nodes that share the first `bits` bits with `number`."""
        rest = ID_BITS - bits
        start = number >> rest << rest
        return bisect_left(self.ids, start), bisect_left(self.ids, start + (1 << rest))


def host_of(node_id: bytes) -> str:
    """Return an IPv4 address that depends on the ID alone: neighbours in the ID space are none on the network."""
    return f"{1 + node_id[-4] % 223}.{node_id[-3]}.{node_id[-2]}.{1 + node_id[-1] % 254}"
