"""Names resolved, and the UDP socket: what the DHT asks of the operating system."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from p2pcore.endpoint import Endpoint
from p2pcore.errors import Unreachable
from p2pcore.networks import numeric

OpenTransport = Callable[
    [Callable[[], asyncio.DatagramProtocol], Endpoint | None], Awaitable[asyncio.DatagramTransport]
]
Resolve = Callable[[Endpoint], Awaitable[tuple[Endpoint, ...]]]


def wildcard(host: str) -> bool:
    """Return whether a listener at `host` takes what comes to any address of the machine."""
    return host in ("", "0.0.0.0", "::")  # noqa: S104 - recognised, not bound


async def resolve(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """Return the endpoints with IP addresses that `endpoint` stands for. Raises Unreachable."""
    host = numeric(endpoint.host)
    if host is not None:
        return (Endpoint(host, endpoint.port),)
    try:
        found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise Unreachable(f"host {endpoint.host}: {error}") from error
    hosts = dict.fromkeys(numeric(str(address[0])) for *_, address in found)
    return tuple(Endpoint(host, endpoint.port) for host in hosts if host is not None)


async def open_udp(make: Callable[[], asyncio.DatagramProtocol], listen: Endpoint | None) -> asyncio.DatagramTransport:
    """Return a UDP transport bound to `listen`, or (None) to a port of the system's choice on every address.

    An IPv6 wildcard takes and reaches IPv4 as well. Raises OSError.
    """
    if listen is None:
        bound = _try_dual_stack() or _bind(socket.AF_INET, ("0.0.0.0", 0))  # noqa: S104 - a client's own port
    else:
        loop = asyncio.get_running_loop()
        family, _, _, _, address = (
            await loop.getaddrinfo(listen.host, listen.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE)
        )[0]
        bound = _bind(family, address)
    try:
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(make, sock=bound)
    except BaseException:
        bound.close()
        raise
    return transport


def _try_dual_stack() -> socket.socket | None:
    try:
        return _bind(socket.AF_INET6, ("::", 0))
    except OSError:  # no IPv6 on this machine
        return None


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.setblocking(False)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound
