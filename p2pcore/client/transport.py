"""Signed requests to nodes over pooled TLS connections, each pinned to its node's ID."""

import hashlib
import re
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

import aiohttp

from p2pcore import params
from p2pcore.client.framing import TIME_HEADER
from p2pcore.client.pinning import PinnedNode
from p2pcore.clock import Clock
from p2pcore.crypto.requests import sign_request
from p2pcore.crypto.statements import Signer
from p2pcore.dht.contact import Contact
from p2pcore.errors import ClockSkew, Failure, Replayed, UnknownCertificate, Unreachable, by_http_status

V = TypeVar("V")

CONNECTIONS_PER_PEER: Final = 8  # requests; reads that wait have connections of their own
READ_BUFFER: Final = 2 << 20  # octets: one wake-up per segment instead of sixteen
IDLE_CONNECTION: Final = 60.0  # seconds an unused connection is kept (a node keeps it longer)
REMEMBERED: Final = 1_000  # peers
MAX_FIELD: Final = 64 << 10  # octets of one header field: a statement with MAX_DELETE_RIGHTS rights in base64
_EMPTY_DIGEST: Final = hashlib.sha256(b"").digest()
_HEX_DIGEST: Final = re.compile(r"\b[0-9a-f]{64}\b")


@dataclass(frozen=True, slots=True)
class Content:
    """A request's body: SHA-256, size in octets, and how to make it (again, for a repetition)."""

    digest: bytes
    size: int
    make: Callable[[], bytes | AsyncIterator[bytes]]


@dataclass(slots=True)
class Traffic:
    """Requests, and octets of their contents and of the answers', without headers and TLS; repetitions count."""

    requests: int = 0
    sent: int = 0
    received: int = 0


class Transport:
    """Opens requests of `signer`; knows per node whether it has our certificate and how its clock differs.

    A request is repeated once, freshly signed, where the node did not know our certificate, found our clock wrong (its
    time then corrects requests to that node only), had seen it before, or dropped a pooled connection: all operations
    are idempotent.
    """

    def __init__(self, signer: Signer, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self.traffic = Traffic()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._corrections: OrderedDict[bytes, int] = OrderedDict()  # node ID → ms to add, after a ClockSkew
        self._differences: OrderedDict[bytes, int] = OrderedDict()  # node ID → its clock minus ours
        self._acquainted: OrderedDict[bytes, None] = OrderedDict()  # nodes that know our certificate

    def clock_difference(self) -> int:
        """Return the median of the nodes' clocks minus ours in ms; 0 where none has answered yet."""
        if not self._differences:
            return 0
        ordered = sorted(self._differences.values())  # statistics.median takes ten times as long, for every message
        return (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) // 2

    def note_time(self, contact: Contact, time: int) -> None:
        """Learn the time (ms) that a node's reply gave."""
        remember(self._differences, contact.node_id, time - self._clock())

    async def close(self) -> None:
        """Close all connections; requests under way end as Unreachable."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        for session in sessions:
            await session.close()

    async def open(
        self,
        contact: Contact,
        method: str,
        url: str,
        body: Content | None = None,
        *,
        pragma: str = "",
        wait_ms: int = 0,
        expected: int = 0,
    ) -> aiohttp.ClientResponse:
        """Return the response of status 200 or 206, its content unread; any other is raised as the failure it names.

        `expected`: octets that the reply may have. The caller leaves or releases the response.
        """
        patience = (params.REQUEST_TIMEOUT + wait_ms) / 1_000
        size = (body.size if body else 0) + expected
        timeout = aiohttp.ClientTimeout(
            total=patience + size / params.MIN_THROUGHPUT,
            sock_connect=params.REQUEST_TIMEOUT / 1_000,
            sock_read=patience if size > params.SEGMENT_SIZE else None,  # a timer that the total makes needless
        )
        tried: set[type[Exception]] = set()
        while True:
            headers = self._headers(contact, method, url, body, pragma, wait_ms, with_certificate=bool(tried))
            self.traffic.requests += 1
            self.traffic.sent += body.size if body else 0
            try:
                response = await self._session(waiting=wait_ms > 0).request(
                    method,
                    url,
                    data=body.make() if body else None,
                    headers=headers,
                    ssl=PinnedNode(contact.node_id),
                    timeout=timeout,
                    allow_redirects=False,
                )
                if response.status in (200, 206):
                    remember(self._acquainted, contact.node_id, None)
                    self.traffic.received += response.content_length or 0
                    return response
                async with response:
                    if response.status < 400:
                        raise Unreachable(f"{contact.endpoint}: answered with status {response.status}")
                    failure: Failure = by_http_status(response.status, await _reason(response))
                    self._correct(contact, failure, response.headers.get(TIME_HEADER, ""))
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
                # A pooled connection may have died with its node's last life: one fresh one decides
                if isinstance(error, aiohttp.ClientConnectorError) or ConnectionError in tried:
                    raise unreachable(contact, error) from error
                tried.add(ConnectionError)
                continue
            except (aiohttp.ClientError, TimeoutError, OSError, RuntimeError) as error:
                raise unreachable(contact, error) from error
            if type(failure) in tried or not self._worth_repeating(failure):
                raise failure
            tried.add(type(failure))

    def _headers(
        self,
        contact: Contact,
        method: str,
        url: str,
        body: Content | None,
        pragma: str,
        wait_ms: int,
        *,
        with_certificate: bool,
    ) -> dict[str, str]:
        headers: dict[str, str] = {}
        if pragma:
            headers["Pragma"] = pragma
        if wait_ms > 0:
            headers["Prefer"] = f"wait={-(-wait_ms // 1_000)}"  # RFC 7240 §4.3: whole seconds
        if body:
            headers["Content-Length"] = str(body.size)
            headers["Content-Type"] = "application/octet-stream"
        sign_request(
            method,
            url,
            headers,
            body.digest if body else _EMPTY_DIGEST,
            contact.node_id,
            self._signer,
            self._clock() + self._corrections.get(contact.node_id, 0),
            include_certificate=with_certificate or contact.node_id not in self._acquainted,
        )
        return headers

    def _session(self, *, waiting: bool) -> aiohttp.ClientSession:
        session = self._sessions.get(waiting)
        if session is None:
            per_peer = 0 if waiting else CONNECTIONS_PER_PEER
            connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=per_peer, keepalive_timeout=IDLE_CONNECTION, use_dns_cache=True
            )
            session = aiohttp.ClientSession(
                connector=connector,
                read_bufsize=READ_BUFFER,
                max_field_size=MAX_FIELD,
                max_line_size=MAX_FIELD,
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),  # a node looks at none of them
                trust_env=False,
            )
            self._sessions[waiting] = session
        return session

    def _worth_repeating(self, failure: Failure) -> bool:
        if isinstance(failure, UnknownCertificate):
            return fingerprint_in(str(failure)) == self._signer.fingerprint
        return isinstance(failure, ClockSkew | Replayed)

    def _correct(self, contact: Contact, failure: Failure, time: str) -> None:
        if isinstance(failure, ClockSkew) and time.isascii() and time.isdigit() and len(time) < 16:
            remember(self._corrections, contact.node_id, int(time) - self._clock())


def remember(memory: OrderedDict[bytes, V], key: bytes, value: V) -> None:
    """Keep the REMEMBERED keys used last."""
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > REMEMBERED:
        memory.popitem(last=False)


def unreachable(contact: Contact, error: BaseException) -> Unreachable:
    """Return the failure that says why no answer came."""
    return Unreachable(f"{contact.endpoint}: {type(error).__name__} {error}".rstrip())


async def _reason(response: aiohttp.ClientResponse) -> str:
    return (await response.content.read(1_000)).decode("utf-8", "replace")


def fingerprint_in(reason: str) -> bytes:
    """Return the first 32-octet hex digest that `reason` names, else nothing."""
    found = _HEX_DIGEST.search(reason)
    return bytes.fromhex(found.group()) if found else b""
