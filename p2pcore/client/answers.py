"""Octets of requests and answers: pieces of a body on the way out, records and pieces on the way in."""

import asyncio
import base64
import binascii
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import aiohttp
import msgspec

from p2pcore import params
from p2pcore.client.framing import OBJECT_HEADER
from p2pcore.client.transport import unreachable
from p2pcore.dht.contact import Contact
from p2pcore.errors import Malformed, Unreachable
from p2pcore.records import ObjectStatement, SignedStatement, decode

R = TypeVar("R", bound=msgspec.Struct)

MAX_ANSWER: Final = 2 * params.MAX_BATCH  # octets
_READ_AHEAD: Final = 2  # segments: two wake-ups of a thread cost as much as reading one of them


def framed_digest(prefix: bytes, source: Path | bytes) -> bytes:
    """Return SHA-256(prefix ‖ source). Blocking. Raises OSError."""
    hasher = hashlib.sha256(prefix)
    if isinstance(source, bytes):
        hasher.update(source)
        return hasher.digest()
    with source.open("rb") as file:
        while piece := file.read(params.SEGMENT_SIZE):
            hasher.update(piece)
    return hasher.digest()


async def pieces(prefix: bytes, source: Path | bytes) -> AsyncIterator[bytes]:
    """Yield the octets of a request, a segment at a time: encrypting more at once would be felt on the event loop."""
    if prefix:
        yield prefix
    if isinstance(source, bytes):
        for start in range(0, len(source), params.SEGMENT_SIZE):
            yield source[start : start + params.SEGMENT_SIZE]
        return
    with source.open("rb") as file:
        while read := await asyncio.to_thread(_read_ahead, file):
            for piece in read:
                yield piece
            if len(read[-1]) < params.SEGMENT_SIZE:
                return


def _read_ahead(file: BinaryIO) -> list[bytes]:
    """Return up to _READ_AHEAD segments, as many as there are."""
    read: list[bytes] = []
    while len(read) < _READ_AHEAD and (piece := file.read(params.SEGMENT_SIZE)):
        read.append(piece)
    return read


async def received(contact: Contact, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the response's octets as they come. Raises Unreachable."""
    while True:
        try:
            piece = await response.content.readany()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise unreachable(contact, error) from error
        if not piece:
            return
        yield piece


async def answer(kind: type[R], contact: Contact, response: aiohttp.ClientResponse) -> R:
    """Return the `kind` record that the response carries. Raises Unreachable, also for nonsense."""
    pieces: list[bytes] = []
    size = 0
    async for piece in received(contact, response):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_ANSWER:
            raise Unreachable(f"{contact.endpoint}: answered with more than {MAX_ANSWER} octets")
    try:
        return decode(kind, b"".join(pieces))
    except Malformed as failure:
        raise Unreachable(f"{contact.endpoint}: {failure}") from failure


def object_of(contact: Contact, response: aiohttp.ClientResponse) -> tuple[SignedStatement, ObjectStatement]:
    """Return the object statement that a GET's answer carries. Raises Unreachable for nonsense."""
    value = response.headers.get(OBJECT_HEADER, "")
    try:
        octets = base64.b64decode(value.strip(":"), validate=True)  # RFC 9651 §3.3.5
        signed = decode(SignedStatement, octets)
    except (binascii.Error, Malformed) as failure:
        raise Unreachable(f"{contact.endpoint}: {OBJECT_HEADER}: {failure}") from failure
    if not isinstance(signed.statement, ObjectStatement):
        raise Unreachable(f"{contact.endpoint}: {OBJECT_HEADER}: not an object statement")
    return signed, signed.statement
