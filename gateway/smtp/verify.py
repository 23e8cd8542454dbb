"""Is the sender who the message says? SPF, DKIM, DMARC and the client's name, together within a deadline.

What cannot be known in time is a temperror, and a temperror never rejects. It defers in one case only: a policy asks to
reject what fails, and DNS alone keeps SPF or an aligned domain's signature from saying whether this does (RFC 7208
§8.6, RFC 6376 §6.3, RFC 7489 §6.6.2). A policy that cannot be looked up does not: nothing is known that asks for it.
"""

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar, get_args

from msgspec import Struct, structs

from gateway.mail.trace import MethodResult
from gateway.smtp import dmarc, params
from gateway.smtp.dmarc import Checked, Disposition
from gateway.smtp.limits import Client
from gateway.smtp.lookups import Lookups, Published, SenderKey
from gateway.smtp.overrides import Overrides
from gateway.smtp.sender_policy import Dns
from gateway.smtp.settings import Verify
from gateway.smtp.signatures import Signature, Signatures
from p2pcore.clock import Clock
from p2pcore.errors import CannotKnow, Malformed

T = TypeVar("T")

_BY_WEIGHT: tuple[Disposition, ...] = get_args(Disposition)


class Verification(Struct, frozen=True):
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
        clock: Clock,
        *,
        mode: Verify = "auto",
        deadline: int = params.VERIFY_DEADLINE,
        draw: Callable[[], int] = lambda: secrets.randbelow(100),
        overrides: Overrides = Overrides(),  # noqa: B008 - immutable
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._mode = mode
        self._deadline = deadline / 1_000
        self._draw = draw
        self._overrides = overrides
        self._lookups = Lookups(resolver, clock, self._deadline)

    async def stop(self) -> None:
        """End what is being looked up."""
        await self._lookups.stop()

    def applies_to(self, client: Client) -> bool:
        """Return whether messages from `client` are checked."""
        if self._mode == "auto":
            return not (client.is_loopback or client.is_trusted)
        return self._mode == "on"

    async def verify(
        self, client: Client, helo: str, reverse_path: str, header: bytes, signed: Signatures
    ) -> Verification:
        """Return what can be known within the deadline. Raises Refusal for a From that cannot be looked at as a whole.

        `signed` are the signatures in `header`, which have seen the whole body.
        """
        until = asyncio.get_running_loop().time() + self._deadline
        sender = SenderKey(client.address, reverse_path, helo)
        spf, name = self._lookups.spf.fresh(sender), self._lookups.client_name.fresh(client.address)
        authors, unreadable = _authors(header)
        policies = [self._lookups.policy.fresh(author) for author in authors]
        signatures: list[Signature] = []
        if spf is None or name is None or None in policies or signed.are_there:
            # at once: what one of them waits for is no time lost to the others
            spf, signatures, name, policies = await asyncio.gather(
                self._within(until, self._lookups.spf.get(sender)),
                signed.check(header, self._resolver, self._clock(), until),
                self._within(until, self._lookups.client_name.get(client.address)),
                asyncio.gather(*(self._within(until, self._lookups.policy.get(author)) for author in authors)),
            )
        spf = spf or Checked("temperror", reverse_path.rpartition("@")[2] or helo)
        # RFC 7489 §6.6.1: a From that no policy can be looked up for is not the way around all policies;
        # one that shows no domain claims to be from nobody
        outcome: Disposition = "quarantine" if unreadable else "deliver"
        verdict = MethodResult("dmarc", "permerror", comment=unreadable or "no domain in From")
        if authors:
            found = zip(authors, policies, strict=True)
            verdict, outcome = self._dmarc(found, spf, signatures)
        if outcome != "deliver" and self._overrides.cover(client.address, _shown(spf, signatures)):
            verdict, outcome = structs.replace(verdict, comment=f"{verdict.comment}, overridden"), "deliver"
        spf_result = _spf_result(spf, reverse_path, helo)
        dkim_results = [_dkim_result(signature) for signature in signatures]
        if not dkim_results:
            dkim_results = [MethodResult("dkim", "none")]
        return Verification(
            results=(spf_result, *dkim_results, verdict, _iprev_result(client.address, name)),
            spf=f"{spf.result} {spf.domain}".strip(),
            dkim=" ".join(f"{one.result} {one.domain};" for one in signatures)[:200] or dkim_results[0].result,
            dmarc=_summary(verdict),
            disposition=outcome,
            client_name=name or "",
        )

    def _dmarc(
        self,
        policies: Iterable[tuple[str, Published | None]],
        spf: Checked,
        signatures: list[Signature],
    ) -> tuple[MethodResult, Disposition]:
        """Return the strictest verdict of the domains in From (RFC 7489 §6.6)."""
        checked = [Checked(one.result, one.domain) for one in signatures]
        verdicts = [self._judge(author, found, spf, checked) for author, found in policies]
        return max(verdicts, key=lambda verdict: (_BY_WEIGHT.index(verdict[1]), verdict[0].result != "pass"))

    def _judge(
        self,
        author: str,
        found: Published | None,
        spf: Checked,
        signatures: list[Checked],
    ) -> tuple[MethodResult, Disposition]:
        properties = (("header.from", author),)
        if found is None:
            return MethodResult("dmarc", "temperror", properties), "deliver"
        policy = found.policy
        if policy is None:
            return MethodResult("dmarc", "none", properties), "deliver"
        request = policy.subdomain_request if found.inherited else policy.request
        comment = f"p={request}"
        if dmarc.is_aligned(policy, author, spf, signatures, self._lookups.organisation):
            return MethodResult("dmarc", "pass", properties, comment), "deliver"
        outcome = dmarc.disposition(policy, inherited=found.inherited, draw=self._draw())
        if dmarc.is_aligned(policy, author, spf, signatures, self._lookups.organisation, "temperror"):
            # §6.6.2: nobody can say that it failed; delivered, it would be the forger's way past the policy
            undecided = MethodResult("dmarc", "temperror", properties, comment)
            return undecided, "defer" if outcome == "reject" else "deliver"
        return MethodResult("dmarc", "fail", properties, comment), outcome

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


def _authors(header: bytes) -> tuple[tuple[str, ...], str]:
    """Return the domains in From, or none and why that is. Raises Refusal."""
    try:
        return dmarc.author_domains(header), ""
    except Malformed as error:
        return (), str(error)


def _iprev_result(address: str, name: str | None) -> MethodResult:
    """RFC 8601 §2.7.3: whether the address leads to a name that leads back; None: DNS did not say in time."""
    result = "temperror" if name is None else "pass" if name else "fail"
    return MethodResult("iprev", result, (("policy.iprev", address),))


def _shown(spf: Checked, signatures: list[Signature]) -> list[Checked]:
    return [spf, *(Checked(one.result, one.domain) for one in signatures)]


def _dkim_result(signature: Signature) -> MethodResult:
    properties = (("header.d", signature.domain or "unknown"), ("header.s", signature.selector or "unknown"))
    return MethodResult("dkim", signature.result, properties, signature.comment)


def _summary(verdict: MethodResult) -> str:
    return " ".join((verdict.result, *(value for _name, value in verdict.properties)))
