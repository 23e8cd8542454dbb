"""Our verified contacts in Kademlia's k-buckets: the adapter to the `kademlia` library, its only user.

Of the library only `Node`, `KBucket` and `RoutingTable` are used, with 256-bit IDs. Its `find_neighbors` returns the
first k met instead of the closest and its `add_contact` starts tasks that nobody owns: both are done here.
"""

from dataclasses import dataclass

from kademlia.node import Node
from kademlia.routing import KBucket, RoutingTable

from p2pcore import params
from p2pcore.dht.contact import Contact, distance

_SPACE = 2 ** (8 * params.KEY_SIZE)
_SPLIT_DEPTH = 5  # Kademlia, §4.2 (b): buckets away from our own ID split up to this depth


@dataclass(frozen=True, slots=True)
class Addition:
    """What `Table.add` did: `added` a new contact; or, its bucket being full, whose liveness decides."""

    added: bool
    challenged: Contact | None = None


class Table:
    """The routing table of the node (or client) `own_id`, which is never in it. Times are parameters."""

    def __init__(self, own_id: bytes, now: int, bucket_size: int = params.BUCKET_SIZE) -> None:
        self._table = RoutingTable(None, bucket_size, Node(own_id))
        self._table.buckets = [KBucket(0, _SPACE - 1, bucket_size)]
        self._table.buckets[0].last_updated = now
        self._contacts: dict[bytes, Contact] = {}  # exactly the buckets' nodes, not their replacements
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
        return sorted(self._contacts.values(), key=lambda contact: distance(contact.node_id, target))[:count]

    def add(self, contact: Contact) -> Addition:
        """Add or move up a contact that has just been verified; a full bucket keeps it as a replacement."""
        if contact.node_id == self._own_id:
            return Addition(added=False)
        node = Node(contact.node_id, contact.host, contact.port)
        known = contact.node_id in self._contacts
        while True:
            index = self._index(node.long_id)
            bucket = self._table.buckets[index]
            if bucket.add_node(node):
                self._contacts[contact.node_id] = contact
                return Addition(added=not known)
            # Kademlia, §4.2: split where our own ID lies, and elsewhere to a small depth
            if not bucket.has_in_range(self._table.node) and bucket.depth() % _SPLIT_DEPTH == 0:
                return Addition(added=False, challenged=_contact(bucket.head()))
            self._split(index)

    def remove(self, node_id: bytes) -> Contact | None:
        """Remove a contact; return the replacement that took its place, verified some time ago, if there is one."""
        node = Node(node_id)
        bucket = self._table.buckets[self._index(node.long_id)]
        before = set(bucket.nodes)
        bucket.remove_node(node)
        self._contacts.pop(node_id, None)
        for promoted in set(bucket.nodes) - before:
            contact = _contact(bucket.nodes[promoted])
            self._contacts[contact.node_id] = contact
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
                self._contacts.setdefault(node_id, _contact(node))


def _contact(node: Node) -> Contact:
    return Contact(node.id, node.ip, node.port)
