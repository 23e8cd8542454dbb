"""Where mail for a domain goes: MX, implicit MX, null MX, addresses, and not back to us (RFC 5321 §5.1, RFC 7505)."""

import asyncio
import ipaddress
import random
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.config_rules import ANYWHERE
from gateway.outbound import params
from gateway.outbound.errors import NotDelivered
from gateway.resolver import Answer
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CannotKnow
from p2pcore.networks import is_dialable, numeric

SMTP_PORT = 25
_MISCONFIGURED = "4.3.5"  # RFC 3463 §3.4: system incorrectly configured
_DISCARD = 9  # a port, since a socket wants one


class MailDns(Protocol):
    """What is asked of DNS: gateway.resolver.Resolver."""

    async def mail_exchangers(self, name: str) -> Answer[tuple[int, str]]: ...

    async def addresses(self, name: str) -> Answer[str]: ...


@dataclass(frozen=True, slots=True)
class Target:
    """One endpoint to dial; `host` is its name for the log, for reports and for TLS."""

    host: str
    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Exchange:
    """One MX host, or the domain itself as its implicit MX."""

    preference: int
    host: str


class MailExchangers:
    """Finds the endpoints of a domain, best first.

    `own_names` and `own_endpoints` are this host's: what leads to them, and everything less preferred, is left out. One
    at 0.0.0.0 or :: means every address of this machine.
    `served`: other domains (A-labels) that this host takes mail for, so that nothing of that would loop. With a
    `smarthost` all mail goes there instead. `rng` orders hosts of one preference.
    """

    def __init__(
        self,
        dns: MailDns,
        *,
        port: int = SMTP_PORT,
        own_names: Collection[str] = (),
        own_endpoints: Collection[Endpoint] = (),
        served: Collection[str] = (),
        smarthost: Endpoint | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._dns = dns
        self._port = port
        self._own_names = frozenset(name.lower().removesuffix(".") for name in own_names)
        self._own_endpoints = frozenset((endpoint.host, endpoint.port) for endpoint in own_endpoints)
        self._own_ports = frozenset(endpoint.port for endpoint in own_endpoints if endpoint.host in ANYWHERE)
        self._served = frozenset(served)
        self._smarthost = smarthost
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, protects nothing

    async def targets(self, domain: str) -> tuple[Target, ...]:
        """Return at least one endpoint, at most MAX_ENDPOINTS, in the order to be tried. Raises NotDelivered."""
        if self._smarthost is not None:
            return await self._of_smarthost(self._smarthost)
        if domain.startswith("["):
            return (self._literal(domain),)
        if not domain:
            raise NotDelivered("5.1.2", "the address has a domain that cannot be in DNS")
        try:
            answer = await self._dns.mail_exchangers(domain)
        except CannotKnow as failure:
            raise NotDelivered("4.4.3", f"MX of {domain} cannot be looked up now: {failure}") from failure
        if not answer.exists:
            raise NotDelivered("5.1.2", f"domain {domain} does not exist")
        ordered = self._ordered(exchanges(domain, answer.values))
        if domain in self._served:
            return await self._of_hosts(ordered[: params.MAX_HOSTS], self._port, may_be_us=True)
        return await self._of_hosts(self._before_us(ordered), self._port)

    async def _of_smarthost(self, smarthost: Endpoint) -> tuple[Target, ...]:
        """Raises NotDelivered, always temporary: no name of a smarthost, however wrong, says anything of a domain."""
        try:
            return await self._of_hosts([Exchange(0, smarthost.host)], smarthost.port)
        except NotDelivered as failure:
            status = _MISCONFIGURED if failure.permanent else failure.status
            raise NotDelivered(status, f"smarthost: {failure.reply}") from failure

    def _ordered(self, found: Sequence[Exchange]) -> list[Exchange]:
        """Return hosts by preference, shuffled within one (RFC 5321 §5.1)."""
        shuffled = list(found)
        self._rng.shuffle(shuffled)
        shuffled.sort(key=lambda each: each.preference)
        return shuffled

    def _before_us(self, ordered: Sequence[Exchange]) -> list[Exchange]:
        """Return the hosts that are preferred to ourselves (RFC 5321 §5.1). Raises NotDelivered where none is."""
        own = [each.preference for each in ordered if each.host.lower() in self._own_names]
        kept = [each for each in ordered if not own or each.preference < min(own)]
        if not kept:
            raise NotDelivered("5.4.6", "the domain's mail exchanger is this host, which does not serve it")
        return kept[: params.MAX_HOSTS]

    async def _of_hosts(self, hosts: Sequence[Exchange], port: int, *, may_be_us: bool = False) -> tuple[Target, ...]:
        answers = await asyncio.gather(*(self._addresses(each.host) for each in hosts))
        own = (
            []
            if may_be_us
            else [each.preference for each, answer in zip(hosts, answers, strict=True) if self._is_us(answer, port)]
        )
        targets: list[Target] = []
        unknown: CannotKnow | None = None
        for each, answer in zip(hosts, answers, strict=True):
            if own and each.preference >= min(own):
                break
            if isinstance(answer, CannotKnow):
                unknown = answer
                continue
            most = params.MAX_ENDPOINTS if len(hosts) == 1 else params.HOST_ENDPOINTS
            targets += [Target(each.host, address, port) for address in filter(is_dialable, answer)][:most]
        if targets:
            return tuple(targets[: params.MAX_ENDPOINTS])
        if unknown is not None:
            raise NotDelivered("4.4.3", f"no mail exchanger's address can be looked up now: {unknown}")
        if own:
            raise NotDelivered("5.4.6", "the domain's mail exchanger has this host's address, which does not serve it")
        names = ", ".join(each.host for each in hosts[:3])
        raise NotDelivered("5.4.4", f"no mail exchanger has an address: {names}")

    def _is_us(self, answer: tuple[str, ...] | CannotKnow, port: int) -> bool:
        return not isinstance(answer, CannotKnow) and any(self._is_own(each, port) for each in answer)

    def _is_own(self, address: str, port: int) -> bool:
        """Whether we listen there: at that very endpoint, or at all of this machine's addresses, which it is one of."""
        if (address, port) in self._own_endpoints:
            return True
        return port in self._own_ports and _is_local(address)

    async def _addresses(self, host: str) -> tuple[str, ...] | CannotKnow:
        literal = numeric(host)
        if literal is not None:
            return (literal,)
        try:
            # IPv4 inside IPv6 (RFC 4291 §2.5.5.2) as the IPv4 that is dialled
            return tuple(filter(None, map(numeric, (await self._dns.addresses(host)).values)))
        except CannotKnow as failure:
            return failure

    def _literal(self, domain: str) -> Target:
        """Return the endpoint that an address literal means (RFC 5321 §4.1.3). Raises NotDelivered."""
        text = domain.strip("[]")
        address = numeric(text[5:] if text.startswith("ipv6:") else text)
        if address is None:
            raise NotDelivered("5.1.2", f"address literal {domain} does not parse")
        if not is_dialable(address):
            raise NotDelivered("5.1.2", f"{domain} is no host's address")
        if self._is_own(address, self._port):
            raise NotDelivered("5.4.6", f"{domain} is this host")
        return Target(domain, address, self._port)


def exchanges(domain: str, records: Sequence[tuple[int, str]]) -> list[Exchange]:
    """Return the hosts that MX `records` (an exchange of "" is the root) name. Raises NotDelivered (null MX)."""
    if not records:
        return [Exchange(0, domain)]  # RFC 5321 §5.1: the implicit MX
    named = [Exchange(preference, host) for preference, host in records if host]
    if not named:
        raise NotDelivered("5.1.10", f"domain {domain} takes no mail (null MX)")  # RFC 7505 §3, §5
    return named


def _is_local(address: str) -> bool:
    """Whether it is one of this machine's: what leads there has it as its own source, which sends nothing to learn."""
    parsed = ipaddress.ip_address(address)
    if parsed.is_loopback:
        return True
    family = socket.AF_INET6 if parsed.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, _DISCARD))
            return bool(probe.getsockname()[0] == address)
        except OSError:
            return False  # no way there: it is not here
