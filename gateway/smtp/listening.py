"""A role's listeners and its open connections, with an end that lets running transactions finish."""

import asyncio
import ssl
from collections.abc import Callable, Sequence

from gateway.maillog import MailLog
from gateway.smtp.connection import SmtpConnection
from gateway.smtp.implicit_tls import TlsListener
from p2pcore.endpoint import Endpoint

BACKLOG = 512  # connections the kernel keeps for us; the default of 100 is refused under a burst


class Listeners:
    """The sockets of one role ("smtp", …); its sessions add themselves to `connections`. `grace` in ms."""

    def __init__(self, role: str, log: MailLog, grace: int) -> None:
        self.connections: set[SmtpConnection] = set()
        self._role = role
        self._log = log
        self._grace = grace
        self._servers: list[asyncio.Server] = []
        self._secured: list[TlsListener] = []

    async def open(
        self,
        session: Callable[[], SmtpConnection],
        clear: Sequence[Endpoint],
        secured: Sequence[Endpoint] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Listen on every endpoint, or on none; on `secured` under `tls` from the first octet.

        Raises OSError, ValueError (`secured` without `tls`).
        """
        if secured and tls is None:
            raise ValueError("implicit TLS needs a certificate")
        try:
            for endpoint in clear:
                await self._listen(session, endpoint)
            if tls is not None:
                self._secured = [TlsListener(session, tls, self._log) for _ in secured]
            for listener, endpoint in zip(self._secured, secured, strict=True):
                await listener.open(endpoint, BACKLOG)
        except OSError:
            await self._close()
            raise
        self._log.started(self._role, self.endpoints)

    async def _listen(self, session: Callable[[], SmtpConnection], endpoint: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        self._servers.append(await loop.create_server(session, endpoint.host, endpoint.port, backlog=BACKLOG))

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where the role listens, with the port numbers that the system chose for port 0."""
        names = [socket.getsockname() for server in self._servers for socket in server.sockets]
        names += [socket.getsockname() for listener in self._secured for socket in listener.sockets]
        return [Endpoint(name[0], name[1]) for name in names]

    async def stop(self) -> None:
        """Take no more connections, let open transactions end within the grace, then cut off the rest."""
        await self._close()
        for connection in tuple(self.connections):
            connection.end_soon()
        running = set(self.connections)
        if running:
            await asyncio.wait({connection.over() for connection in running}, timeout=self._grace / 1_000)
            running &= self.connections
        for connection in running:
            connection.cut_off()
        if running:
            await asyncio.wait({connection.over() for connection in running})
        self._log.stopped(self._role, len(running))

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
        for listener in self._secured:
            await listener.close()
        self._secured.clear()
