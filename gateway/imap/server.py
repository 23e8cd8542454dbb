"""The listeners, and what all sessions share: limits, TLS, accounts."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from gateway.errors import AccountClosed
from gateway.imap import params, responses
from gateway.imap.account import Account
from gateway.imap.connection import Connection
from gateway.imap.errors import Bye, No
from gateway.imap.params import ImapLimits
from gateway.imap.stream import Stream
from gateway.imap.surroundings import Accounts
from gateway.login_delays import LoginDelays
from gateway.mailbox.store import MailStore
from p2pcore.crypto.passwords import ScramVerifier
from p2pcore.endpoint import Endpoint

_log = structlog.get_logger("imap")


class ImapServer:
    """IMAP for some accounts. `tls` None: neither STARTTLS nor implicit TLS.

    `spool_directory` is where large APPENDs pass through in unlinked files (None: the system's temporary directory).
    """

    def __init__(
        self,
        accounts: Accounts,
        tls: ssl.SSLContext | None,
        limits: ImapLimits | None = None,
        *,
        spool_directory: Path | None = None,
    ) -> None:
        self.limits = limits if limits is not None else ImapLimits()
        self.tls_available = tls is not None
        self.login_delays = LoginDelays(self.limits.failed_login_delay, time.monotonic, accounts.counted_as)
        self._accounts = accounts
        self._tls = tls
        self._spool_directory = spool_directory
        self._open: dict[int, Account] = {}  # by id() of its store, while it has sessions
        self._listeners: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], Connection] = {}

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The bound sockets, in the order of the endpoints given to `start`."""
        return tuple(bound for listener in self._listeners for bound in listener.sockets)

    @property
    def sessions(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    async def start(self, plain: Sequence[Endpoint], implicit_tls: Sequence[Endpoint]) -> None:
        """Listen. Raises OSError, with nothing left listening, if an endpoint cannot be bound; ValueError for
        implicit TLS without a certificate."""
        if implicit_tls and self._tls is None:
            raise ValueError("implicit TLS needs a certificate")
        try:
            for endpoint in plain:
                await self._listen(endpoint, None)
            for endpoint in implicit_tls:
                await self._listen(endpoint, self._tls)
        except OSError:
            await self.stop()
            raise

    async def _listen(self, endpoint: Endpoint, tls: ssl.SSLContext | None) -> None:
        # a handshake under way is limited in time only: it is no session yet
        patience = min(params.TLS_HANDSHAKE_TIMEOUT, self.limits.login_timeout) if tls is not None else None
        listener = await asyncio.get_running_loop().create_server(
            lambda: Stream(self._accept),
            endpoint.host,
            endpoint.port,
            ssl=tls,
            ssl_handshake_timeout=patience,
            ssl_shutdown_timeout=params.STOP_GRACE if tls is not None else None,
        )
        self._listeners.append(listener)

    async def stop(self) -> None:
        """Stop listening, let commands under way finish for STOP_GRACE, say BYE to all."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        await self._end(dict(self._connections), Bye("the server is stopping", "UNAVAILABLE"))

    async def dismiss(self, store: MailStore) -> None:
        """Say BYE to the sessions of an account that is going away; none of them uses `store` on return."""
        theirs = {task: connection for task, connection in self._connections.items() if connection.serves(store)}
        await self._end(theirs, Bye("this account has been removed or closed"))

    async def _end(self, connections: "dict[asyncio.Task[None], Connection]", bye: Bye) -> None:
        for connection in connections.values():
            connection.stop(bye)
        if connections:
            _, late = await asyncio.wait(connections, timeout=params.STOP_GRACE)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    def _accept(self, stream: Stream) -> None:
        if len(self._connections) >= self.limits.connections:
            _log.warning("imap connection refused: too many", peer=stream.peer, limit=self.limits.connections)
            stream.write(responses.status("*", b"BYE", "too many connections; try again later", "UNAVAILABLE"))
            stream.close_soon()
            return
        connection = Connection(stream, self, tls=self._tls, spool_directory=self._spool_directory)
        task = asyncio.create_task(connection.run(), name=f"imap {stream.peer}")
        self._connections[task] = connection
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("imap connection ended badly", error=repr(error))

    # ---- Doorkeeper: the server as sessions see it

    async def authenticate(self, user: str, password: str) -> Account | None:
        """See Doorkeeper."""
        try:
            store = await self._accounts.authenticate(user, password)
        except AccountClosed as closed:
            raise _closed(closed) from closed
        if store is None:
            _log.info("imap login failed", user=user[:254])
            return None
        return await self._enter(store)

    @property
    def scram_available(self) -> bool:
        """Whether every account can log in by SCRAM."""
        return self._accounts.scram

    def verifier(self, user: str) -> ScramVerifier:
        """The SCRAM verifier of `user`, or one that fits no password."""
        return self._accounts.verifier(user)

    async def admit(self, user: str, verifier: ScramVerifier) -> Account | None:
        """See Doorkeeper."""
        try:
            store = self._accounts.proven(user, verifier)
        except AccountClosed as closed:
            raise _closed(closed) from closed
        return None if store is None else await self._enter(store)

    async def _enter(self, store: MailStore) -> Account:
        account = self._open.setdefault(id(store), Account(store))
        if account.sessions >= self.limits.connections_per_account:
            raise No("this account has too many connections", "LIMIT")
        account.sessions += 1
        try:
            await account.load()
        except BaseException:
            self.leave(account)
            raise
        return account

    def leave(self, account: Account) -> None:
        """The session ends."""
        account.sessions -= 1
        if account.sessions == 0:
            del self._open[id(account.store)]


def _closed(closed: AccountClosed) -> No:
    _log.info("imap login to a closed account", user=str(closed))
    return No("your mail is closed for now; try again later", "UNAVAILABLE")
