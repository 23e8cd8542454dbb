"""An authoritative name server on loopback for tests: UDP and TCP on one port, zone text, and failures on demand."""

import asyncio
import struct
from collections import Counter
from typing import cast

from dnslib import QTYPE, RCODE, RR, DNSRecord

from p2pcore.endpoint import Endpoint


class FakeDns:
    """Answers from `zone` (lines of a zone file); names that are not there do not exist.

    `broken` ones ("name", or "name TYPE") get SERVFAIL.

    `asked` counts questions as (name, type).
    """

    def __init__(self, zone: str = "") -> None:
        self.broken: set[str] = set()
        self.asked: Counter[tuple[str, str]] = Counter()
        self.endpoint = Endpoint("127.0.0.1", 0)
        self._records: list[RR] = []
        self._transport: asyncio.DatagramTransport | None = None
        self._datagrams: _Datagrams | None = None
        self._server: asyncio.Server | None = None
        self.add(zone)

    def add(self, zone: str) -> None:
        """Add records; names without a dot at the end are complete all the same."""
        self._records += RR.fromZone("\n".join(line.strip() for line in zone.splitlines()), ttl=60)

    def replace(self, zone: str) -> None:
        """Forget all records but these."""
        self._records.clear()
        self.add(zone)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes one that is free for both UDP and TCP."""
        loop = asyncio.get_running_loop()
        while True:
            self._server = await asyncio.start_server(self._serve, host, port)
            bound = self._server.sockets[0].getsockname()[1]
            try:
                self._transport, self._datagrams = await loop.create_datagram_endpoint(
                    lambda: _Datagrams(self), local_addr=(host, bound)
                )
            except OSError:
                self._server.close()
                if port:
                    raise
                continue
            self.endpoint = Endpoint(host, bound)
            return

    async def stop(self) -> None:
        if self._transport is not None and self._datagrams is not None:
            self._transport.close()
            await self._datagrams.closed.wait()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def answer(self, octets: bytes) -> bytes:
        """Return the reply to one question."""
        question = DNSRecord.parse(octets)
        reply = question.reply()
        name = str(question.q.qname).rstrip(".").lower()
        kind = str(QTYPE[question.q.qtype])
        self.asked[name, kind] += 1
        if {name, f"{name} {kind}"} & self.broken:
            reply.header.rcode = RCODE.SERVFAIL
            return cast(bytes, reply.pack())
        here = [record for record in self._records if str(record.rname).rstrip(".").lower() == name]
        if not here:
            reply.header.rcode = RCODE.NXDOMAIN
        for record in here:
            if QTYPE[record.rtype] == kind:
                reply.add_answer(record)
        return cast(bytes, reply.pack())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">H", await reader.readexactly(2))
                reply = self.answer(await reader.readexactly(size))
                writer.write(struct.pack(">H", len(reply)) + reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: FakeDns) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport | None = None
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(self._server.answer(data), addr)
