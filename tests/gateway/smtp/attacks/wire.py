"""A listener's session at the end of a wire in memory: each octet arrives when the test says so, on virtual time."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Protocol, TypeVar, cast

from gateway.smtp.connection import SmtpConnection
from gateway.smtp.limits import MemoryBudget
from p2pcore.sim.virtual_time import run_virtually
from tests.support.identities import Member

W = TypeVar("W", bound=AbstractAsyncContextManager[Any])
T = TypeVar("T")

STRANGER = ("192.0.2.66", 40_000)
_SETTLING = 1e-3  # virtual seconds: time moves on only when nothing is left to run


class Served(Protocol):
    """A started server of any role."""

    memory: MemoryBudget

    def _session(self) -> SmtpConnection: ...


class Wire(asyncio.Transport):
    """The server's transport; `send` and `said` are the client's side of it."""

    _start_tls_compatible = True

    def __init__(self, server: Served, peer: tuple[str, int] = STRANGER, **known: object) -> None:
        """Connect; `known` is what get_extra_info knows besides the peer."""
        super().__init__()
        self.session = server._session()
        self.received = bytearray()
        self.closed = False
        self.end = asyncio.Event()  # set when the server has closed, or the client has gone
        self._known = {"peername": peer, **known}
        self._protocol: asyncio.BaseProtocol = self.session
        self._held = bytearray()
        self._paused = False
        self._lost = False
        self._loop = asyncio.get_running_loop()
        self.session.connection_made(self)

    # the client

    async def send(self, *segments: bytes) -> bytes:
        """Deliver each segment by itself, with all its consequences; return what the server says to them."""
        before = len(self.received)
        for segment in segments:
            self.feed(segment)
            await settled()
        return bytes(self.received[before:])

    def feed(self, segment: bytes) -> None:
        """Deliver a segment without waiting for its consequences."""
        if self._lost or self.closed:
            return
        self._held += segment
        self._deliver()

    def vanish(self) -> None:
        """The connection breaks."""
        self._end(ConnectionResetError("reset by peer"))

    def hang_up(self) -> None:
        """The client closes its end."""
        if not self._lost and not self._protocol.eof_received():  # type: ignore[attr-defined]
            self.close()

    def _deliver(self) -> None:
        while self._held and not self._paused and not self.closed:
            if isinstance(self._protocol, asyncio.BufferedProtocol):
                room = cast(memoryview, self._protocol.get_buffer(len(self._held)))
                count = min(len(room), len(self._held))
                room[:count] = self._held[:count]
                del self._held[:count]
                self._protocol.buffer_updated(count)
            else:
                octets = bytes(self._held)
                self._held.clear()
                cast(asyncio.Protocol, self._protocol).data_received(octets)

    def _end(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self.closed = True
            self.end.set()
            self._loop.call_soon(self._protocol.connection_lost, error)

    # asyncio.Transport

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._known.get(name, default)

    def is_closing(self) -> bool:
        return self.closed

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._loop.call_soon(self._deliver)

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: "bytes | bytearray | memoryview[Any]") -> None:
        if not self._lost:
            self.received += data

    def close(self) -> None:
        self.closed = True
        self._end(None)

    def abort(self) -> None:
        self._end(None)

    def _force_close(self, error: Exception | None) -> None:
        self._end(error)


class TlsClient:
    """The client's TLS over a wire whose server has said 220 to STARTTLS."""

    def __init__(self, wire: Wire, context: ssl.SSLContext) -> None:
        self._wire = wire
        self._to_us, self._from_us = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._to_us, self._from_us, server_hostname="localhost")
        self._seen = len(wire.received)

    def hello(self) -> bytes:
        """Return the octets of the first flight, not sent."""
        return self._flight()

    async def shake_hands(self) -> None:
        """Complete the handshake, whose first flight may have been sent. Raises ssl.SSLError."""
        while True:
            await self._exchange()
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                if self._wire.closed:
                    raise
        await self._exchange()

    async def send(self, octets: bytes) -> bytes:
        """Say `octets` under TLS; return what the server says under TLS."""
        self._tls.write(octets)
        await self._exchange()
        said = bytearray()
        try:
            while piece := self._tls.read(65_536):
                said += piece
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass
        return bytes(said)

    def farewell(self) -> bytes:
        """Return the octets of close_notify, not sent."""
        with suppress(ssl.SSLWantReadError):
            self._tls.unwrap()
        return self._from_us.read()

    def _flight(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self._tls.do_handshake()
        return self._from_us.read()

    async def _exchange(self) -> None:
        if octets := self._from_us.read():
            await self._wire.send(octets)
        await settled()
        self._to_us.write(bytes(self._wire.received[self._seen :]))
        self._seen = len(self._wire.received)


async def settled() -> None:
    """Return when nothing can happen any more until time passes or somebody sends something."""
    await asyncio.sleep(_SETTLING)


def on_virtual_time(make: Callable[[], W], story: Callable[[W], Awaitable[T]]) -> T:
    """Tell `story` to the world that `make` returns, on a loop of virtual time; everything must have ended by then."""

    async def told() -> T:
        async with make() as world:
            return await story(world)

    return run_virtually(told())


class ShownCertificate:
    """What a relay session asks of TLS: the client's certificate."""

    def __init__(self, member: Member) -> None:
        self._der = member.certificate.der

    def getpeercert(self, binary_form: bool = False) -> bytes:
        return self._der

    @classmethod
    def of(cls, member: Member) -> dict[str, object]:
        """Return what the wire of `member` knows."""
        return {"cipher": ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256), "ssl_object": cls(member)}
