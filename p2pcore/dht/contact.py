"""A node as others know it, and Kademlia's metric."""

from dataclasses import dataclass

from p2pcore.endpoint import Endpoint


@dataclass(frozen=True, slots=True)
class Contact:
    """`node_id` is SHA-256 of the node's public key; `port` serves UDP (DHT) and TCP (primitives)."""

    node_id: bytes
    host: str
    port: int

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint(self.host, self.port)


def distance(a: bytes, b: bytes) -> int:
    """Return the XOR distance of two keys or node IDs."""
    return int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
