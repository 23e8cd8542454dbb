"""Which MTA-STS policy holds for a domain now: from DNS and HTTPS, or from the cache (RFC 8461).

| DNS names | the cache has | policy |
|---|---|---|
| an ID | this ID, younger than a day | the cached one |
| an ID | another ID, none, or one a day old | the one fetched now; where that fails, the cached one while it holds |
| nothing, or DNS does not answer | one that holds | the cached one (§5.1) |
| nothing, or DNS does not answer | nothing that holds | none |

Between `start` and `stop` what is kept is looked at once a day, mail or no mail, so that a policy does not run out just
before somebody hides its successor (§3.3, §10.2).

A fetch that failed is not repeated for FETCH_PAUSE, unless the ID changes. Names are resolved by the gateway's own
resolver; the certificate must be one for mta-sts.<domain>; redirects are not followed and nothing but 200 counts.
"""

import asyncio
import socket
import ssl
from typing import Final, Protocol
from weakref import WeakValueDictionary

import aiohttp
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.outbound.sts_cache import CachedPolicy, PolicyCache
from gateway.outbound.sts_policy import MAX_POLICY, Policy, parse_policy, parse_record
from gateway.resolver import Answer
from p2pcore import params
from p2pcore.client.tasks import Tasks
from p2pcore.clock import Clock
from p2pcore.crypto.tls import verifying_context
from p2pcore.errors import CannotKnow, Malformed, NotFound

log = structlog.get_logger("mail")

HTTPS_PORT: Final = 443
FETCH_TIMEOUT: Final = params.MINUTE  # RFC 8461 §3.3
FETCH_PAUSE: Final = 5 * params.MINUTE  # RFC 8461 §3.3: a domain that fails is not asked more often
REFRESH: Final = params.DAY  # RFC 8461 §10.2: a policy is looked at daily, whatever its ID says
REFRESH_CHECK: Final = params.HOUR  # how often it is seen which policies are a day old
MAX_FAILURES: Final = 10_000  # domains whose failed fetch is remembered


class PolicyDns(Protocol):
    """What is asked of DNS: gateway.resolver.Resolver."""

    async def text(self, name: str) -> Answer[bytes]: ...

    async def addresses(self, name: str) -> Answer[str]: ...


class MtaSts:
    """Finds policies. `tls` verifies the HTTPS host, with the system's authorities where it is None."""

    def __init__(
        self,
        dns: PolicyDns,
        cache: PolicyCache,
        clock: Clock,
        *,
        port: int = HTTPS_PORT,
        tls: ssl.SSLContext | None = None,
        timeout: int = FETCH_TIMEOUT,
    ) -> None:
        """`timeout` in ms, of one fetch."""
        self._dns = dns
        self._cache = cache
        self._clock = clock
        self._port = port
        self._tls = tls or verifying_context()
        self._timeout = timeout / 1_000
        self._failed: dict[str, tuple[str, int]] = {}
        self._tasks = Tasks()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def start(self) -> None:
        """Begin to keep policies fresh."""
        self._tasks.start(self._keep_fresh(), "MTA-STS policies")

    async def stop(self) -> None:
        await self._tasks.stop()

    async def refresh(self) -> None:
        """Look once for newer ones of the policies kept that are a day old, one after the other."""
        now = self._clock()
        for domain in await asyncio.to_thread(self._cache.due, now - REFRESH, now):
            await self.policy(domain)

    async def _keep_fresh(self) -> None:
        while True:
            try:
                await self.refresh()
            except OSError as error:
                log.warning("mta-sts", detail=f"policies kept cannot be read: {error}")
            await asyncio.sleep(REFRESH_CHECK / 1_000)

    async def policy(self, domain: str) -> Policy | None:
        """Return the policy that holds for mail to `domain` (A-labels), None: there is none to obey."""
        async with self._locks.setdefault(domain, asyncio.Lock()):
            kept = await asyncio.to_thread(self._cache.read, domain)
            if kept is not None and not kept.holds(self._clock()):
                kept = None
            identifier = await self._identifier(domain)
            if identifier is not None and self._is_due(domain, identifier, kept):
                kept = await self._fetched(domain, identifier) or kept
        return kept.policy if kept is not None else None

    async def _identifier(self, domain: str) -> str | None:
        try:
            return parse_record((await self._dns.text(f"_mta-sts.{domain}")).values)
        except CannotKnow as failure:
            log.warning("mta-sts", domain=domain, detail=str(failure))
            return None

    def _is_due(self, domain: str, identifier: str, kept: CachedPolicy | None) -> bool:
        """Whether the policy is fetched now."""
        now = self._clock()
        if kept is not None and kept.id == identifier and kept.fetched <= now < kept.fetched + REFRESH:
            return False
        failed, since = self._failed.get(domain, ("", 0))
        return failed != identifier or not since <= now < since + FETCH_PAUSE  # also where the clock was set back

    async def _fetched(self, domain: str, identifier: str) -> CachedPolicy | None:
        """Fetch, keep and return the policy; None: it cannot be had now."""
        try:
            policy = parse_policy(await self.fetch(domain))
        except (CannotKnow, NotFound, Malformed) as failure:
            log.warning("mta-sts", domain=domain, detail=f"policy not fetched: {failure}")
            if len(self._failed) >= MAX_FAILURES:
                self._failed.pop(next(iter(self._failed)))
            self._failed[domain] = (identifier, self._clock())
            return None
        self._failed.pop(domain, None)
        kept = CachedPolicy(domain, identifier, policy, self._clock())
        try:
            await asyncio.to_thread(self._cache.write, kept)
        except OSError as error:
            log.warning("mta-sts", domain=domain, detail=f"policy not kept: {error}")
        return kept

    async def fetch(self, domain: str) -> bytes:
        """Return the policy file of `domain`. Raises CannotKnow, NotFound (another answer than 200), Malformed."""
        url = f"https://mta-sts.{domain}:{self._port}/.well-known/mta-sts.txt"  # RFC 8461 §3.3
        try:
            async with (
                aiohttp.ClientSession(
                    connector=aiohttp.TCPConnector(resolver=_Names(self._dns), ssl=self._tls, force_close=True),
                    timeout=aiohttp.ClientTimeout(total=self._timeout),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,  # nothing grows on the way
                ) as session,
                session.get(url, allow_redirects=False, headers={"Accept-Encoding": "identity"}) as answer,
            ):
                if answer.status != 200:
                    raise NotFound(f"{url}: status {answer.status}")
                if answer.content_type != "text/plain":  # RFC 8461 §3.2: guards against uploads of users
                    raise Malformed(f"{url}: {answer.content_type} instead of text/plain")
                return await _bounded(answer)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CannotKnow(f"{url}: {str(error) or type(error).__name__}") from error


async def _bounded(answer: aiohttp.ClientResponse) -> bytes:
    """Return the answer's content. Raises Malformed where it is larger than a policy may be."""
    content = bytearray()
    async for chunk in answer.content.iter_any():
        content += chunk
        if len(content) > MAX_POLICY:
            raise Malformed(f"policy of more than {MAX_POLICY} octets")
    return bytes(content)


class _Names(AbstractResolver):
    """The gateway's resolver, as aiohttp wants it."""

    def __init__(self, dns: PolicyDns) -> None:
        self._dns = dns

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            addresses = (await self._dns.addresses(host)).values
        except CannotKnow as failure:
            raise OSError(None, str(failure)) from failure
        found = [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]
        wanted = [each for each in found if family in (socket.AF_UNSPEC, each["family"])]
        if not wanted:
            raise OSError(None, f"{host} has no address")
        return wanted

    async def close(self) -> None:
        """Nothing is held open."""
