"""A node as others know it, and Kademlia's metric."""

import msgspec

from p2pcore.endpoint import Endpoint


class Contact(msgspec.Struct, frozen=True, cache_hash=True):
    """`node_id` is SHA-256 of the node's public key; `port` serves UDP (DHT) and TCP (primitives).

    A Struct and no dataclass because one lookup looks contacts up by hash some 2,000 times.
    """

    node_id: bytes
    host: str
    port: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.host, self.port)


def distance(a: bytes, b: bytes) -> int:
    """Return the XOR distance of two keys or node IDs."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
