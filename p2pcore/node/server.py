"""Table 3 over HTTP: what each method and path means, and how failures are answered."""

import logging
import resource
import ssl
import sys
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from p2pcore.client.framing import APPEND_INBOX, READ_INBOX, TIME_HEADER
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure, Malformed, Unreachable
from p2pcore.node.connections import KEEP_ALIVE, Connection, Connections
from p2pcore.node.gate import Caller, Gate
from p2pcore.node.handlers import Handlers
from p2pcore.node.reading import KEY_PATH, abort, in_time
from p2pcore.node.service import Service
from p2pcore.node.under_way import UnderWay

Handler = Callable[[web.BaseRequest, Caller], Awaitable[web.StreamResponse]]

READ_BUFFER: Final = 2 << 20  # octets: one wake-up per segment of a large body, not one per 64 KiB
MAX_FIELD: Final = 16 << 10  # octets of one header field: a certificate in base64 fits
_PIECE: Final = 256 << 10  # octets of an answer that are written at a time
STOPPING: Final = 5.0  # seconds that requests under way get at a stop

_log = logging.getLogger(__name__)


class Server:
    """Listens on one TLS port. Every answer that is no success is "FailureClass: detail" in plain text."""

    def __init__(self, gate: Gate, service: Service) -> None:
        self._gate = gate
        self._service = service
        self._handlers = Handlers(service)
        self._under_way = UnderWay(service.settings.limits.requests_of_signer)
        self._of_a_key: dict[str, Handler] = {"PUT": self._put, "GET": self._get, "DELETE": self._delete}
        self._runner: web.ServerRunner | None = None
        self._connections: Connections | None = None

    async def start(self, listen: Endpoint, context: ssl.SSLContext) -> int:
        """Begin to answer; return the port. Raises OSError where the endpoint cannot be had."""
        # No web.Application: its router and signals would be a tenth of what a small request costs
        server = web.Server(
            self._answer,
            handler_cancellation=True,  # else a long poll whose client is gone stays for good
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=STOPPING)
        await self._runner.setup()
        self._connections = Connections(
            server,
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

    async def _put(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        match request.headers.get("Pragma", ""):
            case "":
                return await self._handlers.store(request, caller)
            case pragma if pragma == APPEND_INBOX:
                return await self._handlers.append_inbox(request, caller)
            case pragma:
                raise Malformed(f"Pragma {pragma[:40]!r} with PUT")

    async def _get(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        match request.headers.get("Pragma", ""):
            case "":
                return await self._handlers.fetch(request, caller)
            case pragma if pragma == READ_INBOX:
                return await self._handlers.read_inbox(request, caller)
            case pragma:
                raise Malformed(f"Pragma {pragma[:40]!r} with GET")

    async def _delete(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        if "Pragma" in request.headers:
            raise Malformed("Pragma with DELETE")
        return await self._handlers.delete(request, caller)

    def _handler(self, request: web.BaseRequest) -> Handler | None:
        if request.path == "/v1/batch":
            return self._handlers.batch if request.method == "POST" else None
        return self._of_a_key.get(request.method) if KEY_PATH.match(request.path) else None

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request behind the gate; failures are turned into answers."""
        connection = request.protocol
        assert isinstance(connection, Connection)
        handler = self._handler(request)
        if handler is None:
            return self._refusal(404, f"NotFound: {request.method} {request.path[:100]} is no primitive")
        connection.begin()
        try:
            caller = await self._gate.enter(request)
            connection.known = True
            with self._under_way.another(caller.certificate):
                if "Expect" in request.headers:
                    await _continue(request)
                return await _sent(request, await handler(request, caller))
        except Failure as failure:
            return self._refusal(failure.http_status, f"{type(failure).__name__}: {failure}"[:1_000])
        except web.HTTPException as refusal:
            return self._refusal(refusal.status, f"Malformed: {refusal.reason}")
        except ConnectionError:
            raise  # the client is gone: nobody to answer
        except Exception:  # noqa: BLE001 - logged; a stranger is told nothing of it
            _log.exception("unexpected failure of %s %s", request.method, request.path[:100])
            return self._refusal(500, "TemporaryFailure: unexpected failure")
        finally:
            connection.end()

    def _refusal(self, status: int, text: str) -> web.Response:
        headers = {TIME_HEADER: str(self._service.nonces.time())}
        return web.Response(status=status, text=text, headers=headers)


def _descriptors() -> int:
    """Return how many files and sockets this process may have open."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else sys.maxsize


async def _continue(request: web.BaseRequest) -> None:
    """Ask for the body that the client holds back until then (RFC 9110 §10.1.1). Raises web.HTTPException."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    request.writer.output_size = 0  # else the answer's own header would count as sent


async def _sent(request: web.BaseRequest, response: web.StreamResponse) -> web.StreamResponse:
    """Send what is left of `response` and return it; who does not take it within the time of its size is cut off.

    In pieces: asyncio's TLS does not let a single write wait, however long it is.
    """
    octets = response.body if isinstance(response, web.Response) else None
    if not isinstance(octets, bytes) or len(octets) <= _PIECE:
        return response
    response = web.StreamResponse(status=response.status, headers=response.headers)
    response.content_length = len(octets)
    await response.prepare(request)
    try:
        await in_time(_write(response, octets), len(octets))
    except Unreachable as failure:
        _log.info("answer to %s %s is not taken: %s", request.method, request.path[:100], failure)
        abort(request)
    return response


async def _write(response: web.StreamResponse, octets: bytes) -> None:
    for start in range(0, len(octets), _PIECE):
        await response.write(octets[start : start + _PIECE])
    await response.write_eof()
