"""Bodies of requests, read with bounds of size and time before anything is made of them."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable
from typing import Final, TypeVar

from aiohttp import web
from multidict import MultiMapping

from p2pcore import params
from p2pcore.client.framing import LENGTH_OCTETS, statement_length
from p2pcore.errors import Malformed, Tampered, TooLarge, Unreachable
from p2pcore.records import SignedStatement, decode

T = TypeVar("T")

_LARGE: Final = 256 << 10  # octets above which hashing goes to a thread
KEY_PATH: Final = re.compile(r"/v1/[0-9a-f]{64}\Z")


async def whole(request: web.BaseRequest, limit: int) -> bytes:
    """Return the whole body. Raises TooLarge over `limit` octets, Unreachable where it comes too slowly."""
    return await rest(request, 0, limit)


async def rest(request: web.BaseRequest, before: int, limit: int) -> bytes:
    """Return what follows the first `before` octets, at most `limit`. Raises TooLarge, Unreachable."""
    announced = request.content_length
    if announced is not None and announced > before + limit:
        raise TooLarge(f"a body of {announced} octets, over {before + limit}")
    if request.content.is_eof():  # all of it has come with the header, most often
        octets = request.content.read_nowait()
        if len(octets) > limit:
            raise TooLarge(f"a body of more than {before + limit} octets")
        return octets
    pieces: list[bytes] = []
    size = 0

    async def read() -> None:
        nonlocal size
        while piece := await request.content.readany():
            size += len(piece)
            if size > limit:
                raise TooLarge(f"a body of more than {before + limit} octets")
            pieces.append(piece)

    await in_time(read(), limit if announced is None else max(0, announced - before))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def statement(request: web.BaseRequest) -> tuple[SignedStatement, bytes]:
    """Return the statement that a PUT's body begins with, and the octets read so far. Raises Malformed, Unreachable."""

    async def read() -> tuple[bytes, bytes]:
        prefix = await request.content.readexactly(LENGTH_OCTETS)
        return prefix, await request.content.readexactly(statement_length(prefix))

    try:
        prefix, octets = await in_time(read(), 0)
    except asyncio.IncompleteReadError:
        raise Malformed("the body ends before the statement does") from None
    return decode(SignedStatement, octets), prefix + octets


async def arriving(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """Yield the rest of the body as it arrives."""
    while piece := await request.content.readany():
        yield piece


def sha256(octets: bytes) -> bytes:
    """Return the SHA-256 of `octets`."""
    return hashlib.sha256(octets).digest()


async def digest_of(octets: bytes) -> bytes:
    """Return the SHA-256 of `octets`, which may be many."""
    return await asyncio.to_thread(sha256, octets) if len(octets) > _LARGE else sha256(octets)


async def compare(request: web.BaseRequest, size: int, digest: bytes) -> None:
    """Read the rest of the body and keep nothing of it. Raises Tampered if it is not `size` octets of this SHA-256."""
    hasher = hashlib.sha256()
    received = 0
    async for piece in arriving(request):
        received += len(piece)
        if received > size:
            break
        await asyncio.to_thread(hasher.update, piece)
    if received != size or hasher.digest() != digest:
        raise Tampered(f"the body is not the {size} octets with digest {digest.hex()}")


async def in_time(reading: Awaitable[T], size: int) -> T:
    """Return what `reading` returns within the time that `size` octets may take. Raises Unreachable."""
    seconds = params.REQUEST_TIMEOUT / params.SECOND + size / params.MIN_THROUGHPUT
    try:
        async with asyncio.timeout(seconds):
            return await reading
    except TimeoutError:
        raise Unreachable(f"the body did not pass within {seconds:.0f} s") from None


def abort(request: web.BaseRequest) -> None:
    """Close the request's connection without waiting for anything."""
    if request.transport is not None:
        request.transport.abort()


def query_of(request: web.BaseRequest) -> dict[str, str]:
    """Return the query's parameters. Raises Malformed where one is given twice."""
    query: MultiMapping[str] = request.query
    if len(set(query)) != len(query):
        raise Malformed("a query parameter is given twice")
    return dict(query)


def key_of(request: web.BaseRequest) -> bytes:
    """Return the key in the path, which matches KEY_PATH."""
    return bytes.fromhex(request.path.removeprefix("/v1/"))


def check_key(request: web.BaseRequest, key: bytes) -> None:
    """Return if the path names `key`. Raises Malformed."""
    if key_of(request) != key:
        raise Malformed(f"the statement is of key {key.hex()}, the path of another")
