"""A role's listeners and its open connections, with an end that lets running transactions finish."""

import asyncio
import ssl
from collections.abc import Callable, Sequence

from gateway.maillog import MailLog
from gateway.smtp import params
from gateway.smtp.connection import SmtpConnection
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
                await self._listen(session, endpoint, None)
            for endpoint in secured:
                await self._listen(session, endpoint, tls)
        except OSError:
            self._close()
            raise
        self._log.started(self._role, self.endpoints)

    async def _listen(
        self, session: Callable[[], SmtpConnection], endpoint: Endpoint, tls: ssl.SSLContext | None
    ) -> None:
        server = await asyncio.get_running_loop().create_server(
            session,
            endpoint.host,
            endpoint.port,
            backlog=BACKLOG,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else params.TLS_TIMEOUT / 1_000,
        )
        self._servers.append(server)

    @property
    def endpoints(self) -> list[Endpoint]:
        """Where the role listens, with the port numbers that the system chose for port 0."""
        names = [socket.getsockname() for server in self._servers for socket in server.sockets]
        return [Endpoint(name[0], name[1]) for name in names]

    async def stop(self) -> None:
        """Take no more connections, let open transactions end within the grace, then cut off the rest."""
        self._close()
        for connection in tuple(self.connections):
            connection.end_soon()
        cut_off = 0
        tasks = {connection.task for connection in self.connections}
        if tasks:
            _done, running = await asyncio.wait(tasks, timeout=self._grace / 1_000)
            cut_off = len(running)
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        self._log.stopped(self._role, cut_off)

    def _close(self) -> None:
        for server in self._servers:
            server.close()
        self._servers.clear()
