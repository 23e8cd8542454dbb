"""The single requests of Table 3 and the batch, each from an authenticated request to its response."""

import asyncio
import base64
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final, TypeVar

from aiohttp import web

from p2pcore import names, params
from p2pcore.client.framing import MAX_STATEMENT, OBJECT_HEADER, TIME_HEADER
from p2pcore.errors import Malformed, NotFound, Tampered, TemporaryFailure, Unreachable
from p2pcore.node import objects, queries, reading, versioned
from p2pcore.node.admitted import Admitted
from p2pcore.node.bodies import INLINE
from p2pcore.node.gate import Caller
from p2pcore.node.operations import Writing
from p2pcore.node.reading import sha256
from p2pcore.node.service import Service
from p2pcore.records import (
    Deletion,
    EntryStatement,
    ObjectStatement,
    Publish,
    PublishedVersion,
    SignedStatement,
    VersionStatement,
    decode,
    encode,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)

_OCTETS: Final = "application/octet-stream"


class Handlers:
    """Each method answers one kind of request, or raises Failure."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def batch(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """POST /v1/batch."""
        octets = await reading.whole(request, params.MAX_BATCH)
        caller.check(await reading.digest_of(octets))
        reply = await self._service.batch(octets, caller.certificate, caller.created)
        return web.Response(body=encode(reply), content_type=_OCTETS)

    async def store(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """PUT of an object or a versioned object: statement length ‖ statement ‖ octets."""
        signed, prefix = await reading.statement(request)
        match signed.statement:
            case ObjectStatement(object_key=key):
                reading.check_key(request, key)
                await self._store_object(request, caller, signed, prefix)
            case VersionStatement():
                reading.check_key(request, names.key_of(signed.statement.identifier))
                content = await reading.rest(request, len(prefix), params.MAX_DOMAIN_RECORD)
                caller.check(await reading.digest_of(prefix + content))
                await self._apply(Publish(PublishedVersion(signed, content)), caller)
            case statement:
                raise Malformed(f"{type(statement).__name__} is nothing to store")
        return web.Response()

    async def append_inbox(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """PUT with Pragma append-inbox: statement length ‖ entry statement."""
        signed, prefix = await reading.statement(request)
        caller.check(sha256(prefix + await reading.rest(request, len(prefix), 0)))
        if not isinstance(signed.statement, EntryStatement):
            raise Malformed(f"{type(signed.statement).__name__} is no entry")
        reading.check_key(request, signed.statement.inbox_key)
        step = await self._on_thread(lambda: self._service.operations.append(signed, caller.certificate))
        await self._service.step(step, caller.created)
        return web.Response()

    async def delete(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """DELETE of an object: an encoded Deletion."""
        octets = await reading.whole(request, MAX_STATEMENT)
        caller.check(sha256(octets))
        deletion = decode(Deletion, octets)
        if not isinstance(deletion.object.statement, ObjectStatement):
            raise Malformed(f"{type(deletion.object.statement).__name__} is no object")
        reading.check_key(request, deletion.object.statement.object_key)
        step = await self._on_thread(lambda: self._service.operations.delete(deletion))
        await self._service.step(step, caller.created)
        return web.Response()

    async def fetch(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """GET of an object (ranges served) or a versioned object (an encoded PublishedVersion)."""
        caller.check(sha256(await reading.whole(request, 0)))
        key = reading.key_of(request)
        query = queries.parse_fetch(key, reading.query_of(request))
        await self._service.nonces.settle(caller.created)
        if isinstance(query, queries.VersionQuery):
            kind, identifier = query.kind, query.identifier
            octets = await self._service.storage.read(lambda db: encode(versioned.resolve(db, kind, identifier)))
            return web.Response(body=octets, content_type=_OCTETS)
        digest = query.digest
        found = await self._service.storage.read(lambda db: objects.find(db, key, digest))
        self._service.uses.note(found.number)
        return await self._send(request, found)

    async def read_inbox(self, request: web.BaseRequest, caller: Caller) -> web.StreamResponse:
        """GET with Pragma read-inbox; waits for news as long as Prefer allows."""
        caller.check(sha256(await reading.whole(request, 0)))
        query = queries.parse_inbox(reading.query_of(request))
        wait = queries.parse_wait(request.headers.get("Prefer", ""))
        await self._service.nonces.settle(caller.created)
        page = await self._service.inbox_reads.page(
            caller.certificate, reading.key_of(request), query.incarnation, query.cursor, wait, query.instance
        )
        return web.Response(body=page, content_type=_OCTETS)

    async def _store_object(
        self, request: web.BaseRequest, caller: Caller, signed: SignedStatement, prefix: bytes
    ) -> None:
        service = self._service
        admitted = service.operations.admit_object(signed, caller.certificate)  # one signature, as at the gate
        size = admitted.statement.size
        if request.content_length is not None and request.content_length != len(prefix) + size:
            raise Malformed(f"a body of {request.content_length} octets for an object of {size}")
        if size <= INLINE:
            octets = await reading.rest(request, len(prefix), size)
            caller.check(sha256(prefix + octets))
            if len(octets) != size or sha256(octets) != admitted.statement.digest:
                raise Tampered("the object does not match its statement's digest")
            await service.step(service.operations.store(admitted, octets=octets), caller.created)
            return
        if not await self._is_wanted(admitted):
            await reading.in_time(reading.compare(request, size, admitted.statement.digest), size)
            await service.nonces.settle(caller.created)
            if await self._is_wanted(admitted):
                raise TemporaryFailure("the object went while it came again")
            return
        await service.clear(size)
        with service.room(size, admitted.certificate):
            # Every octet is bound already, the statement's by its signature, the body's by the digest in it: a second
            # pass over a large body for Content-Digest would tell nothing more
            receiving = service.bodies.receive(reading.arriving(request), size, admitted.statement.digest)
            file = await reading.in_time(receiving, size)
            await service.step(service.operations.store(admitted, file=file), caller.created, file)

    async def _is_wanted(self, admitted: Admitted[ObjectStatement]) -> bool:
        return await self._service.storage.read(lambda db: objects.is_wanted(db, admitted.identity))

    async def _apply(self, operation: Publish, caller: Caller) -> None:
        step = await self._on_thread(lambda: self._service.operations.check_all((operation,), caller.certificate)[0])
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Writing)
        await self._service.step(step, caller.created)

    async def _send(self, request: web.BaseRequest, found: objects.Found) -> web.StreamResponse:
        """Send an object's octets, or the range of them that is asked for."""
        asked = request.headers.get("Range", "")
        try:
            part = queries.parse_range(asked, found.size) if asked else None
        except Malformed as failure:
            time = str(self._service.nonces.time())
            headers = {"Content-Range": f"bytes */{found.size}", TIME_HEADER: time}  # RFC 9110 §14.4
            return web.Response(status=416, text=f"Malformed: {failure}", headers=headers)
        start, stop = part or (0, found.size)
        response = web.StreamResponse(status=206 if part else 200)
        response.content_type = _OCTETS
        response.content_length = stop - start
        response.headers["Accept-Ranges"] = "bytes"
        response.headers[OBJECT_HEADER] = f":{base64.b64encode(found.signed).decode()}:"
        if part:
            response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{found.size}"
        async with aclosing(self._pieces(found, start, stop)) as pieces:
            try:
                piece = await anext(pieces, b"")  # before the status line: the file may just have been deleted
            except FileNotFoundError:
                raise NotFound("the object was deleted just now") from None
            await response.prepare(request)
            left = stop - start
            while piece:
                left -= len(piece)
                try:
                    await reading.in_time(response.write(piece), len(piece))
                except Unreachable as failure:
                    _log.info("body of object %s is not taken: %s", reading.key_of(request).hex(), failure)
                    reading.abort(request)
                    return response
                piece = await anext(pieces, b"")
        if left:
            _log.error("body of object %s is %d octets short on disk", reading.key_of(request).hex(), left)
            reading.abort(request)  # else the client would wait for the rest
        await response.write_eof()
        return response

    async def _pieces(self, found: objects.Found, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        if not found.file:
            yield found.octets[start:stop]
            return
        async with aclosing(self._service.bodies.read(found.file, start, stop)) as pieces:
            async for piece in pieces:
                yield piece

    async def _on_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._service.threads, function)
