"""Which way each recipient goes.

| recipient | route |
|---|---|
| with signed statements | the network, the same statements |
| in a parcel | a gateway, the same envelope ID |
| of our domain, certificate found | the network, signed now |
| of our domain, none found | a gateway |
| of another domain | a gateway, or by MX where the operator wants that |

Who was once in signed statements or in a parcel stays there: never both.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from gateway.outbox.model import Recipient
from p2pcore import names
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure, Malformed

log = structlog.get_logger("outbox")


class Names(Protocol):
    """What of DomainNames is used here; `domain` is canonical."""

    domain: str

    async def certificate_of(self, address: str) -> Certificate:
        """Return the certificate to seal to. Raises Failure: not found, or not known now."""
        ...


@dataclass(slots=True)
class Routes:
    """Due recipients by route; `kept` by the number of their injection."""

    kept: dict[int, list[Recipient]] = field(default_factory=dict)
    found: list[tuple[Recipient, Certificate]] = field(default_factory=list)
    relayed: list[Recipient] = field(default_factory=list)
    direct: list[Recipient] = field(default_factory=list)

    @property
    def by_network(self) -> list[Recipient]:
        """Who goes by the network."""
        kept = [recipient for group in self.kept.values() for recipient in group]
        return kept + [recipient for recipient, _ in self.found]


class Router:
    """Looks for certificates of addresses of our domain; `direct`: other domains' recipients go by MX from here."""

    def __init__(self, domain_names: Names, *, direct: bool) -> None:
        self._names = domain_names
        self._direct = direct

    @property
    def domain(self) -> str:
        return self._names.domain

    def is_ours(self, forward_path: str) -> bool:
        """Return whether an address is of our domain."""
        try:
            return names.canonical_domain(names.split_address(forward_path)[1]) == self._names.domain
        except Malformed:  # an address literal
            return False

    async def certificate(self, forward_path: str) -> Certificate | None:
        """Return the certificate to seal to; None: not of our domain, or not to be had now."""
        if not self.is_ours(forward_path):
            return None
        try:
            return await self._names.certificate_of(forward_path)
        except Failure as failure:
            log.info("certificate not found", forward_path=forward_path, reason=str(failure))
            return None

    async def routes(self, due: Sequence[Recipient]) -> Routes:
        """Return the route of each recipient."""
        routes = Routes()
        fresh: list[Recipient] = []
        for recipient in due:
            if recipient.injection is not None:
                routes.kept.setdefault(recipient.injection, []).append(recipient)
            elif recipient.parcel is not None:
                routes.relayed.append(recipient)
            else:
                fresh.append(recipient)
        certificates = await asyncio.gather(*(self.certificate(recipient.forward_path) for recipient in fresh))
        for recipient, certificate in zip(fresh, certificates, strict=True):
            if certificate is not None:
                routes.found.append((recipient, certificate))
            elif self._direct and not self.is_ours(recipient.forward_path):
                routes.direct.append(recipient)
            else:
                routes.relayed.append(recipient)
        return routes
