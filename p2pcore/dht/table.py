"""Our verified contacts in Kademlia's k-buckets: the adapter to the `kademlia` library, its only user.

Of the library only `Node`, `KBucket` and `RoutingTable` are used, with 256-bit IDs. Its `find_neighbors` returns the
first k met instead of the closest and its `add_contact` starts tasks that nobody owns: both are done here.

At most SUBNET_CONTACTS of a bucket are of one subnet (/24 or /48) as soon as others want the room: a newcomer from
elsewhere then takes the place of one of them. While there is room nobody is turned away, so that a network in one rack,
or on loopback, is whole (docs/decisions/0008).
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from kademlia.node import Node
from kademlia.routing import KBucket, RoutingTable

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.networks import subnet

_SPACE = 2 ** (8 * params.KEY_SIZE)
_SPLIT_DEPTH = 5  # Kademlia, §4.2 (b): buckets away from our own ID split up to this depth


@dataclass(frozen=True, slots=True)
class Addition:
    """What `Table.add` did: `added` a contact, for `displaced`; or, its bucket being full, whose liveness decides."""

    added: bool
    challenged: Contact | None = None
    displaced: Contact | None = None


class Table:
    """The routing table of the node (or client) `own_id`, which is never in it. Times are parameters."""

    def __init__(self, own_id: bytes, now: int, bucket_size: int = params.BUCKET_SIZE) -> None:
        self._table = RoutingTable(None, bucket_size, Node(own_id))
        self._table.buckets = [KBucket(0, _SPACE - 1, bucket_size)]
        self._table.buckets[0].last_updated = now
        self._contacts: dict[bytes, Contact] = {}  # exactly the buckets' nodes, not their replacements
        self._numbers: dict[int, Contact] = {}  # the same by ID as a number
        self._own_id = own_id

    def __len__(self) -> int:
        return len(self._contacts)

    def all(self) -> tuple[Contact, ...]:
        """Return every contact, in no order."""
        return tuple(self._contacts.values())

    def get(self, node_id: bytes) -> Contact | None:
        """Return the contact with this ID."""
        return self._contacts.get(node_id)

    def closest(self, target: bytes, count: int) -> list[Contact]:
        """Return the `count` contacts closest to `target`, nearest first."""
        return list(islice(self.nearest(target), count))

    def nearest(self, target: bytes) -> Iterator[Contact]:
        """Return every contact, nearest to `target` first; to be used up before the table changes."""
        return map(self._numbers.__getitem__, sorted(self._numbers, key=int.from_bytes(target, "big").__xor__))

    def add(self, contact: Contact) -> Addition:
        """Add or move up a contact that has just been verified; a full bucket keeps it as a replacement."""
        if contact.node_id == self._own_id:
            return Addition(added=False)
        node = Node(contact.node_id, contact.host, contact.port)
        known = contact.node_id in self._contacts
        while True:
            index = self._index(node.long_id)
            bucket = self._table.buckets[index]
            _thin_replacements(bucket)
            if bucket.add_node(node):
                self._list(contact)
                return Addition(added=not known)
            # Kademlia, §4.2: split where our own ID lies, and elsewhere to a small depth
            if not bucket.has_in_range(self._table.node) and bucket.depth() % _SPLIT_DEPTH == 0:
                return self._add_to_full(bucket, node, contact)
            self._split(index)

    def remove(self, node_id: bytes) -> Contact | None:
        """Remove a contact; return the replacement that took its place, verified some time ago, if there is one."""
        node = Node(node_id)
        bucket = self._table.buckets[self._index(node.long_id)]
        before = set(bucket.nodes)
        if node_id in bucket.nodes:
            _prefer_other_subnets(bucket, bucket.nodes[node_id])
        bucket.remove_node(node)
        self._unlist(node_id)
        for promoted in set(bucket.nodes) - before:
            contact = _contact(bucket.nodes[promoted])
            self._list(contact)
            return contact
        return None

    def touch(self, target: bytes, now: int) -> None:
        """Note that the bucket of `target` has been looked into at `now` (ms, the caller's monotonic clock)."""
        self._bucket(target).last_updated = now

    def stale(self, before: int) -> list[tuple[int, int]]:
        """Return the ID ranges (first, last) of buckets that nobody has looked into since `before`."""
        return [bucket.range for bucket in self._table.buckets if bucket.last_updated <= before]

    def looked_into(self) -> list[int]:
        """Return when each bucket was last looked into."""
        return [bucket.last_updated for bucket in self._table.buckets]

    def ranges(self) -> list[tuple[int, int]]:
        """Return the ID range (first, last) of every bucket but our own ID's."""
        own = self._table.node
        return [bucket.range for bucket in self._table.buckets if not bucket.has_in_range(own)]

    def _add_to_full(self, bucket: KBucket, node: Node, contact: Contact) -> Addition:
        """Add to a bucket that may not split and keeps `node` as a replacement, if too many are of another subnet."""
        displaced = _displaced(bucket, node)
        if displaced is None:
            return Addition(added=False, challenged=_contact(bucket.head()))
        del bucket.replacement_nodes[node.id], bucket.nodes[displaced.id]
        bucket.add_node(node)
        bucket.add_node(displaced)  # full again: it waits as a replacement
        self._unlist(displaced.id)
        self._list(contact)
        return Addition(added=True, displaced=_contact(displaced))

    def _list(self, contact: Contact) -> None:
        self._contacts[contact.node_id] = contact
        self._numbers[int.from_bytes(contact.node_id, "big")] = contact

    def _unlist(self, node_id: bytes) -> None:
        self._contacts.pop(node_id, None)
        self._numbers.pop(int.from_bytes(node_id, "big"), None)

    def _bucket(self, node_id: bytes) -> KBucket:
        return self._table.buckets[self._index(int.from_bytes(node_id, "big"))]

    def _index(self, number: int) -> int:
        # The library's get_bucket_for misplaces the last ID of a range
        return next(index for index, bucket in enumerate(self._table.buckets) if number <= bucket.range[1])

    def _split(self, index: int) -> None:
        bucket = self._table.buckets[index]
        looked_into = bucket.last_updated
        self._table.split_bucket(index)
        for half in self._table.buckets[index : index + 2]:
            half.last_updated = looked_into
        # Replacements may have found room in a half
        for half in self._table.buckets[index : index + 2]:
            for node_id, node in half.nodes.items():
                if node_id not in self._contacts:
                    self._list(_contact(node))


def _displaced(bucket: KBucket, newcomer: Node) -> Node | None:
    """Return the contact of the subnet with most that `newcomer` may take the place of: the longest unheard of them."""
    counts = Counter(subnet(node.ip) for node in bucket.nodes.values())
    crowded, most = counts.most_common(1)[0]
    if most <= params.SUBNET_CONTACTS or counts[subnet(newcomer.ip)] >= params.SUBNET_CONTACTS:
        return None
    return next(node for node in bucket.nodes.values() if subnet(node.ip) == crowded)


def _thin_replacements(bucket: KBucket) -> None:
    """Make room for one replacement at the cost of the subnet with most, where the library would drop the oldest."""
    if len(bucket.replacement_nodes) < bucket.max_replacement_nodes:
        return
    counts = Counter(subnet(node.ip) for node in bucket.replacement_nodes.values())
    crowded = counts.most_common(1)[0][0]
    del bucket.replacement_nodes[
        next(key for key, node in bucket.replacement_nodes.items() if subnet(node.ip) == crowded)
    ]


def _prefer_other_subnets(bucket: KBucket, leaving: Node) -> None:
    """Have the library promote the newest replacement whose subnet has room; it takes the last."""
    counts = Counter(subnet(node.ip) for node in bucket.nodes.values() if node.id != leaving.id)
    for node_id, node in reversed(bucket.replacement_nodes.items()):
        if counts[subnet(node.ip)] < params.SUBNET_CONTACTS:
            bucket.replacement_nodes.move_to_end(node_id)
            return


def _contact(node: Node) -> Contact:
    return Contact(node.id, node.ip, node.port)
