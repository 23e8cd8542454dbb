"""Whose mail is delivered whatever DMARC policy it fails: forwarders and lists that we know (RFC 7489 §6.7); pure."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gateway.smtp.dmarc import Checked, usable_domain
from gateway.smtp.limits import Network, networks


@dataclass(frozen=True, slots=True)
class Overrides:
    """`domains` are as DNS is asked for them; each stands for its subdomains as well."""

    networks: tuple[Network, ...] = ()
    domains: frozenset[str] = frozenset()

    @classmethod
    def named(cls, texts: Sequence[str]) -> "Overrides":
        """Return what `texts` name, networks as in "192.0.2.0/24". Raises ValueError."""
        found: list[Network] = []
        domains: set[str] = set()
        for text in texts:
            try:
                found += networks([text])
            except ValueError:
                domains.add(_domain(text))
        return cls(tuple(found), frozenset(domains))

    def cover(self, address: str, shown: Iterable[Checked]) -> bool:
        """Return whether mail from `address`, of which SPF and DKIM have shown this, is delivered at any rate."""
        if self.networks and any(ipaddress.ip_address(address) in network for network in self.networks):
            return True
        return any(one.result == "pass" and self._names(one.domain) for one in shown) if self.domains else False

    def _names(self, domain: str) -> bool:
        labels = domain.lower().removesuffix(".").split(".")
        return any(".".join(labels[start:]) in self.domains for start in range(len(labels)))


def _domain(text: str) -> str:
    domain = usable_domain(text)
    if "." not in domain or domain.replace(".", "").isdigit():
        raise ValueError(f"{text!r} is neither a network nor a domain")
    return domain
