"""DNS for the whole gateway: the configured name servers, asked asynchronously; the only user of dnspython."""

import asyncio
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.name
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA
from dns.rdtypes.IN.SRV import SRV

from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow

LOOKUP_TIMEOUT = 8_000  # ms for one question, all servers and repetitions together
CACHE_ENTRIES = 10_000
EDNS_PAYLOAD = 1_232  # octets; larger answers come over TCP instead of in fragments

Kind = Literal["A", "AAAA", "MX", "TXT", "PTR", "SRV"]
Value = str | tuple[int, str] | tuple[bytes, ...]
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Answer(Generic[V]):
    """`exists` is False for NXDOMAIN; a name without records of the kind asked for exists and has no `values`.

    `authentic`: the resolver says that it validated the answer (AD); believe it only from a resolver on this machine.
    """

    values: tuple[V, ...]
    exists: bool = True
    authentic: bool = False


class Resolver:
    """Asks `nameservers`, or those of /etc/resolv.conf where none are given. Names end without a dot."""

    def __init__(self, nameservers: Sequence[Endpoint] = (), *, timeout: int = LOOKUP_TIMEOUT) -> None:
        """`timeout` in ms. Raises ValueError where a name server is not an IP address."""
        for at in nameservers:
            ipaddress.ip_address(at.host)
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not nameservers)
        except dns.resolver.NoResolverConfiguration:
            self._resolver = dns.asyncresolver.Resolver(configure=False)  # every question is then CannotKnow
        if nameservers:
            self._resolver.nameservers = [dns.nameserver.Do53Nameserver(at.host, at.port) for at in nameservers]
        self._resolver.cache = dns.resolver.LRUCache(CACHE_ENTRIES)
        self._resolver.lifetime = timeout / 1_000
        self._resolver.use_edns(0, 0, EDNS_PAYLOAD)
        self._resolver.search = []

    async def ask(self, name: str, kind: Kind) -> Answer[Value]:
        """Return the records of `kind` at `name`, aliases followed. Raises CannotKnow.

        Values: addresses, names and SRV as text, MX as (preference, exchange), TXT as its strings.
        """
        try:
            asked = dns.name.from_text(name)
        except (dns.exception.DNSException, UnicodeError):
            return Answer((), exists=False)  # a name that cannot be in DNS: label too long, empty label
        try:
            found = await self._resolver.resolve(asked, kind, raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN:
            return Answer((), exists=False)
        except (dns.exception.DNSException, OSError) as error:
            raise CannotKnow(f"DNS {kind} {name}: {_reason(error)}") from error
        authentic = bool(found.response.flags & dns.flags.AD)
        records = found.rrset or ()
        return Answer(tuple(_value(record) for record in records), authentic=authentic)

    async def addresses(self, name: str) -> Answer[str]:
        """Return the A and then the AAAA records of `name`; where one kind has some, the other may be unknown.

        Raises CannotKnow.
        """
        four, six = await asyncio.gather(self._try(name, "A"), self._try(name, "AAAA"))
        if isinstance(four, CannotKnow) or isinstance(six, CannotKnow):
            for known in (four, six):
                if not isinstance(known, CannotKnow) and known.values:
                    return cast(Answer[str], known)  # a name server that fails for AAAA only must not cost the host
            raise CannotKnow(f"DNS A and AAAA {name}: not both can be had, and what can is empty")
        values = cast(tuple[str, ...], four.values + six.values)
        return Answer(values, four.exists or six.exists, four.authentic and six.authentic)

    async def _try(self, name: str, kind: Kind) -> Answer[Value] | CannotKnow:
        try:
            return await self.ask(name, kind)
        except CannotKnow as failure:
            return failure

    async def text(self, name: str) -> Answer[bytes]:
        """Return the TXT records of `name`, each record's strings joined. Raises CannotKnow."""
        found = await self.ask(name, "TXT")
        strings = cast(tuple[tuple[bytes, ...], ...], found.values)
        return Answer(tuple(b"".join(value) for value in strings), found.exists, found.authentic)

    async def mail_exchangers(self, name: str) -> Answer[tuple[int, str]]:
        """Return the MX records of `name` by preference; an exchange of "" is a null MX. Raises CannotKnow."""
        found = await self.ask(name, "MX")
        values = cast(tuple[tuple[int, str], ...], found.values)
        return Answer(tuple(sorted(values)), found.exists, found.authentic)

    async def names_of(self, address: str) -> Answer[str]:
        """Return the PTR records of an IP address. Raises CannotKnow."""
        found = await self.ask(ipaddress.ip_address(address).reverse_pointer, "PTR")
        return Answer(cast(tuple[str, ...], found.values), found.exists, found.authentic)


def _reason(error: dns.exception.DNSException | OSError) -> str:
    """Return why there is no answer, on one line."""
    if isinstance(error, dns.exception.Timeout):
        return "no answer in time"
    if isinstance(error, dns.resolver.NoNameservers):
        return "no name server could answer"
    return " ".join(str(error).split())[:200] or type(error).__name__


def _value(record: object) -> Value:
    if isinstance(record, A | AAAA):
        return str(record.address)
    if isinstance(record, MX):
        return (int(record.preference), record.exchange.to_text(omit_final_dot=True).removesuffix("."))
    if isinstance(record, PTR):
        return record.target.to_text(omit_final_dot=True)
    if isinstance(record, SRV):
        return f"{record.priority} {record.weight} {record.port} {record.target.to_text().lower()}"
    if isinstance(record, TXT):
        return tuple(record.strings)
    raise CannotKnow(f"DNS answer of another kind: {type(record).__name__}")
