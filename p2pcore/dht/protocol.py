"""The DHT on a datagram transport: answers verified requests, matches replies to what was asked, drops the rest.

A reply counts only if request identifier, source endpoint, kind and signer are those asked for; an answer that comes
after its timeout still shows that the peer lives. Nothing received raises out of here or makes anything grow.
"""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Protocol, cast

from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.counters import Counters
from p2pcore.dht.limits import Limiter
from p2pcore.endpoint import Endpoint
from p2pcore.errors import (
    CertificateRefused,
    Failure,
    NotAuthorised,
    RateLimited,
    UnknownCertificate,
    Unreachable,
)
from p2pcore.networks import holder, numeric
from p2pcore.records import Datagram, FindNode, Nodes, Pong, WhoAreYou


class OwnEndpoint(NotAuthorised):
    """What was asked is this very process."""


class Listener(Protocol):
    """Who learns from the protocol what peers do. `sent` is in ms of the event loop's clock."""

    def closest(self, target: bytes, asker: bytes) -> list[Contact]:
        """Return the contacts to answer a FindNode with, nearest first."""

    def requested(self, certificate: Certificate, source: Endpoint) -> None:
        """A verified request came from `source` and has been answered."""

    def answered(self, contact: Contact, sent: int) -> None:
        """The contact has answered, perhaps late, what was sent at `sent`."""

    def missed(self, contact: Contact, sent: int) -> None:
        """The contact has not answered in time what was sent at `sent`."""


@dataclass(slots=True)
class _Outstanding:
    future: "asyncio.Future[Answer]"
    endpoint: Endpoint
    node_id: bytes | None
    request: datagrams.Request
    introduced: bool
    sent: int
    due: int
    timer: asyncio.TimerHandle
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A verified reply and the certificate of who gave it."""

    payload: Pong | Nodes
    certificate: Certificate


class DhtProtocol(asyncio.DatagramProtocol):
    """One socket of the DHT; `answering` is false for clients, who answer nobody."""

    def __init__(self, signer: Signer, trust: Trust, clock: Clock, listener: Listener, *, answering: bool) -> None:
        self._signer = signer
        self._trust = trust
        self._clock = clock
        self._listener = listener
        self._answering = answering
        self._outstanding: dict[bytes, _Outstanding] = {}
        self._seen = datagrams.SeenRequests()
        self._sources = Limiter(params.SOURCE_RATE, params.SOURCE_BURST)
        self._introductions = Limiter(params.INTRODUCTION_RATE, params.INTRODUCTION_BURST)
        self._all_introductions = Limiter(params.INTRODUCTION_RATE_ALL, params.INTRODUCTION_BURST_ALL, keys=1)
        self._transport: asyncio.DatagramTransport | None = None
        self._maps_ipv4 = False
        self._loop = asyncio.get_running_loop()
        self.counters = Counters()

    # --- asking ---

    async def ask(
        self, endpoint: Endpoint, node_id: bytes | None, request: datagrams.Request, timeout: int, *, introduce: bool
    ) -> Answer:
        """Return the verified reply to `request`, sent once; `introduce`: our certificate goes along.

        Raises TimeoutError after `timeout` ms, UnknownCertificate where the peer or we have to be introduced,
        OwnEndpoint, Unreachable (too much under way, not sent, or stopped).
        """
        if self._transport is None or len(self._outstanding) >= params.MAX_OUTSTANDING:
            raise Unreachable(f"node at {endpoint}: not asked, {len(self._outstanding)} requests are under way")
        request_id = secrets.token_bytes(datagrams.REQUEST_ID_SIZE)
        certificate = self._signer.certificate.der if introduce else b""
        if not self._send(self._datagram(request, request_id, node_id or datagrams.ANYONE, certificate), endpoint):
            raise Unreachable(f"node at {endpoint}: this machine cannot send there")
        future: asyncio.Future[Answer] = self._loop.create_future()
        timer = self._loop.call_later(timeout / params.SECOND, self._time_out, request_id)
        now = self._now()
        asked = _Outstanding(future, endpoint, node_id, request, introduce, now, now + timeout, timer)
        self._outstanding[request_id] = asked
        return await future

    def _time_out(self, request_id: bytes) -> None:
        asked = self._outstanding[request_id]
        now = self._now()
        pause = now - asked.due
        if pause > params.PEER_TIMEOUT_LEAST // 5:  # this process paused: the answer may lie unread in the socket
            asked.due = now + min(pause, params.PEER_TIMEOUT_LEAST)
            asked.timer = self._loop.call_later((asked.due - now) / params.SECOND, self._time_out, request_id)
            return
        asked.timed_out = True
        asked.timer = self._loop.call_later(params.LATE_ANSWER / params.SECOND, self._outstanding.pop, request_id, None)
        self.counters.timeouts += 1
        if not asked.future.done():
            asked.future.set_exception(TimeoutError(f"node at {asked.endpoint} has not answered"))
        if asked.node_id is not None:
            self._listener.missed(_contact(asked.node_id, asked.endpoint), asked.sent)

    # --- asyncio.DatagramProtocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)  # uvloop's are no subclass
        self._maps_ipv4 = ":" in transport.get_extra_info("sockname")[0]

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self.counters.received += 1
        try:
            host = numeric(str(addr[0]))
            if host is None:
                raise NotAuthorised("source is no IP address")
            self._receive(data, Endpoint(host, addr[1]))
        except Failure as failure:
            self.counters.count(failure)

    def error_received(self, exc: Exception) -> None:
        self.counters.errors += 1

    def close(self) -> None:
        """Stop; whoever waits for an answer gets Unreachable."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        for asked in self._outstanding.values():
            asked.timer.cancel()
            if not asked.future.done():
                asked.future.set_exception(Unreachable("the DHT is being stopped"))
        self._outstanding.clear()

    # --- what comes ---

    def _receive(self, octets: bytes, source: Endpoint) -> None:
        signature, datagram = datagrams.read_datagram(octets)
        if datagrams.is_reply(datagram.payload):
            self._receive_reply(datagram, signature, source)
        else:
            self._receive_request(datagram, signature, source, len(octets))

    def _receive_request(self, datagram: Datagram, signature: bytes, source: Endpoint, size: int) -> None:
        request = datagram.payload
        if datagram.signer == self._signer.certificate.fingerprint:
            self._receive_own(datagram)
        if not self._answering:
            raise NotAuthorised("a client answers nobody")
        if not self._sources.spend(holder(source.host), self._now()):
            raise RateLimited(f"datagrams from {source.host}")
        datagrams.check_addressed(datagram, self._signer.certificate.node_id)
        datagrams.check_time(datagram, self._clock())
        self._seen.check(datagram)
        certificate = self._trust.get(datagram.signer)
        if certificate is None:
            if not datagram.certificate:
                self._ask_who(datagram, source, size)
                raise UnknownCertificate("signer has not been introduced")
            certificate = self._learn(datagram, source)
        self._trust.judge(certificate, datagram.time, self._clock(), True)
        datagrams.verify_datagram(datagram, signature, certificate)
        self._seen.add(datagram, self._clock())
        self.counters.requests += 1
        self._answer(datagram, request, certificate, source)
        self._listener.requested(certificate, source)

    def _receive_own(self, datagram: Datagram) -> None:
        asked = self._outstanding.get(datagram.request_id)
        if asked is not None and not asked.future.done():
            asked.future.set_exception(OwnEndpoint(f"{asked.endpoint} is this process"))
        raise NotAuthorised("our own request")

    def _answer(
        self, datagram: Datagram, request: datagrams.Payload, certificate: Certificate, source: Endpoint
    ) -> None:
        # Who introduces himself is told who we are
        introduction = self._signer.certificate.der if datagram.certificate else b""
        if isinstance(request, FindNode):
            empty = self._datagram(Nodes(()), datagram.request_id, certificate.node_id, introduction)
            nearest = self._listener.closest(request.target, certificate.node_id)
            payload: datagrams.Payload = datagrams.nodes_that_fit(nearest, empty)
        else:
            payload = Pong()
        self._send(self._datagram(payload, datagram.request_id, certificate.node_id, introduction), source)

    def _ask_who(self, datagram: Datagram, source: Endpoint, size: int) -> None:
        question = self._datagram(WhoAreYou(), datagram.request_id, datagrams.ANYONE, b"")
        octets = datagrams.write_datagram(question, self._signer.key)
        if len(octets) <= size:  # an unverified request must not make us send more than it cost
            self.counters.who_are_you += 1
            self._transmit(octets, source)

    def _receive_reply(self, datagram: Datagram, signature: bytes, source: Endpoint) -> None:
        asked = self._outstanding.get(datagram.request_id)
        if asked is None or asked.endpoint != source or not datagrams.answers(datagram.payload, asked.request):
            self.counters.unmatched += 1
            return
        datagrams.check_addressed(datagram, self._signer.certificate.node_id)
        datagrams.check_time(datagram, self._clock())
        certificate = self._trust.get(datagram.signer)
        if certificate is None:
            if not datagram.certificate:
                _fail(asked, UnknownCertificate(f"node at {source} has not been introduced"))
                raise UnknownCertificate("replier has not been introduced")
            certificate = self._learn(datagram, source)
        self._trust.judge(certificate, datagram.time, self._clock(), True)
        datagrams.verify_datagram(datagram, signature, certificate)
        if asked.node_id not in (None, certificate.node_id):
            raise NotAuthorised("another node answered")
        if certificate.role != "node":
            raise CertificateRefused(f"{certificate.name} is a {certificate.role} and answers as a node")
        self._take_reply(datagram, certificate, asked)

    def _take_reply(self, datagram: Datagram, certificate: Certificate, asked: _Outstanding) -> None:
        if isinstance(datagram.payload, WhoAreYou) and asked.introduced:
            raise NotAuthorised("asked for a certificate that it has been given")
        del self._outstanding[datagram.request_id]
        asked.timer.cancel()
        self.counters.replies += 1
        self.counters.late += asked.timed_out
        self._listener.answered(_contact(certificate.node_id, asked.endpoint), asked.sent)
        if isinstance(datagram.payload, WhoAreYou):
            _fail(asked, UnknownCertificate(f"node at {asked.endpoint} does not know us"))
        elif isinstance(datagram.payload, Pong | Nodes) and not asked.future.done():
            asked.future.set_result(Answer(datagram.payload, certificate))

    def _learn(self, datagram: Datagram, source: Endpoint) -> Certificate:
        if hashlib.sha256(datagram.certificate).digest() != datagram.signer:
            raise CertificateRefused("the certificate sent along is not the signer's")
        now = self._now()
        if not self._introductions.spend(holder(source.host), now) or not self._all_introductions.spend(None, now):
            raise RateLimited(f"introductions from {source.host}")
        return self._trust.add(datagram.certificate)

    # --- what goes ---

    def _datagram(
        self, payload: datagrams.Payload, request_id: bytes, recipient: bytes, certificate: bytes
    ) -> Datagram:
        return Datagram(payload, request_id, recipient, self._signer.fingerprint, self._clock(), certificate)

    def _send(self, datagram: Datagram, endpoint: Endpoint) -> bool:
        return self._transmit(datagrams.write_datagram(datagram, self._signer.key), endpoint)

    def _transmit(self, octets: bytes, endpoint: Endpoint) -> bool:
        """Return whether the system took it; that it arrives is another matter."""
        if self._transport is None:
            return False
        mapped = self._maps_ipv4 and ":" not in endpoint.host
        if ":" in endpoint.host and not self._maps_ipv4:  # asyncio would report it to nobody in particular
            self.counters.errors += 1
            return False
        try:
            self._transport.sendto(octets, (f"::ffff:{endpoint.host}" if mapped else endpoint.host, endpoint.port))
        except (OSError, ValueError):  # an address that this machine cannot reach
            self.counters.errors += 1
            return False
        self.counters.sent += 1
        return True

    def _now(self) -> int:
        return int(self._loop.time() * params.SECOND)


def _fail(asked: _Outstanding, failure: Failure) -> None:
    if not asked.future.done():
        asked.future.set_exception(failure)


def _contact(node_id: bytes, endpoint: Endpoint) -> Contact:
    return Contact(node_id, endpoint.host, endpoint.port)
