"""The virtual network: who is up, what travels and what it costs. Messages are handed over as objects, once encoded."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.endpoint import Endpoint
from p2pcore.node.service import Service
from p2pcore.sim.links import Links, Quality

if TYPE_CHECKING:
    from p2pcore.sim.protocol import ObjectProtocol


@dataclass(slots=True)
class Traffic:
    """What was sent for one purpose: messages and their octets, also those that were lost."""

    messages: int = 0
    octets: int = 0


@dataclass(frozen=True, slots=True)
class Host:
    """A node that answers the primitives, for as long as it is up."""

    certificate: Certificate
    service: Service


class Network:
    """Hands messages over after a delay, or not. `traffic` is by purpose; `trace` depends on every event so far."""

    def __init__(self, quality: Quality, seed: int) -> None:
        self.links = Links(quality, seed)
        self.traffic: defaultdict[str, Traffic] = defaultdict(Traffic)
        self.protocols: dict[Endpoint, ObjectProtocol] = {}
        self.hosts: dict[Contact, Host] = {}
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def trace(self) -> str:
        """A digest of everything sent until now, with its time: equal in two runs that were the same."""
        return self._trace.hexdigest()

    def count(self, purpose: str, octets: int) -> None:
        """Note a message of `octets` octets, headers and signatures included."""
        traffic = self.traffic[purpose]
        traffic.messages += 1
        traffic.octets += octets
        self._trace.update(f"{asyncio.get_running_loop().time():.6f} {purpose} {octets}\n".encode())

    def datagram(self, octets: int, deliver: Callable[[], None]) -> None:
        """Send a datagram: `deliver` is called when it arrives, if it does."""
        self.count("lookup", octets)
        if not self.links.lose():
            asyncio.get_running_loop().call_later(self.links.delay(), deliver)
