"""Connections: thousands that say nothing, or little, keep no member out and hold nothing for long."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import aiohttp
import pytest

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.errors import Unreachable
from p2pcore.node import connections
from p2pcore.node.settings import Limits
from p2pcore.records import AskInbox, Batch, Fetch, encode
from tests.p2pcore.node.test_requests import Wire
from tests.support.identities import Member, World
from tests.support.nodes import Running, body, client_of, entry, running_node

MOST = 12
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def world() -> World:
    return World()


@pytest.fixture
async def node(world: World, tmp_path: Path) -> AsyncIterator[Running]:
    async with running_node(world, tmp_path / "node", limits=Limits(connections=MOST)) as running:
        yield running


def stranger_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def connect(node: Running) -> Stream:
    """A connection of somebody who has done the handshake and nothing else."""
    return await asyncio.open_connection("127.0.0.1", node.node.port, ssl=stranger_tls())


async def ended(stream: Stream) -> None:
    """Return once the node has closed this connection."""
    reader, writer = stream
    try:
        while await reader.read(1_000):
            pass
    except OSError:
        pass
    writer.close()


def count(node: Running) -> int:
    listening = node.node._server._connections
    assert listening is not None
    return listening.count


async def ask(client: PeerClient, node: Running) -> None:
    [result] = await client.call(node.contact, [AskInbox(bytes(32))])
    assert result.status == 200


async def test_idle_strangers_give_way_to_each_other(world: World, node: Running) -> None:
    """Five times as many as there may be connect and say nothing: members are served, on the connection they had."""
    async with client_of(world, world.user("alice")) as alice, client_of(world, world.user("bob")) as bob:
        await ask(alice, node)
        before = client_ports(alice)
        streams = [await connect(node) for _ in range(5 * MOST)]
        assert count(node) <= MOST
        await ask(alice, node)
        await ask(bob, node)
        assert client_ports(alice) == before
        for stream in streams[: 3 * MOST]:
            await ended(stream)
        for _, writer in streams[3 * MOST :]:
            writer.close()


def client_ports(client: PeerClient) -> set[int]:
    """The local ports of a client's pooled connections."""
    session = client._transport._sessions[False]
    assert isinstance(session.connector, aiohttp.TCPConnector)
    pooled = [handler for handlers in session.connector._conns.values() for handler, _ in handlers]
    return {handler.transport.get_extra_info("sockname")[1] for handler in pooled if handler.transport}


async def test_where_everybody_is_at_work_newcomers_wait_outside(world: World, node: Running) -> None:
    """A connection whose request is under way never gives way."""
    users = [world.user(f"user{number}") for number in range(MOST)]
    waiting: list[asyncio.Task[object]] = []
    clients = []
    for user in users:
        client = PeerClient(user.signer, world.trust(user), world.clock)
        clients.append(client)
        inbox = user.certificate.inbox_key
        waiting.append(asyncio.create_task(client.read_inbox(node.contact, inbox, b"", 0, params.WATCH_WAIT)))
        await until(lambda inbox=inbox: node.node.watched(inbox))  # type: ignore[misc]
    with pytest.raises((OSError, ssl.SSLError)):
        await connect(node)
    assert not any(task.done() for task in waiting)
    waiting[0].cancel()
    await asyncio.wait([waiting[0]])
    await clients[0].close()
    await until(lambda: count(node) < MOST)
    async with client_of(world, world.gateway()) as gateway:
        await ask(gateway, node)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    for client in clients:
        await client.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0)


@pytest.mark.parametrize("said", [b"", b"GET /v1/batch HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_stranger_has_little_time(node: Running, monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    """Who has signed no request when his time is over is cut off: silent, dripping a header, or asking for nothing."""
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    stream = await connect(node)
    stream[1].write(said)
    await ended(stream)
    assert count(node) == 0


async def test_a_silent_handshake_has_little_time(node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection without any TLS is closed, and what cannot be TLS at once."""
    monkeypatch.setattr(connections, "_HANDSHAKE", 0.2)
    await ended(await asyncio.open_connection("127.0.0.1", node.node.port))
    stream = await asyncio.open_connection("127.0.0.1", node.node.port)
    stream[1].write(b"EHLO example.org\r\n")
    await ended(stream)
    await until(lambda: count(node) == 0)


async def test_silent_handshakes_give_way_to_each_other(
    world: World, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Handshakes are bounded too; the one that began longest ago makes place for a newcomer."""
    monkeypatch.setattr(connections, "_HANDSHAKES", 3)
    streams = [await asyncio.open_connection("127.0.0.1", node.node.port) for _ in range(9)]
    async with client_of(world, world.gateway()) as gateway:
        await ask(gateway, node)
    for stream in streams[:6]:
        await ended(stream)
    for _, writer in streams:
        writer.close()


async def test_a_member_may_be_silent_for_longer(world: World, node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a request was signed by somebody admitted, the connection is kept for the next."""
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    stream = await connect(node)
    async with client_of(world, world.user("alice")) as alice:
        await ask(alice, node)
        before = client_ports(alice)
        await ended(stream)
        await ask(alice, node)
        assert client_ports(alice) == before


async def test_a_member_is_not_silent_for_ever(world: World, node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member's connection goes as well when nothing was asked on it for long."""
    monkeypatch.setattr(connections, "FIRST_REQUEST", 0.2)
    monkeypatch.setattr(connections, "_UNREAD", 0.2)
    async with client_of(world, world.user("alice")) as alice:
        await ask(alice, node)
        await until(lambda: count(node) == 0)


async def signed_head(world: World, node: Running, member: Member, body_size: int) -> bytes:
    """The header of a signed POST that announces `body_size` octets."""
    async with aiohttp.ClientSession() as session:
        headers = Wire(world, node, session).signed(member, body=bytes(body_size))
    return head_of(headers, body_size)


def head_of(headers: Mapping[str, str], body_size: int) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(["POST /v1/batch HTTP/1.1", "Host: x", f"Content-Length: {body_size}", *lines, "", ""]).encode()


async def post(node: Running, head: bytes, body: bytes) -> Stream:
    """A connection on which this request has been sent, and of whose answer the system takes little."""
    little = socket.socket()
    little.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    little.setblocking(False)
    await asyncio.get_running_loop().sock_connect(little, ("127.0.0.1", node.node.port))
    stream = await asyncio.open_connection(sock=little, ssl=stranger_tls(), server_hostname="")
    stream[1].transport.pause_reading()  # type: ignore[attr-defined]
    stream[1].write(head + body)
    return stream


async def test_one_signer_leaves_connections_to_others(world: World, tmp_path: Path) -> None:
    """Whoever holds up more requests than one signer may have under way is refused, and others are served."""
    alice, bob = world.user("alice"), world.user("bob")
    limits = Limits(connections=MOST, requests_of_signer=4)
    async with running_node(world, tmp_path / "strict", limits=limits) as node:
        streams = []
        for _ in range(MOST):
            streams.append(await connect(node))
            streams[-1][1].write(await signed_head(world, node, alice, 1_000) + b"drip")
        refused = [asyncio.create_task(reader.readline()) for reader, _ in streams]
        async with asyncio.timeout(params.REQUEST_TIMEOUT / params.SECOND / 2):
            while sum(task.done() for task in refused) < MOST - 4:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0)
        assert {task.result()[:13] for task in refused if task.done()} == {b"HTTP/1.1 429 "}
        async with client_of(world, bob) as client:
            await ask(client, node)
        for _, writer in streams:
            writer.transport.abort()
        await asyncio.wait(refused)
        async with client_of(world, alice) as client:
            await until(lambda: count(node) == 0)
            await ask(client, node)


async def test_an_answer_is_under_way_until_it_is_taken(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for much and takes nothing may not ask for more meanwhile, and is cut off in the end."""
    alice, bob = world.user("alice"), world.user("bob")
    stored = body(alice.signer, world.clock(), bytes(params.INLINE_BODY))
    batch = encode(Batch((), (Fetch(stored.statement.object_key, b""),) * 7))
    limits = Limits(requests_of_signer=1)
    async with running_node(world, tmp_path / "strict", limits=limits) as node, aiohttp.ClientSession() as session:
        wire = Wire(world, node, session)
        async with client_of(world, alice) as client:
            await client.call(node.contact, [stored.store])
        under_way = node.node._server._under_way._counts
        _, writer = await post(node, head_of(wire.signed(alice, body=batch), len(batch)), batch)
        await until(lambda: bool(under_way))
        assert (await wire.send(wire.signed(alice)))[:2] == (429, "RateLimited")
        assert (await wire.send(wire.signed(bob)))[0] == 200
        writer.transport.abort()
        await until(lambda: not under_way)
        assert (await wire.send(wire.signed(alice)))[0] == 200
        monkeypatch.setattr(params, "REQUEST_TIMEOUT", 200)
        monkeypatch.setattr(params, "MIN_THROUGHPUT", 1 << 30)
        _, writer = await post(node, head_of(wire.signed(alice, body=batch), len(batch)), batch)
        await until(lambda: bool(under_way))
        await until(lambda: not under_way)
        await until(lambda: count(node) == 1)
        writer.transport.abort()


async def test_a_body_that_drips_is_given_up(world: World, node: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come within its time is answered so, and the connection does not stay."""
    monkeypatch.setattr(params, "REQUEST_TIMEOUT", 200)
    stream = await connect(node)
    reader, writer = stream
    writer.write(await signed_head(world, node, world.user("alice"), 1_000) + b"drip")
    assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"P2pmail-Time" in head
    assert (await reader.readexactly(12)) == b"Unreachable:"
    writer.close()


async def test_a_body_that_nobody_takes_is_given_up(
    world: World, node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks for a large body and reads none of it does not hold the node's memory for long."""
    gateway = world.gateway()
    stored = body(gateway.signer, world.clock(), bytes(40 << 20))
    async with client_of(world, gateway) as client:
        await client.put_body(node.contact, stored.signed, stored.octets)
    monkeypatch.setattr(params, "REQUEST_TIMEOUT", 200)
    monkeypatch.setattr(params, "MIN_THROUGHPUT", 1 << 30)
    path = f"/v1/{stored.statement.object_key.hex()}"
    async with aiohttp.ClientSession() as session:
        headers = Wire(world, node, session).signed(gateway, "GET", path, b"")
    lines = [f"{name}: {value}" for name, value in headers.items()]
    _reader, writer = await connect(node)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *lines, "", ""]).encode())
    await until(lambda: writer.transport.is_closing() or count(node) <= 1)
    await until(lambda: count(node) == 0 or writer.transport.is_closing())
    writer.transport.abort()


async def test_reads_that_wait_are_bounded_per_inbox(world: World, tmp_path: Path) -> None:
    """The owner's reads beyond a number of them are answered at once, as each would keep a connection."""
    alice, gateway = world.user("alice"), world.gateway()
    inbox = alice.certificate.inbox_key
    async with (
        running_node(world, tmp_path / "roomy") as node,
        client_of(world, alice) as client,
        client_of(world, gateway) as as_gateway,
    ):
        waiting = [
            asyncio.create_task(client.read_inbox(node.contact, inbox, b"", 0, params.WATCH_WAIT)) for _ in range(20)
        ]
        async with asyncio.timeout(params.WATCH_WAIT / params.SECOND / 2):
            while sum(task.done() for task in waiting) < 4:
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                waiting = sorted(waiting, key=lambda task: task.done())
                if sum(task.done() for task in waiting) < 4:
                    await asyncio.sleep(0)
        assert sum(task.done() for task in waiting) == 4
        await as_gateway.append_inbox(node.contact, entry(gateway.signer, inbox, world.clock()))
        pages = await asyncio.gather(*waiting)
        assert sorted(len(page.entries) for page in pages) == [0] * 4 + [1] * 16


async def test_a_node_that_stopped_has_no_connections(world: World, tmp_path: Path) -> None:
    """Stopping ends idle ones, handshakes and listeners."""
    async with running_node(world, tmp_path / "other") as node:
        streams = [await connect(node), await asyncio.open_connection("127.0.0.1", node.node.port)]
    for stream in streams:
        await ended(stream)
    with pytest.raises(OSError):
        await connect(node)
    async with client_of(world, world.user("alice")) as alice:
        with pytest.raises(Unreachable):
            await ask(alice, node)
