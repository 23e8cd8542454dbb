"""DNS answers come from the configured servers, and no answer is CannotKnow."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from dnslib import AAAA, CNAME, MX, PTR, QTYPE, RCODE, RR, TXT, A, DNSRecord

from gateway.resolver import Resolver
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow


@dataclass
class Zone(asyncio.DatagramProtocol):
    """A name server on a loopback port."""

    records: dict[str, list[RR]] = field(default_factory=dict)
    questions: list[str] = field(default_factory=list)
    silent: bool = False
    rcode: int = RCODE.NOERROR

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = DNSRecord.parse(data)
        name, kind = str(question.q.qname).lower(), QTYPE[question.q.qtype]
        self.questions.append(f"{name} {kind}")
        if self.silent:
            return
        reply = question.reply()
        if self.rcode:
            reply.header.rcode = self.rcode
        elif name not in self.records:
            reply.header.rcode = RCODE.NXDOMAIN
        for record in self.records.get(name, []):
            if QTYPE[record.rtype] in (kind, "CNAME"):
                reply.add_answer(record)
        self.transport.sendto(reply.pack(), addr)  # type: ignore[attr-defined]


@dataclass
class Served:
    zone: Zone
    resolver: Resolver


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    zone = Zone()
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: zone, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    yield Served(zone, Resolver((Endpoint("127.0.0.1", port),), timeout=2_000))
    transport.close()


def record(name: str, kind: str, data: object) -> RR:
    return RR(name, getattr(QTYPE, kind), rdata=data, ttl=60)


async def test_each_kind_of_record(served: Served) -> None:
    """Addresses, exchangers by preference, texts joined, names of an address."""
    served.zone.records = {
        "example.net.": [
            record("example.net", "MX", MX("b.example.net", 20)),
            record("example.net", "MX", MX("a.example.net", 10)),
            record("example.net", "TXT", TXT([b"one ", b"text"])),
            record("example.net", "A", A("192.0.2.1")),
            record("example.net", "AAAA", AAAA("2001:db8::1")),
        ],
        "null.example.net.": [record("null.example.net", "MX", MX(".", 0))],
        "1.2.0.192.in-addr.arpa.": [record("1.2.0.192.in-addr.arpa", "PTR", PTR("example.net"))],
        "alias.example.net.": [
            record("alias.example.net", "CNAME", CNAME("example.net")),
            record("example.net", "A", A("192.0.2.1")),
        ],
    }
    resolver = served.resolver
    assert (await resolver.mail_exchangers("example.net")).values == ((10, "a.example.net"), (20, "b.example.net"))
    assert (await resolver.mail_exchangers("null.example.net")).values == ((0, ""),)
    assert (await resolver.text("example.net")).values == (b"one text",)
    assert (await resolver.addresses("example.net")).values == ("192.0.2.1", "2001:db8::1")
    assert (await resolver.names_of("192.0.2.1")).values == ("example.net",)
    assert (await resolver.ask("alias.example.net", "A")).values == ("192.0.2.1",)


async def test_nothing_there_is_an_answer(served: Served) -> None:
    """NXDOMAIN and an empty answer differ; a name that DNS cannot hold does not exist."""
    served.zone.records = {"empty.example.net.": []}
    assert (await served.resolver.text("none.example.net")).exists is False
    empty = await served.resolver.text("empty.example.net")
    assert (empty.exists, empty.values) == (True, ())
    assert (await served.resolver.text("a" * 64 + ".example.net")).exists is False
    assert (await served.resolver.text("a..example.net")).exists is False


async def test_answers_are_remembered(served: Served) -> None:
    """For their time to live one question is asked once."""
    served.zone.records = {"example.net.": [record("example.net", "TXT", TXT([b"x"]))]}
    await served.resolver.text("example.net")
    await served.resolver.text("example.net")
    assert served.zone.questions == ["example.net. TXT"]


async def test_a_failing_server_is_cannot_know(served: Served) -> None:
    """SERVFAIL says nothing about the name."""
    served.zone.rcode = RCODE.SERVFAIL
    with pytest.raises(CannotKnow):
        await served.resolver.text("example.net")


async def test_a_silent_server_is_cannot_know() -> None:
    """After the time limit; the question is not believed answered."""
    zone = Zone(silent=True)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: zone, ("127.0.0.1", 0))
    resolver = Resolver((Endpoint("127.0.0.1", transport.get_extra_info("sockname")[1]),), timeout=100)
    with pytest.raises(CannotKnow):
        await resolver.text("example.net")
    transport.close()


def test_a_name_server_is_an_address() -> None:
    """A host name would need a name server."""
    with pytest.raises(ValueError, match=r"dns\.example\.net"):
        Resolver((Endpoint("dns.example.net", 53),))
