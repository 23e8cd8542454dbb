"""What DNS says about clients, senders and authors' domains: looked up once for all who ask, believed for a minute.

A server that delivers seldom has one message for us only, and evaluating SPF takes longer than sealing a message.
What could not be known is asked anew.
"""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

from msgspec import Struct
from publicsuffixlist import PublicSuffixList

from gateway.smtp import dmarc, params
from gateway.smtp.dmarc import Checked, Policy
from gateway.smtp.sender_policy import Dns, check_sender
from p2pcore.clock import Clock
from p2pcore.errors import CannotKnow
from p2pcore.mail.cache import FreshCache

_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,251}[A-Za-z0-9_])?\Z")


class SenderKey(Struct, frozen=True):
    """All that SPF's result depends on besides DNS."""

    address: str
    reverse_path: str
    helo: str


class Published(Struct, frozen=True):
    """An author's domain's policy, None without one; `inherited`: it is its organisation's (RFC 7489 §6.6.3)."""

    policy: Policy | None
    inherited: bool


class Lookups:
    """The three caches; a load that DNS keeps waiting ends after `deadline` seconds. `stop` last."""

    def __init__(self, resolver: Dns, clock: Clock, deadline: float) -> None:
        self._resolver = resolver
        self._deadline = deadline
        self._suffixes = PublicSuffixList()
        self._threads = ThreadPoolExecutor(params.VERIFY_THREADS, "spf")
        kept = {"lifetime": params.VERIFY_CACHE, "size": params.VERIFY_CACHED}
        self.spf: FreshCache[SenderKey, Checked] = FreshCache(self._spf, clock, **kept)
        self.client_name: FreshCache[str, str] = FreshCache(self._name_of, clock, **kept)
        self.policy: FreshCache[str, Published] = FreshCache(self._policy, clock, **kept)

    async def stop(self) -> None:
        """End what is being looked up; threads still waiting for DNS end by themselves."""
        for cache in (self.spf, self.client_name, self.policy):
            await cache.stop()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def organisation(self, domain: str) -> str:
        """Return the organisational domain (RFC 7489 §3.2)."""
        return str(self._suffixes.privatesuffix(domain) or domain)

    async def _spf(self, key: SenderKey) -> Checked:
        until = asyncio.get_running_loop().time() + self._deadline
        found = await check_sender(key.address, key.reverse_path, key.helo, self._resolver, self._threads, until)
        if found.result == "temperror":
            raise CannotKnow(f"SPF of {key.reverse_path or key.helo}")
        return found

    async def _policy(self, author: str) -> Published:
        async with asyncio.timeout(self._deadline):
            records, organisation = await self._records(author), self.organisation(author)
            inherited = not records and organisation != author  # §6.6.3 step 3: only where there is no record at all
            if inherited:
                records = await self._records(organisation)
        policy = dmarc.parse_policy(records[0]) if len(records) == 1 else None  # step 5: several count as none
        return Published(policy, inherited=inherited)

    async def _records(self, domain: str) -> list[bytes]:
        answer = await self._resolver.text(f"_dmarc.{domain}")
        return [text for text in answer.values if dmarc.is_record(text)]

    async def _name_of(self, address: str) -> str:
        """Return the client's name where it leads back to its address (RFC 8601 §2.7.3), else ""."""
        async with asyncio.timeout(self._deadline):
            for name in (await self._resolver.names_of(address)).values[:3]:
                if _HOST_NAME.match(name) and address in (await self._resolver.addresses(name)).values:
                    return name
        return ""
