"""The domains that one listener takes mail for: each has its own names, network and signature (docs/decisions/0026)."""

from dataclasses import dataclass
from typing import Protocol

from gateway.smtp.acceptance import Acceptor
from p2pcore.errors import Malformed
from p2pcore.mail.names import Recipients
from p2pcore.names import canonical_domain


class NameSource(Protocol):
    """Tells whom an address means: p2pcore.mail.names.DomainNames."""

    domain: str

    async def recipient(self, address: str) -> Recipients:
        """Raises NoSuchAddress, NotOurDomain, CannotKnow, InboxFull, InboxDormant and other Failures."""
        ...

    def known(self, address: str) -> Recipients | None:
        """As `recipient` where that takes no question; None where something is to be asked or refused."""
        ...


@dataclass(frozen=True, slots=True)
class ServedDomain:
    """A domain that is ours: who has mail there, and what stores it in her network."""

    names: NameSource
    acceptor: Acceptor


class ServedDomains:
    """The domains by name; `first` is the one that bare postmaster and what is nobody's belong to."""

    def __init__(self, first: ServedDomain) -> None:
        self.first = first
        self._by_name = {first.names.domain: first}

    def add(self, served: ServedDomain) -> None:
        """Take mail for one more. Raises ValueError where mail for it is taken already."""
        if served.names.domain in self._by_name:
            raise ValueError(f"{served.names.domain}: this listener takes mail for it already")
        self._by_name[served.names.domain] = served

    def of(self, domain: str) -> ServedDomain | None:
        """Return what serves `domain`, in U-labels or A-labels; None where it is none of ours."""
        try:
            return self._by_name.get(canonical_domain(domain))
        except Malformed:
            return None
