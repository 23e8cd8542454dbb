"""The seam under the DHT: questions and answers as objects in place of signed datagrams, with the datagrams' sizes.

What `DhtProtocol` does for its owner is done here by the same rules: a first acquaintance carries both certificates, a
restarted peer asks again for them, a reply counts if it is of whom was asked, late ones show that the peer lives. Left
out is what only attackers and clocks bring about: signatures, replays, rates.
"""

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.counters import Counters
from p2pcore.dht.protocol import Answer, Listener, OwnEndpoint
from p2pcore.endpoint import Endpoint
from p2pcore.errors import UnknownCertificate, Unreachable
from p2pcore.records import Datagram, FindNode, Nodes, Pong, WhoAreYou, encode
from p2pcore.sim.network import Network
from p2pcore.sim.virtual_time import START

_JITTER: Final = 0.001  # seconds: no two timers end at once, so that their order is never one of memory addresses


@dataclass(slots=True, eq=False)
class _Asked:
    future: "asyncio.Future[Answer]"
    endpoint: Endpoint
    node_id: bytes | None
    request: datagrams.Request
    introduced: bool
    sent: int
    answered: bool = field(default=False)


class ObjectProtocol(asyncio.DatagramProtocol):
    """Stands where a DhtProtocol stands; `certificate` is its owner's."""

    def __init__(
        self, network: Network, endpoint: Endpoint, certificate: Certificate, listener: Listener, *, answering: bool
    ) -> None:
        self.endpoint = endpoint
        self.certificate = certificate
        self.counters = Counters()
        self._network = network
        self._listener = listener
        self._answering = answering
        self._known: set[bytes] = set()  # fingerprints of those who have introduced themselves
        self._loop = asyncio.get_running_loop()
        network.protocols[endpoint] = self

    @property
    def is_open(self) -> bool:
        return self._network.protocols.get(self.endpoint) is self

    async def ask(
        self, endpoint: Endpoint, node_id: bytes | None, request: datagrams.Request, timeout: int, *, introduce: bool
    ) -> Answer:
        """As DhtProtocol.ask."""
        if not self.is_open:
            raise Unreachable(f"node at {endpoint}: not asked, the DHT has been stopped")
        if endpoint == self.endpoint:
            raise OwnEndpoint(f"{endpoint} is this process")
        asked = _Asked(self._loop.create_future(), endpoint, node_id, request, introduce, self._now())
        self._loop.call_later(timeout / params.SECOND + self._network.links.jitter(_JITTER), self._time_out, asked)
        size = self._size(request, node_id or datagrams.ANYONE, introduce=introduce)
        self._network.datagram(size, partial(self._arrive, asked))
        return await asked.future

    def close(self) -> None:
        """Be gone, as after SIGKILL: what is on its way is lost."""
        if self.is_open:
            del self._network.protocols[self.endpoint]

    def _arrive(self, asked: _Asked) -> None:
        target = self._network.protocols.get(asked.endpoint)
        if target is not None:
            target.receive(self, asked)

    def receive(self, asker: "ObjectProtocol", asked: _Asked) -> None:
        """Answer a request that has arrived."""
        if not self._answering or asked.node_id not in (None, self.certificate.node_id):
            return
        if asked.introduced:
            self._known.add(asker.certificate.fingerprint)
        if asker.certificate.fingerprint not in self._known:
            size = self._size(WhoAreYou(), datagrams.ANYONE, introduce=False)
            self._network.datagram(size, partial(asker.take, asked, WhoAreYou(), self.certificate))
            return
        answer = self._answer(asked, asker.certificate)
        size = self._size(answer, asker.certificate.node_id, introduce=asked.introduced)
        self._network.datagram(size, partial(asker.take, asked, answer, self.certificate))
        self._listener.requested(asker.certificate, asker.endpoint)

    def take(self, asked: _Asked, payload: Pong | Nodes | WhoAreYou, certificate: Certificate) -> None:
        """Take the reply to what was asked."""
        if not self.is_open or asked.answered:
            return
        if asked.introduced:
            self._known.add(certificate.fingerprint)
        asked.answered = True
        contact = Contact(certificate.node_id, asked.endpoint.host, asked.endpoint.port)
        self._listener.answered(contact, asked.sent)
        if asked.future.done():
            return
        if isinstance(payload, WhoAreYou) or certificate.fingerprint not in self._known:
            asked.future.set_exception(UnknownCertificate(f"node at {asked.endpoint} has to be introduced"))
        else:
            asked.future.set_result(Answer(payload, certificate))

    def _answer(self, asked: _Asked, asker: Certificate) -> Pong | Nodes:
        if not isinstance(asked.request, FindNode):
            return Pong()
        nearest = self._listener.closest(asked.request.target, asker.node_id)
        return datagrams.nodes_that_fit(nearest, self._datagram(Nodes(()), asker.node_id, introduce=asked.introduced))

    def _time_out(self, asked: _Asked) -> None:
        if asked.answered or not self.is_open:
            return
        if not asked.future.done():
            asked.future.set_exception(TimeoutError(f"node at {asked.endpoint} has not answered"))
        if asked.node_id is not None:
            self._listener.missed(Contact(asked.node_id, asked.endpoint.host, asked.endpoint.port), asked.sent)

    def _datagram(self, payload: datagrams.Payload, recipient: bytes, *, introduce: bool) -> Datagram:
        der = self.certificate.der if introduce else b""
        request_id = bytes(datagrams.REQUEST_ID_SIZE)
        return Datagram(payload, request_id, recipient, self.certificate.fingerprint, START, der)

    def _size(self, payload: datagrams.Payload, recipient: bytes, *, introduce: bool) -> int:
        return datagrams.SIGNATURE_SIZE + len(encode(self._datagram(payload, recipient, introduce=introduce)))

    def _now(self) -> int:
        return int(self._loop.time() * params.SECOND)


class ObjectTransport(asyncio.DatagramTransport):
    """The socket that there is none of: a KademliaSubstrate asks it only where it is bound."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__({"sockname": (endpoint.host, endpoint.port)})
