"""An internet of datagrams in memory: any number of hosts in one process, with seeded latency, loss and dead hosts."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from p2pcore.dht.hosts import OpenTransport
from p2pcore.endpoint import Endpoint


@dataclass(frozen=True)
class Sent:
    """One datagram as it was sent; `time` is in seconds of the event loop."""

    time: float
    source: Endpoint
    destination: Endpoint
    octets: bytes


class FakeTransport(asyncio.DatagramTransport):
    """One socket of the fake network."""

    def __init__(self, network: "FakeNetwork", endpoint: Endpoint, protocol: asyncio.DatagramProtocol) -> None:
        super().__init__({"sockname": (endpoint.host, endpoint.port)})
        self.endpoint = endpoint
        self.protocol = protocol
        self._network = network

    def sendto(self, data: Any, addr: Any = None) -> None:
        self._network.send(self.endpoint, Endpoint(addr[0], addr[1]), bytes(data))

    def close(self) -> None:
        self._network.close(self.endpoint)

    def is_closing(self) -> bool:
        return not self._network.is_open(self.endpoint)


class FakeNetwork:
    """Datagrams take `latency` (shortest, longest, in ms) and are lost with probability `loss`.

    Dead hosts neither send nor receive. `sent` records every datagram, also those that do not arrive.
    """

    def __init__(self, seed: int, latency: tuple[int, int] = (5, 40), loss: float = 0.0) -> None:
        self._random = random.Random(seed)
        self._latency = latency
        self._transports: dict[Endpoint, FakeTransport] = {}
        self._next_port = 50_000
        self.loss = loss
        self.dead: set[str] = set()
        self.sent: list[Sent] = []

    def opener(self, host: str) -> OpenTransport:
        """Return what opens a socket on `host`."""

        async def open_transport(
            make: Callable[[], asyncio.DatagramProtocol], listen: Endpoint | None
        ) -> asyncio.DatagramTransport:
            port = listen.port if listen is not None else 0
            if port == 0:
                port = self._next_port
                self._next_port += 1
            endpoint = Endpoint(host, port)
            if endpoint in self._transports:
                raise OSError(f"{endpoint} is in use")
            transport = FakeTransport(self, endpoint, make())
            self._transports[endpoint] = transport
            transport.protocol.connection_made(transport)
            return transport

        return open_transport

    def is_open(self, endpoint: Endpoint) -> bool:
        return endpoint in self._transports

    def close(self, endpoint: Endpoint) -> None:
        self._transports.pop(endpoint, None)

    def send(self, source: Endpoint, destination: Endpoint, octets: bytes) -> None:
        """Send a datagram as if from `source`, which tests may forge."""
        loop = asyncio.get_running_loop()
        self.sent.append(Sent(loop.time(), source, destination, octets))
        delay = self._random.randint(*self._latency) / 1_000
        if source.host not in self.dead and self._random.random() >= self.loss:
            loop.call_later(delay, self._deliver, source, destination, octets)

    def _deliver(self, source: Endpoint, destination: Endpoint, octets: bytes) -> None:
        transport = self._transports.get(destination)
        if transport is not None and destination.host not in self.dead:
            transport.protocol.datagram_received(octets, (source.host, source.port))
