"""Every endpoint and header field with arbitrary input: always an answer that names the failure, never 500."""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import errors
from p2pcore.client.framing import APPEND_INBOX, READ_INBOX, frame
from p2pcore.client.pinning import PinnedNode
from p2pcore.errors import Failure
from p2pcore.records import Append, AskInbox, Batch, Deletion, Record, encode
from tests.fuzz.effort import OVER_SOCKETS
from tests.p2pcore.node.test_requests import BATCH, Wire
from tests.support.identities import Member, World
from tests.support.nodes import body, entry, running_node
from tests.support.record_values import values

KEY = "0" * 64
NAMES = {kind.__name__ for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Failure)}
FIELDS = [
    "Content-Digest",
    "Signature",
    "Signature-Input",
    "P2pmail-Certificate",
    "P2pmail-Node",
    "Pragma",
    "Prefer",
    "Range",
    "Content-Type",
    "Content-Encoding",
    "Content-Length",
    "Expect",
]
# What an HTTP parser lets pass in a field (RFC 9110 §5.5): no CR, LF or NUL, nothing outside Latin-1
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)


class Target:
    """A node on an event loop of its own, and members who send it requests."""

    def __init__(self, runner: asyncio.Runner, wire: Wire) -> None:
        self.runner = runner
        self.wire = wire
        self.alice = wire.world.user("alice")
        self.node = wire.world.node()

    def send(
        self,
        method: str,
        path: str,
        octets: bytes,
        *,
        pragma: str = "",
        member: Member | None = None,
        change: Callable[[dict[str, str]], None] = lambda _headers: None,
    ) -> int:
        """Send a signed request; return the status once the answer was found to be one that names its failure."""
        headers = self.wire.signed(member or self.alice, method, path, octets, pragma=pragma)
        change(headers)
        return self.runner.run(self._send(method, path, octets, headers))

    async def _send(self, method: str, path: str, octets: bytes, headers: dict[str, str]) -> int:
        pin = PinnedNode(self.wire.running.contact.node_id)
        try:
            async with (
                asyncio.timeout(60),
                self.wire.session.request(
                    method, self.wire.url(path), data=octets, headers=headers, ssl=pin, allow_redirects=False
                ) as response,
            ):
                said = await response.read()
        except (aiohttp.ClientError, ValueError):  # our own client sends no such thing, or the node cut it off
            return 0
        assert response.status in (200, 206) or 400 <= response.status < 500, (response.status, said)
        if response.status >= 400 and "P2pmail-Time" in response.headers and method != "HEAD":
            assert said.decode().partition(":")[0] in NAMES
        return response.status

    def still_answers(self) -> None:
        """The node serves others as before."""
        bob = self.wire.world.user("bob")
        assert self.send("POST", "/v1/batch", BATCH, member=bob) == 200


@contextmanager
def target(directory: Path) -> Iterator[Target]:
    with asyncio.Runner() as runner:
        world = World()
        node = running_node(world, directory)
        running = runner.run(node.__aenter__())
        session = runner.run(_session())
        found = Target(runner, Wire(world, running, session))
        try:
            yield found
            found.still_answers()
        finally:
            runner.run(session.close())
            runner.run(node.__aexit__(None, None, None))


async def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(auto_decompress=False)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Target]:
    with target(tmp_path / "node") as found:
        yield found


def damaged(draw: st.DrawFn, octets: bytes) -> bytes:
    """`octets` with a piece cut, changed or added."""
    start = draw(st.integers(0, len(octets)))
    stop = min(len(octets), start + draw(st.integers(0, 8)))
    return octets[:start] + draw(st.binary(max_size=8)) + octets[stop:]


@st.composite
def bodies(draw: st.DrawFn, genuine: bytes) -> bytes:
    return draw(st.one_of(st.binary(max_size=200), st.just(damaged(draw, genuine)), st.just(genuine + b"\0")))


ENDPOINTS = {
    "batch": ("POST", "/v1/batch", ""),
    "store": ("PUT", f"/v1/{KEY}", ""),
    "append-inbox": ("PUT", f"/v1/{KEY}", APPEND_INBOX),
    "delete": ("DELETE", f"/v1/{KEY}", ""),
    "fetch": ("GET", f"/v1/{KEY}", ""),
    "read-inbox": ("GET", f"/v1/{KEY}", READ_INBOX),
}


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_bodies(node: Target, endpoint: str) -> None:
    """Invariant: whatever the body is, the answer names the failure, and the node answers others afterwards."""
    method, path, pragma = ENDPOINTS[endpoint]
    world = node.wire.world
    stored = body(node.alice.signer, world.clock(), b"octets")
    signed = entry(node.alice.signer, os.urandom(32), world.clock())
    genuine = {
        "batch": encode(Batch((), (AskInbox(bytes(32)), stored.store, Append(signed)))),
        "store": frame(stored.signed) + stored.octets,
        "append-inbox": frame(signed),
        "delete": encode(stored.deletion()),
    }.get(endpoint, b"")

    @OVER_SOCKETS
    @given(bodies(genuine))
    def holds(octets: bytes) -> None:
        node.send(method, path, octets, pragma=pragma)

    holds()


@pytest.mark.parametrize("role", ["user", "node"])
def test_batches_of_any_records(node: Target, role: str) -> None:
    """Invariant: any batch that parses is answered with one result per operation, whoever sends it, and no 500."""

    @OVER_SOCKETS
    @given(values(Batch))
    def holds(batch: Record) -> None:
        octets = encode(batch)
        status = node.send("POST", "/v1/batch", octets, member=node.node if role == "node" else None)
        assert status in (200, 429)

    holds()


@pytest.mark.parametrize("pragma", ["", READ_INBOX])
def test_queries(node: Target, pragma: str) -> None:
    """Invariant: whatever the query is, it is answered or named, by GET and by read-inbox."""
    names = st.sampled_from(["digest", "kind", "identifier", "incarnation", "cursor", "instance", "x"])
    queries = st.lists(st.tuples(st.one_of(names, st.text(max_size=5)), st.text(max_size=40)), max_size=4)
    inbox = node.alice.certificate.inbox_key.hex()

    @OVER_SOCKETS
    @given(queries, st.booleans())
    def holds(query: list[tuple[str, str]], raw: bool) -> None:
        text = "&".join(f"{quote(name, errors='replace')}={quote(value, errors='replace')}" for name, value in query)
        node.send("GET", f"/v1/{inbox}?{text}{'&%ff=%00' if raw else ''}", b"", pragma=pragma)

    holds()


@pytest.mark.parametrize("field", FIELDS)
def test_header_fields(node: Target, field: str) -> None:
    """Invariant: whatever one header field says, the request is answered as if it were not there, or named."""

    @OVER_SOCKETS
    @given(TEXT, st.booleans())
    def holds(text: str, signed: bool) -> None:
        def change(headers: dict[str, str]) -> None:
            headers[field] = text if not signed else headers.get(field, "") + text

        node.send("GET", f"/v1/{KEY}", b"", pragma=READ_INBOX if signed else "", change=change)

    holds()


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_paths(node: Target, method: str) -> None:
    """Invariant: whatever the path is, nothing but a primitive is answered with success."""

    @OVER_SOCKETS
    @given(st.text(st.characters(codec="utf-8"), max_size=80))
    def holds(path: str) -> None:
        assert node.send(method, "/" + quote(path), b"") not in (200, 206)

    holds()


def test_large_bodies_that_are_not_what_they_say(node: Target) -> None:
    """Invariant: a PUT whose octets are fewer, more or others than its statement says is named and leaves nothing."""
    world = node.wire.world
    genuine = body(node.alice.signer, world.clock(), os.urandom(100_000))
    path = f"/v1/{genuine.statement.object_key.hex()}"

    @OVER_SOCKETS
    @given(st.integers(0, 100_000), st.binary(min_size=1, max_size=40), st.booleans())
    def holds(place: int, octets: bytes, replace: bool) -> None:
        end = place + len(octets) if replace else place
        changed = genuine.octets[:place] + octets + genuine.octets[end:]
        if hashlib.sha256(changed).digest() != genuine.statement.digest:
            assert node.send("PUT", path, frame(genuine.signed) + changed) in (400, 413, 422)

    holds()
    for name in ("incoming", "bodies"):
        assert not list((node.wire.running.directory / name).iterdir())


def test_deletions_of_any_kind(node: Target) -> None:
    """Invariant: a deletion of anything that parses deletes nothing of others and is named."""
    stored = body(node.alice.signer, node.wire.world.clock())
    batch = encode(Batch((), (stored.store,)))
    assert node.send("POST", "/v1/batch", batch) == 200

    @OVER_SOCKETS
    @given(values(Deletion))
    def holds(deletion: Record) -> None:
        path = f"/v1/{stored.statement.object_key.hex()}"
        assert node.send("DELETE", path, encode(deletion)) not in (200, 500)

    holds()
    assert node.wire.running.node.counts().objects == 1
