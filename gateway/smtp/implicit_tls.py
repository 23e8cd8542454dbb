"""Listening for connections under TLS from their first octet (RFC 8314 §3.3), which count from the moment they come.

asyncio's servers tell of such a connection when its handshake is over; until then nobody would know how many a client
has begun. So connections are accepted here, counted, and only then handed to the event loop.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from gateway.maillog import MailLog
from gateway.smtp import params
from gateway.smtp.connection import SmtpConnection
from gateway.smtp.replies import Refusal
from gateway.smtp.tls_layer import secure_accepted
from p2pcore.endpoint import Endpoint

_ACCEPT_RETRY: Final = 1.0  # seconds after the system refused another descriptor


class TlsListener:
    """Accepts connections for sessions that `session` makes, under `tls`."""

    def __init__(self, session: Callable[[], SmtpConnection], tls: ssl.SSLContext, log: MailLog) -> None:
        self.sockets: list[socket.socket] = []
        self._session = session
        self._tls = tls
        self._log = log
        self._accepting: list[asyncio.Task[None]] = []
        self._handshakes: set[asyncio.Task[None]] = set()

    async def open(self, endpoint: Endpoint, backlog: int) -> None:
        """Listen on every address of `endpoint`. Raises OSError."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(
            endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _kind, _protocol, _name, address in dict.fromkeys(found):
            listening = socket.create_server(address, family=family, backlog=backlog)
            listening.setblocking(False)
            self.sockets.append(listening)
        self._accepting = [loop.create_task(self._accept(one), name="smtp accept") for one in self.sockets]

    async def close(self) -> None:
        """Accept no more, and end the handshakes under way; sessions stay."""
        tasks = [*self._accepting, *self._handshakes]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for listening in self.sockets:
            listening.close()
        self.sockets.clear()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except OSError as error:  # ECONNABORTED, or no descriptor is left
                self._log.failed("smtp accept", error)
                await asyncio.sleep(_ACCEPT_RETRY)
                continue
            session = self._session()
            try:
                session.admit(peer)
            except Refusal:
                accepted.close()  # a reply in clear would mean nothing to the client
                continue
            task = loop.create_task(self._shake_hands(session, accepted), name="smtp handshake")
            self._handshakes.add(task)
            task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, session: SmtpConnection, accepted: socket.socket) -> None:
        try:
            await secure_accepted(accepted, session, self._tls, params.TLS_TIMEOUT / 1_000)
        except OSError as error:  # ssl.SSLError is one
            self._log.unfinished(client=session.client.address, reason=f"TLS: {type(error).__name__}")
        finally:
            if session.transport is None:
                session.cut_off()
