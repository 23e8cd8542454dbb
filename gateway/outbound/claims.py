"""What is under way, and how much of it may be to one domain and to strangers; pure.

A domain whose hosts answer slowly, or not at all, must not take all the room there is: once DOMAIN_UNDER_WAY deliveries
to it are under way nothing more is begun there until half of them have ended. Reports to strangers have a share of
their own, since whoever asks for them decides how long their hosts take.
"""

from collections import Counter
from dataclasses import dataclass, field

from gateway.outbound import params
from gateway.outbound.model import KeptInjection, OwedReport, Unit, Work


@dataclass(slots=True)
class Shares:
    """How much more may be begun; `full` are the domains where nothing is."""

    domains: Counter[str]
    full: set[str]
    strangers_left: int

    def take(self, domain: str, *, stranger: bool) -> bool:
        """Count one more unit; return whether a share is full now."""
        self.domains[domain] += 1
        self.strangers_left -= stranger
        if self.domains[domain] < params.DOMAIN_UNDER_WAY:
            return stranger and self.strangers_left <= 0
        self.full.add(domain)
        return True


@dataclass(slots=True)
class Claims:
    """What was claimed and is not released: units by item and domain, reports by item, injections by number."""

    units: dict[tuple[int, str], Unit] = field(default_factory=dict)
    reports: set[int] = field(default_factory=set)
    injections: set[int] = field(default_factory=set)
    _domains: Counter[str] = field(default_factory=Counter)
    _full: set[str] = field(default_factory=set)
    _strangers: int = 0

    def shares(self) -> Shares:
        """Return what is left of each share, as a copy."""
        return Shares(Counter(self._domains), set(self._full), params.STRANGERS_UNDER_WAY - self._strangers)

    def add(self, work: Work) -> None:
        self.reports |= {owed.item.id for owed in work.reports}
        self.injections |= {kept.id for kept in work.injections}
        for unit in work.units:
            self.units[unit.item.id, unit.domain] = unit
            self._domains[unit.domain] += 1
            if self._domains[unit.domain] >= params.DOMAIN_UNDER_WAY:
                self._full.add(unit.domain)
            self._strangers += not unit.item.reverse_path

    def remove(self, claimed: Unit | OwedReport | KeptInjection) -> bool:
        """Give one back; return whether something may be begun that could not be before."""
        if isinstance(claimed, OwedReport):
            self.reports.discard(claimed.item.id)
        elif isinstance(claimed, KeptInjection):
            self.injections.discard(claimed.id)
        elif self.units.pop((claimed.item.id, claimed.domain), None) is not None:
            self._strangers -= not claimed.item.reverse_path
            self._domains[claimed.domain] -= 1
            if not self._domains[claimed.domain]:
                del self._domains[claimed.domain]
            if claimed.domain in self._full and self._domains[claimed.domain] > params.DOMAIN_UNDER_WAY // 2:
                return False
            self._full.discard(claimed.domain)
        return True
