"""Table 3 over HTTP: the routes, and how failures are answered."""

import logging
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from p2pcore import params
from p2pcore.client.framing import APPEND_INBOX, READ_INBOX, TIME_HEADER
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure, Malformed
from p2pcore.node.connections import KEEP_ALIVE, Connection, Connections
from p2pcore.node.gate import Caller, Gate
from p2pcore.node.handlers import Handlers
from p2pcore.node.service import Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

READ_BUFFER: Final = 2 << 20  # octets: one wake-up per segment of a large body, not one per 64 KiB
MAX_FIELD: Final = 16 << 10  # octets of one header field: a certificate in base64 fits
STOPPING: Final = 5.0  # seconds that requests under way get at a stop

_log = logging.getLogger(__name__)


class Server:
    """Listens on one TLS port. Every answer that is no success is "FailureClass: detail" in plain text."""

    def __init__(self, gate: Gate, service: Service) -> None:
        self._gate = gate
        self._service = service
        self._handlers = Handlers(service)
        self._runner: web.AppRunner | None = None
        self._connections: Connections | None = None

    async def start(self, listen: Endpoint, context: ssl.SSLContext) -> int:
        """Begin to answer; return the port. Raises OSError where the endpoint cannot be had."""
        application = web.Application(client_max_size=params.MAX_BATCH)
        application.router.add_post("/v1/batch", self._answering(self._handlers.batch))
        application.router.add_put(_KEY_PATH, self._answering(self._put))
        application.router.add_get(_KEY_PATH, self._answering(self._get), allow_head=False)
        application.router.add_delete(_KEY_PATH, self._answering(self._delete))
        application.router.add_route("*", "/{path:.*}", self._nothing_here)
        self._runner = web.AppRunner(
            application,
            handler_cancellation=True,  # else a long poll whose client is gone stays for good
            shutdown_timeout=STOPPING,
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self._connections = Connections(
            self._runner.server,
            min(self._service.settings.limits.connections, _descriptors() // 2),
            access_log=None,
            read_bufsize=READ_BUFFER,
            max_field_size=MAX_FIELD,
            keepalive_timeout=KEEP_ALIVE,
            auto_decompress=False,
        )
        try:
            return await self._connections.listen(listen, context)
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop listening, let requests under way end (reads that wait are answered at once), close connections."""
        self._service.watchers.wake_all()
        if self._connections is not None:
            await self._connections.stop()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _put(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        match request.headers.get("Pragma", ""):
            case "":
                return await self._handlers.store(request, caller)
            case pragma if pragma == APPEND_INBOX:
                return await self._handlers.append_inbox(request, caller)
            case pragma:
                raise Malformed(f"Pragma {pragma[:40]!r} with PUT")

    async def _get(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        match request.headers.get("Pragma", ""):
            case "":
                return await self._handlers.fetch(request, caller)
            case pragma if pragma == READ_INBOX:
                return await self._handlers.read_inbox(request, caller)
            case pragma:
                raise Malformed(f"Pragma {pragma[:40]!r} with GET")

    async def _delete(self, request: web.Request, caller: Caller) -> web.StreamResponse:
        if "Pragma" in request.headers:
            raise Malformed("Pragma with DELETE")
        return await self._handlers.delete(request, caller)

    async def _nothing_here(self, request: web.Request) -> web.StreamResponse:
        return self._refusal(404, f"NotFound: {request.method} {request.path[:100]} is no primitive")

    def _answering(self, handler: Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]) -> Handler:
        """Return `handler` behind the gate, its failures turned into answers."""

        async def answer(request: web.Request) -> web.StreamResponse:
            connection = request.protocol
            assert isinstance(connection, Connection)
            try:
                with connection.request():
                    caller = await self._gate.enter(request)
                    connection.known = True
                    return await handler(request, caller)
            except Failure as failure:
                return self._refusal(failure.http_status, f"{type(failure).__name__}: {failure}"[:1_000])
            except web.HTTPException as refusal:
                return self._refusal(refusal.status, f"Malformed: {refusal.reason}")
            except ConnectionError:
                raise  # the client is gone: nobody to answer
            except Exception:  # noqa: BLE001 - logged; a stranger is told nothing of it
                _log.exception("unexpected failure of %s %s", request.method, request.path[:100])
                return self._refusal(500, "TemporaryFailure: unexpected failure")

        return answer

    def _refusal(self, status: int, text: str) -> web.Response:
        headers = {TIME_HEADER: str(self._service.nonces.time())}
        return web.Response(status=status, text=text, headers=headers)


def _descriptors() -> int:
    """Return how many files and sockets this process may have open."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


_KEY_PATH: Final = r"/v1/{key:[0-9a-f]{64}}"
