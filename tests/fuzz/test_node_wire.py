"""What a node's port makes of octets that are no request, or almost one: an answer, or an end, and never a defect."""

import asyncio
import logging
import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.client.framing import READ_INBOX
from tests.fuzz.effort import OVER_SOCKETS
from tests.p2pcore.node.test_fuzz import Target, target
from tests.p2pcore.node.test_requests import BATCH

STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
ENDLESS: Final = 64 << 20  # octets; far more than any buffer between the two ends
PIECE: Final = 64 << 10


class Tap(asyncio.Protocol):
    """One connection to the node: what came, and whether it has ended."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    return made


class Asked(Target):
    """A target that can be asked from within its own loop."""

    async def ask_on_another_connection(self) -> int:
        return (await self.wire.send(self.wire.signed(self.alice)))[0]


async def connect(node: Asked, *, tls: bool = True) -> tuple[asyncio.Transport, Tap]:
    transport, tap = await asyncio.get_running_loop().create_connection(
        Tap, "127.0.0.1", node.wire.running.node.port, ssl=context() if tls else None
    )
    return transport, tap


def exchange(node: Asked, octets: bytes, *, tls: bool = True) -> list[int]:
    """Send `octets`, let the node serve somebody else, hang up; return the statuses of what was answered."""

    async def talk() -> bytes:
        transport, tap = await connect(node, tls=tls)
        transport.write(octets)
        assert await node.ask_on_another_connection() == 200
        transport.close()
        async with asyncio.timeout(60):
            await tap.ended.wait()
        return tap.received

    received = node.runner.run(talk())
    return [int(status) for status in STATUS.findall(received)]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Asked]:
    with target(tmp_path / "node") as found:
        yield Asked(found.runner, found.wire)


@pytest.fixture
def no_defect(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is logged as an error while the test runs."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


def request(node: Asked, method: str, path: str, octets: bytes, pragma: str = "") -> bytes:
    """A genuine request as it is on the wire."""
    fields = node.wire.signed(node.alice, method, path, octets, pragma=pragma)
    lines = [f"{method} {path} HTTP/1.1", "Host: node", f"Content-Length: {len(octets)}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + octets


REQUESTS: Final = {
    "batch": ("POST", "/v1/batch", BATCH, ""),
    "fetch": ("GET", "/v1/" + "0" * 64, b"", ""),
    "read-inbox": ("GET", "/v1/" + "0" * 64 + "?cursor=0", b"", READ_INBOX),
    "store": ("PUT", "/v1/" + "0" * 64, b"\0\0\0\4abcd", ""),
    "delete": ("DELETE", "/v1/" + "0" * 64, b"abcd", ""),
}
HTTP: Final = st.sampled_from(
    [
        *(b"GET ", b"PUT ", b"POST ", b"/v1/batch", b"/v1/" + b"0" * 64, b" HTTP/1.1\r\n", b" HTTP/2.0\r\n", b"\r\n"),
        *(b"Host: x\r\n", b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: gzip, chunked\r\n", b"Expect: 100-continue\r\n"),
        *(b"0\r\n\r\n", b"5\r\nabcde\r\n", b"ffffffffffffffff\r\n", b"-1\r\n", b"Connection: close\r\n", b"\0", b"\n"),
        *(
            b"Upgrade: websocket\r\n",
            b"Connection: Upgrade\r\n",
            b"Content-Encoding: gzip\r\n",
            b" folded\r\n",
            b": \r\n",
        ),
    ]
)
STREAMS: Final = st.binary(max_size=300) | st.lists(HTTP | st.binary(max_size=10), max_size=20).map(b"".join)


@pytest.mark.usefixtures("no_defect")
def test_any_octets_on_a_connection(node: Asked) -> None:
    """Invariant: whatever a stranger sends over TLS is refused with 4xx or not answered, and members are served."""

    @OVER_SOCKETS
    @given(STREAMS)
    def holds(octets: bytes) -> None:
        assert all(400 <= status < 500 for status in exchange(node, octets))

    holds()


@pytest.mark.usefixtures("no_defect")
def test_any_octets_without_tls(node: Asked) -> None:
    """Invariant: whatever arrives in place of a handshake is not answered over HTTP, and members are served."""

    @OVER_SOCKETS
    @given(STREAMS)
    def holds(octets: bytes) -> None:
        assert exchange(node, octets, tls=False) == []

    holds()


@pytest.mark.usefixtures("no_defect")
@pytest.mark.parametrize("name", REQUESTS)
def test_damaged_requests(node: Asked, name: str) -> None:
    """Invariant: a request cut off, changed or repeated anywhere is done, refused with 4xx or not answered."""

    @OVER_SOCKETS
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        octets = request(node, *REQUESTS[name])
        start = data.draw(st.integers(0, len(octets)))
        stop = min(len(octets), start + data.draw(st.integers(0, 12)))
        change = data.draw(st.binary(max_size=12) | HTTP)
        damaged = octets[:start] + change + octets[stop:]
        sent = data.draw(st.sampled_from([damaged, octets[:start], octets + damaged, octets + octets]))
        assert all(status in (200, 206) or 400 <= status < 500 for status in exchange(node, sent))

    holds()


@pytest.mark.usefixtures("no_defect")
@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"A"),
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nX: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"X: y\r\n"),
        (b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"f"),
        (b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"POST /v1/batch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"POST /v1/batch HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", b"a"),
    ],
    ids=["method", "path", "field", "fields", "chunks", "chunk-size", "chunk-extension", "trailers", "body"],
)
def test_what_never_ends(node: Asked, head: bytes, piece: bytes) -> None:
    """A stranger's request of any length is refused long before it ends, and none of its body is waited for."""

    async def pour() -> tuple[int, bytes]:
        transport, tap = await connect(node)
        transport.write(head)
        sent = 0
        octets = piece * (PIECE // len(piece))
        async with asyncio.timeout(60):
            while not tap.received and not tap.ended.is_set() and sent < ENDLESS:
                transport.write(octets)
                sent += len(octets)
                await tap.writable.wait()
                await asyncio.sleep(0)
        transport.abort()
        return sent, tap.received

    sent, received = node.runner.run(pour())
    assert sent < ENDLESS
    assert all(400 <= int(status) < 500 for status in STATUS.findall(received))


@pytest.mark.parametrize("name", REQUESTS)
def test_an_undamaged_request_is_understood(node: Asked, name: str) -> None:
    """What is damaged above is a request to begin with: it is not refused for its signature or its form as HTTP."""

    async def talk() -> bytes:
        transport, tap = await connect(node)
        transport.write(request(node, *REQUESTS[name]).replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        async with asyncio.timeout(60):
            await tap.ended.wait()
        return tap.received

    [status] = STATUS.findall(node.runner.run(talk()))
    assert int(status) == {"batch": 200, "fetch": 404, "read-inbox": 403}.get(name, 400)
