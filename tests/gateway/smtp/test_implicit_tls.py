"""Connections under implicit TLS count from accept on, and their handshakes end."""

import asyncio
import ssl
from typing import Any

from tests.gateway.smtp.submission_world import LOCALHOST, People, SubmissionWorld, make_submission

TIMEOUT = 20.0


def served(people: People, tls: ssl.SSLContext, **limits: int) -> SubmissionWorld:
    """A server with a listener under TLS from the first octet, to which loopback is a client like any other."""
    return make_submission(people, tls, listen_tls=(LOCALHOST,), unlimited_clients=(), limits=limits)


async def connections(world: Any, count: int) -> None:
    """Return when so many are counted."""
    async with asyncio.timeout(TIMEOUT):
        while world.server._shared.limits.connections != count:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)


async def silent(world: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that sends nothing."""
    return await asyncio.open_connection("127.0.0.1", world.server.listeners[1].port)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Return whether the server has closed without a word."""
    return await asyncio.wait_for(reader.read(), TIMEOUT) == b""


async def greeted(world: Any, tls: ssl.SSLContext) -> asyncio.StreamWriter:
    """A connection whose handshake is done."""
    port = world.server.listeners[1].port
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname="localhost")
    assert (await asyncio.wait_for(reader.readline(), TIMEOUT)).startswith(b"220 ")
    return writer


async def test_handshakes_count(people: People, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    """Who begins handshakes and goes on with none gets no more than the connections of a client."""
    async with served(people, server_tls, connections_per_client=2) as world:
        held = [await silent(world) for _ in range(2)]
        refused, writer = await silent(world)
        assert await is_closed(refused)
        writer.close()
        (line,) = world.log.named("deferred")
        assert line["reply"].startswith("421 4.7.0 ")
        for _reader, writer in held:
            writer.close()
        await connections(world, 0)
        writer = await greeted(world, client_tls)
        assert world.server._shared.limits.connections == 1
        writer.close()
    await connections(world, 0)


async def test_handshakes_count_in_all(people: People, server_tls: ssl.SSLContext) -> None:
    """They count among the connections of everybody as well."""
    async with served(people, server_tls, connections=1) as world:
        _reader, held = await silent(world)
        refused, writer = await silent(world)
        assert await is_closed(refused)
        writer.close()
        held.close()


async def test_a_failed_handshake_is_logged_and_forgotten(people: People, server_tls: ssl.SSLContext) -> None:
    """What is no TLS ends the connection, which counts no more."""
    async with served(people, server_tls) as world:
        reader, writer = await silent(world)
        writer.write(b"EHLO client.example.net\r\n")
        assert not (await asyncio.wait_for(reader.read(), TIMEOUT)).startswith(b"2")
        await connections(world, 0)
        (line,) = world.log.named("unfinished")
        assert line["reason"].startswith("TLS: ")
        writer.close()


async def test_the_end_does_not_wait_for_handshakes(people: People, server_tls: ssl.SSLContext) -> None:
    """A server that stops ends those under way."""
    async with served(people, server_tls) as world:
        reader, writer = await silent(world)
        await connections(world, 1)
    assert await is_closed(reader)
    assert world.server._shared.limits.connections == 0
    writer.close()
