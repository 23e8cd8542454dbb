"""The outside world, in a thread of the test: its authoritative DNS, and one remote MTA that does what it is told."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar, cast

from dnslib import QTYPE, DNSRecord

from p2pcore.endpoint import Endpoint
from tests.harness.machines import DOMAIN, Machine, p2pmail
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import FakeMta, Taken

REMOTE = "remote.example"  # its mail goes to the MTA
NULL = "null.example"  # takes no mail (RFC 7505)
T = TypeVar("T")


class Inside(Protocol):
    """Where the outside world is looked for, and the gateways whose records it publishes: machines.Domain."""

    resolver: Endpoint
    remote: Endpoint
    gateways: list[Machine]


class Outside:
    """Everybody else, between `start` and `stop`. The MTA's settings may be changed from the test's thread."""

    def __init__(self, domain: Inside) -> None:
        self.resolver = domain.resolver
        self.mta = FakeMta()
        self._remote = domain.remote
        self._dns = FakeDns(
            f"""
            {REMOTE}. MX 10 mail.{REMOTE}.
            mail.{REMOTE}. A {domain.remote.host}
            {NULL}. MX 0 .
            """
        )
        self._publish(domain.gateways)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="outside")

    def _publish(self, gateways: Sequence[Machine]) -> None:
        """Publish what the domain's administrator would: MX hosts in order, and each one's DKIM key."""
        for number, gateway in enumerate(gateways, 1):
            self._dns.add(f"{DOMAIN}. MX {10 * number} mx{number}.{DOMAIN}.\nmx{number}.{DOMAIN}. A {gateway.host}")
            self._dns.add(p2pmail(gateway, "dkim"))

    def publish(self, zone: str) -> None:
        """Add lines of a zone file."""
        self._dns.add(zone)

    def start(self) -> None:
        self._thread.start()
        self._do(self._dns.start(self.resolver.host, self.resolver.port))
        self._do(self.mta.start(self._remote.host, self._remote.port))

    def stop(self) -> None:
        self._do(self.mta.stop())
        self._do(self._dns.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def taken(self, token: str) -> list[Taken]:
        """What the remote MTA has taken that contains `token`."""
        return [taken for taken in list(self.mta.taken) if token.encode() in taken.content]

    def text(self, name: bytes, timeout: float = 5) -> bytes | None:
        """The TXT record of a name, asked for over the network as a verifier does; None where there is none."""
        question = DNSRecord.question(name.decode(), "TXT")
        reply = DNSRecord.parse(question.send(self.resolver.host, self.resolver.port, timeout=timeout))
        texts = [record.rdata.data for record in reply.rr if QTYPE[record.rtype] == "TXT"]
        return b"".join(cast(list[bytes], texts[0])) if texts else None

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)
