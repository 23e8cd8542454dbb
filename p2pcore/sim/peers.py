"""The seam over the primitives: requests reach a node's `Service` without HTTP and TLS, as octets that are counted."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from p2pcore import params
from p2pcore.client.peers import Sink
from p2pcore.client.results import value_of
from p2pcore.dht.contact import Contact
from p2pcore.errors import Malformed, Unreachable
from p2pcore.records import (
    Batch,
    Fetch,
    FetchedBody,
    InboxPage,
    ObjectStatement,
    Operation,
    Result,
    SignedStatement,
    Store,
    decode,
    encode,
)
from p2pcore.sim.members import Member
from p2pcore.sim.network import Host, Network
from p2pcore.sim.virtual_time import virtual_clock

REQUEST_HEADERS: Final = 900  # octets: HTTP/1.1 header with an RFC 9421 signature; handshakes are left out
REPLY_HEADERS: Final = 300


class SimulatedPeers:
    """What `PeerClient` is, for `member`; `purpose` is what its traffic is counted as."""

    def __init__(self, network: Network, member: Member, purpose: str) -> None:
        self._network = network
        self._member = member
        self._purpose = purpose

    async def call(self, contact: Contact, operations: Sequence[Operation]) -> list[Result]:
        """As Peers.call."""
        octets = encode(Batch((), tuple(operations)))
        created = virtual_clock()
        host = await self._reach(contact, len(octets))
        reply = await host.service.batch(octets, self._member.certificate, created)
        await self._return(contact, host, len(encode(reply)))
        return list(reply.results)

    async def put_body(self, contact: Contact, signed: SignedStatement, source: Path | bytes) -> None:
        """As Peers.put_body, for bodies that fit a batch."""
        octets = source if isinstance(source, bytes) else await asyncio.to_thread(source.read_bytes)
        value_of((await self.call(contact, [Store(signed, octets)]))[0])

    async def get_body(
        self, contact: Contact, object_key: bytes, digest: bytes, sink: Sink, size: int = params.MAX_BODY
    ) -> SignedStatement:
        """As Peers.get_body, for bodies that fit a batch."""
        fetched = decode(FetchedBody, value_of((await self.call(contact, [Fetch(object_key, digest)]))[0]))
        if not isinstance(fetched.object.statement, ObjectStatement):
            raise Malformed("not an object's statement")
        await sink(fetched.body)
        return fetched.object

    async def read_inbox(
        self,
        contact: Contact,
        inbox_key: bytes,
        incarnation: bytes,
        cursor: int,
        wait_ms: int,
        instance: bytes = b"",
    ) -> InboxPage:
        """As Peers.read_inbox."""
        host = await self._reach(contact, 0)
        reads = host.service.inbox_reads
        octets = await reads.page(self._member.certificate, inbox_key, incarnation, cursor, wait_ms, instance)
        await self._return(contact, host, len(octets))
        return decode(InboxPage, octets)

    async def _reach(self, contact: Contact, octets: int) -> Host:
        self._network.count(self._purpose, octets + REQUEST_HEADERS)
        await asyncio.sleep(self._network.links.delay())
        host = self._network.hosts.get(contact)
        if host is None:
            await asyncio.sleep(params.REQUEST_TIMEOUT / params.SECOND)
            raise Unreachable(f"{contact.endpoint}: no answer")
        return host

    async def _return(self, contact: Contact, host: Host, octets: int) -> None:
        self._network.count(self._purpose, octets + REPLY_HEADERS)
        await asyncio.sleep(self._network.links.delay())
        if self._network.hosts.get(contact) is not host:
            await asyncio.sleep(params.REQUEST_TIMEOUT / params.SECOND)
            raise Unreachable(f"{contact.endpoint}: went away while it answered")
