"""SPF (RFC 7208): pyspf's evaluation with our resolver's answers instead of its global one."""

import asyncio
from concurrent.futures import Executor
from typing import Any, Protocol

import spf

from gateway.mail.address import domain_in_dns
from gateway.resolver import Answer, Kind, Value
from gateway.smtp.dmarc import Checked
from p2pcore.errors import CannotKnow, Malformed

MAX_VOID_LOOKUPS = 2  # RFC 7208 §4.6.4
MAX_RECORD = 4_096  # octets; RFC 7208 §3.4 asks for 450
MAX_TERM = 512  # octets of one of its terms, whose name has 253 (§7.3); pyspf's time grows with this times the dots
MAX_DOTS = 127  # in a term: no name has more labels than 127
KINDS: tuple[Kind, ...] = ("A", "AAAA", "MX", "TXT", "PTR")


class Dns(Protocol):
    """What verification asks of the resolver."""

    async def ask(self, name: str, kind: Kind) -> Answer[Value]: ...

    async def text(self, name: str) -> Answer[bytes]: ...

    async def addresses(self, name: str) -> Answer[str]: ...

    async def names_of(self, address: str) -> Answer[str]: ...


class _Query(spf.query):  # type: ignore[misc]  # pyspf is not typed
    """pyspf's evaluator in a thread; every DNS question goes to the event loop, which asks it."""

    def __init__(
        self,
        client: str,
        local: str,
        domain: str,
        helo: str,
        resolver: Dns,
        loop: asyncio.AbstractEventLoop,
        until: float,
    ) -> None:
        super().__init__(i=client, s=f"{local}@{domain}", h=helo, strict=True)
        self.l, self.o, self.d = local, domain, domain  # pyspf splits at the first "@", which may be quoted
        self._resolver = resolver
        self._loop = loop
        self._until = until

    def dns(self, name: str, qtype: str, cnames: Any = None, ignore_void: bool = False) -> list[Any]:
        """Return the records as pyspf wants them: text, (preference, exchange), or a TXT record's strings."""
        kind = next((kind for kind in KINDS if kind == qtype), None)
        if kind is None or not name:
            return []
        left = self._until - self._loop.time()
        if left <= 0:
            raise spf.TempError("out of time")
        question = asyncio.run_coroutine_threadsafe(self._resolver.ask(str(name).removesuffix("."), kind), self._loop)
        try:
            answer = question.result(left)
        except (CannotKnow, TimeoutError) as failure:
            question.cancel()
            raise spf.TempError(str(failure)) from failure
        if not answer.values and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > MAX_VOID_LOOKUPS:
                raise spf.PermError(f"more than {MAX_VOID_LOOKUPS} void lookups")
        return list(answer.values)

    def dns_spf(self, domain: str) -> str | None:
        """Return the domain's record. Raises PermError for one of a size that only serves to keep us busy."""
        record: str | None = super().dns_spf(domain)
        if record is not None and not _is_of_sensible_size(record):
            raise spf.PermError("record or term too long")
        return record

    def get_explanation(self, spec: str) -> None:
        """Return none: nobody here shows it (RFC 7208 §6.2), so it is neither asked for nor expanded."""

    def outcome(self) -> str:
        """Return the result of `check`; permerror where a record makes pyspf stumble."""
        try:
            return str(self.check()[0])
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError):
            return "permerror"


def _is_of_sensible_size(record: str) -> bool:
    terms = record.split(" ")
    return len(record) <= MAX_RECORD and all(len(term) <= MAX_TERM and term.count(".") <= MAX_DOTS for term in terms)


async def check_sender(
    client: str, reverse_path: str, helo: str, resolver: Dns, threads: Executor, until: float
) -> Checked:
    """Return SPF's result for the reverse-path's domain, for the HELO name where it is null (RFC 7208 §2.4).

    After `until` (the loop's time) its thread asks no more.
    """
    local, _, domain = reverse_path.rpartition("@") if reverse_path else ("postmaster", "@", helo)
    try:
        name = domain_in_dns(domain)
    except Malformed:
        name = ""
    if "." not in name or domain.startswith("["):
        return Checked("none", domain)  # §4.3: not a name that can have a record
    loop = asyncio.get_running_loop()
    query = _Query(client, local, name, helo, resolver, loop, until)
    return Checked(await loop.run_in_executor(threads, query.outcome), name)
