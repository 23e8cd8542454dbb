"""Connections to a node: how many there may be, and how long one may be silent.

Handshakes and connections are bounded. At its bound a handshake that began longest ago, or a connection that has been
idle longest, gives way to a newcomer: first those of which nobody admitted has signed a request yet. So whoever opens
thousands and says nothing displaces himself, and members reach the node within the time that their handshake takes.
"""

import asyncio
import logging
import socket
import ssl
from typing import Any, Final

from aiohttp import web

from p2pcore.endpoint import Endpoint

FIRST_REQUEST: Final = 10.0  # seconds that a stranger may take to send a signed request's header
KEEP_ALIVE: Final = 120.0  # seconds an unused connection is kept; longer than clients keep theirs
_UNREAD: Final = 150.0  # seconds after which a member's connection goes that neither asks nor takes its last answer
_HANDSHAKE: Final = 5.0  # seconds
_HANDSHAKES: Final = 256  # at a time
_BACKLOG: Final = 512
_ACCEPT_RETRY: Final = 1.0  # seconds after the system refused another descriptor

_log = logging.getLogger(__name__)


class Connection(web.RequestHandler):
    """One connection. `running`: requests under way; `known`: one of them was signed by somebody admitted."""

    def __init__(self, owner: "Connections", server: web.Server, **settings: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **settings)
        self._owner = owner
        self.running = 0
        self.known = False
        self.since = owner.time()  # begun, or without a request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._owner.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._owner.closed(self)
        super().connection_lost(exc)

    def begin(self) -> None:
        """Count a request, which `end` follows."""
        self.running += 1

    def end(self) -> None:
        """Count it no more."""
        self.running -= 1
        self.since = self._owner.time()

    def abort(self) -> None:
        """Close without waiting for anything."""
        if self.transport is not None:
            self.transport.abort()


class Connections:
    """Listens, and owns every connection of one server; at most `most`. `settings` go to aiohttp's handler."""

    def __init__(self, server: web.Server, most: int, **settings: Any) -> None:
        self._server = server
        self._most = most
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._open: dict[Connection, asyncio.TimerHandle] = {}
        self._handshakes: dict[asyncio.Task[None], None] = {}  # oldest first
        self._listeners: list[asyncio.Task[None]] = []
        self.time = self._loop.time

    @property
    def count(self) -> int:
        """How many connections there are, those in their handshake included."""
        return len(self._open) + len(self._handshakes)

    async def listen(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> int:
        """Begin to accept, under TLS if there is a `context`; return the port.

        Raises OSError where the endpoint cannot be had.
        """
        sockets = await _bind(endpoint)
        for listening in sockets:
            task = self._loop.create_task(self._accept(listening, context), name="node-accept")
            self._listeners.append(task)
        port: int = sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Accept no more; connections that are open stay."""
        tasks = [*self._listeners, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._listeners.clear()

    def opened(self, connection: Connection) -> None:
        """Take note of a connection whose handshake is done."""
        self._open[connection] = self._loop.call_later(FIRST_REQUEST, self._look, connection)

    def closed(self, connection: Connection) -> None:
        """Take note of its end."""
        timer = self._open.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _look(self, connection: Connection) -> None:
        """Abort a connection that has been silent for too long, else look again when it may have been."""
        longest = _UNREAD if connection.known else FIRST_REQUEST
        silent = self.time() - connection.since
        if connection.running or silent < longest:
            wait = longest if connection.running else longest - silent
            self._open[connection] = self._loop.call_later(wait, self._look, connection)
        else:
            connection.abort()

    async def _accept(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        with listening:
            while True:
                try:
                    accepted, _address = await self._loop.sock_accept(listening)
                except OSError as error:  # ECONNABORTED, or no descriptor is left
                    _log.warning("a connection could not be accepted: %s", error)
                    await asyncio.sleep(_ACCEPT_RETRY)
                    continue
                if not self._make_place():
                    accepted.close()
                    continue
                task = self._loop.create_task(self._shake_hands(accepted, context), name="node-handshake")
                self._handshakes[task] = None
                task.add_done_callback(self._shaken)

    def _make_place(self) -> bool:
        """Return whether another connection may begin, after the one that is needed least has given way."""
        if len(self._handshakes) >= _HANDSHAKES:
            next(iter(self._handshakes)).cancel()
        if self.count < self._most:
            return True
        idle = [connection for connection in self._open if not connection.running]
        if not idle:
            return False
        least = min(idle, key=lambda connection: (connection.known, connection.since))
        self.closed(least)  # now, not when the loop says so
        least.abort()
        return True

    async def _shake_hands(self, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: Connection(self, self._server, **self._settings),
                accepted,
                ssl=context,
                ssl_handshake_timeout=_HANDSHAKE if context else None,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            _log.debug("handshake failed: %s", error)
            accepted.close()

    def _shaken(self, task: asyncio.Task[None]) -> None:
        del self._handshakes[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a handshake ended unexpectedly", exc_info=error)


async def _bind(endpoint: Endpoint) -> list[socket.socket]:
    """Return sockets that listen on every address of `endpoint`; an empty host means all. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _name, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setblocking(False)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
    except BaseException:
        for listening in sockets:
            listening.close()
        raise
    return sockets
