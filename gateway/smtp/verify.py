"""Is the sender who the message says? SPF, DKIM, DMARC and the client's name, together within a deadline.

What cannot be known in time is a temperror, and a temperror never rejects.
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from publicsuffixlist import PublicSuffixList

from gateway.mail.trace import MethodResult
from gateway.smtp import dmarc, params
from gateway.smtp.dmarc import Checked, Disposition, Policy
from gateway.smtp.limits import Client
from gateway.smtp.sender_policy import Dns, check_sender
from gateway.smtp.settings import Verify
from gateway.smtp.signatures import Signature, check_signatures
from p2pcore.errors import CannotKnow, Malformed

T = TypeVar("T")
_HOST_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,251}[A-Za-z0-9_])?\Z")


@dataclass(frozen=True, slots=True)
class Verification:
    """`results` go into Authentication-Results; `spf`, `dkim`, `dmarc` are their summaries for the verdicts."""

    results: tuple[MethodResult, ...] = ()
    spf: str = ""
    dkim: str = ""
    dmarc: str = ""
    disposition: Disposition = "deliver"
    client_name: str = ""


class Verifier:
    """Checks what arrives. `draw` gives numbers from 0 to 99 for policies that ask for a share of messages only."""

    def __init__(
        self,
        resolver: Dns,
        *,
        mode: Verify = "auto",
        deadline: int = params.VERIFY_DEADLINE,
        draw: Callable[[], int] = lambda: secrets.randbelow(100),
    ) -> None:
        self._resolver = resolver
        self._mode = mode
        self._deadline = deadline / 1_000
        self._draw = draw
        self._suffixes = PublicSuffixList()
        self._threads = ThreadPoolExecutor(params.VERIFY_THREADS, "spf")

    def close(self) -> None:
        """Let go of the threads; those still waiting for DNS end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def applies_to(self, client: Client) -> bool:
        """Return whether messages from `client` are checked."""
        if self._mode == "auto":
            return not (client.is_loopback or client.is_trusted)
        return self._mode == "on"

    async def verify(
        self, client: Client, helo: str, reverse_path: str, header: bytes, content: bytes | None
    ) -> Verification:
        """Return what can be known within the deadline. Raises nothing that the network or the message can cause."""
        until = asyncio.get_running_loop().time() + self._deadline
        spf, signatures, name = await asyncio.gather(
            self._within(until, check_sender(client.address, reverse_path, helo, self._resolver, self._threads, until)),
            self._within(until, check_signatures(header, content, self._resolver)),
            self._within(until, self._name_of(client.address)),
        )
        spf = spf or Checked("temperror", reverse_path.rpartition("@")[2] or helo)
        # a lookup of keys that ran out of time leaves every signature undecided
        unknown = signatures is None
        signatures = signatures or []
        verdict, outcome = await self._dmarc(until, header, spf, signatures, unknown=unknown)
        spf_result = _spf_result(spf, reverse_path, helo)
        dkim_results = [_dkim_result(signature) for signature in signatures]
        if not dkim_results:
            dkim_results = [MethodResult("dkim", "temperror" if unknown else "none")]
        return Verification(
            results=(spf_result, *dkim_results, verdict),
            spf=f"{spf.result} {spf.domain}".strip(),
            dkim=" ".join(f"{one.result} {one.domain};" for one in signatures)[:200] or dkim_results[0].result,
            dmarc=_summary(verdict),
            disposition=outcome,
            client_name=name or "",
        )

    async def _dmarc(
        self, until: float, header: bytes, spf: Checked, signatures: list[Signature], *, unknown: bool
    ) -> tuple[MethodResult, Disposition]:
        """Return the strictest verdict of the domains in From (RFC 7489 §6.6)."""
        try:
            authors = dmarc.author_domains(header)
        except Malformed as error:
            return MethodResult("dmarc", "permerror", comment=str(error)), "deliver"
        checked = [Checked(one.result, one.domain) for one in signatures]
        verdicts = []
        for author in authors:
            found = await self._within(until, self._policy(author))
            verdicts.append(self._judge(author, found, spf, checked, unknown=unknown))
        order = ("deliver", "quarantine", "reject")
        return max(verdicts, key=lambda verdict: (order.index(verdict[1]), verdict[0].result != "pass"))

    def _judge(
        self,
        author: str,
        found: tuple[Policy | None, bool] | None,
        spf: Checked,
        signatures: list[Checked],
        *,
        unknown: bool,
    ) -> tuple[MethodResult, Disposition]:
        properties = (("header.from", author),)
        if found is None:
            return MethodResult("dmarc", "temperror", properties), "deliver"
        policy, inherited = found
        if policy is None:
            return MethodResult("dmarc", "none", properties), "deliver"
        request = policy.subdomain_request if inherited else policy.request
        comment = f"p={request}"
        if dmarc.is_aligned(policy, author, spf, signatures, self._organisation):
            return MethodResult("dmarc", "pass", properties, comment), "deliver"
        # "neutral" stands for a message too large to check: its signature may be good
        undecided = unknown or any(
            dmarc.is_aligned(policy, author, spf, signatures, self._organisation, wanted)
            for wanted in ("temperror", "neutral")
        )
        if undecided:
            return MethodResult("dmarc", "temperror", properties, comment), "deliver"
        outcome = dmarc.disposition(policy, inherited=inherited, draw=self._draw())
        return MethodResult("dmarc", "fail", properties, comment), outcome

    async def _policy(self, author: str) -> tuple[Policy | None, bool]:
        """Return the policy for `author` and whether it is its organisation's (§6.6.3). Raises CannotKnow."""
        own = await self._record(author)
        organisation = self._organisation(author)
        if own is not None or organisation == author:
            return own, False
        return await self._record(organisation), True

    async def _record(self, domain: str) -> Policy | None:
        answer = await self._resolver.text(f"_dmarc.{domain}")
        policies = [policy for policy in map(dmarc.parse_policy, answer.values) if policy is not None]
        return policies[0] if len(policies) == 1 else None  # §6.6.3 step 5: several count as none

    def _organisation(self, domain: str) -> str:
        return str(self._suffixes.privatesuffix(domain) or domain)  # §3.2

    async def _name_of(self, address: str) -> str:
        """Return the client's name where it leads back to its address (RFC 8601 §2.7.3), else ""."""
        for name in (await self._resolver.names_of(address)).values[:3]:
            if _HOST_NAME.match(name) and address in (await self._resolver.addresses(name)).values:
                return name
        return ""

    async def _within(self, until: float, work: Coroutine[Any, Any, T]) -> T | None:
        """Return what `work` returns, or None where DNS did not answer in time."""
        try:
            async with asyncio.timeout_at(until):
                return await work
        except (TimeoutError, CannotKnow):
            return None


def _spf_result(spf: Checked, reverse_path: str, helo: str) -> MethodResult:
    if reverse_path:
        return MethodResult("spf", spf.result, (("smtp.mailfrom", reverse_path),))
    return MethodResult("spf", spf.result, (("smtp.helo", helo),))


def _dkim_result(signature: Signature) -> MethodResult:
    properties = (("header.d", signature.domain or "unknown"), ("header.s", signature.selector or "unknown"))
    return MethodResult("dkim", signature.result, properties, signature.comment)


def _summary(verdict: MethodResult) -> str:
    return " ".join((verdict.result, *(value for _name, value in verdict.properties)))
