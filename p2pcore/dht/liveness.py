"""Which peers answer and how fast: round-trip estimates, strikes, and the dead with their back-off (no clock, no I/O).

| strikes | state | lookups | elsewhere |
|---|---|---|---|
| 0 | good | asked | a small table returns it as long as it was heard lately |
| 1 | suspected | asked | verified again before it is returned |
| 2 | doubtful | passed over | its verification goes on by itself |
| STRIKES (never verified: STRIKES_UNVERIFIED) | dead | passed over | evicted; asked again after a back-off |

A strike is a request unanswered in time; requests side by side count once. Any verified word of the peer clears all.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from p2pcore import params
from p2pcore.dht.contact import Contact

_NEVER = -(2**62)


@dataclass(slots=True)
class RoundTrip:
    """RFC 6298 §2: smoothed round trip and its variation, in ms."""

    smoothed: float
    variation: float

    def add(self, sample: float) -> None:
        self.variation += (abs(self.smoothed - sample) - self.variation) / 4
        self.smoothed += (sample - self.smoothed) / 8

    @property
    def timeout(self) -> float:
        return self.smoothed + 4 * self.variation


@dataclass(slots=True)
class _State:
    round_trip: RoundTrip | None = None
    strikes: int = 0
    struck: int = _NEVER
    heard: int = _NEVER
    suspected: bool = False
    deaths: int = 0
    blocked_until: int = _NEVER


class Liveness:
    """What is known of each contact, bounded: the least recently touched are forgotten. `now` is in ms.

    The same ID at another endpoint is another contact here: who names a wrong endpoint harms only that one.
    """

    def __init__(self) -> None:
        self._states: OrderedDict[Contact, _State] = OrderedDict()
        self._overall: RoundTrip | None = None

    def __len__(self) -> int:
        return len(self._states)

    def timeout(self, contact: Contact | None) -> int:
        """Return how long (ms) to wait for this peer's answer; None: a peer whose ID is unknown."""
        state = self._states.get(contact) if contact is not None else None
        estimate = (state.round_trip if state else None) or self._overall
        base = params.PEER_TIMEOUT_FIRST if estimate is None else estimate.timeout
        doublings = state.strikes if state and not state.deaths else 0  # RFC 6298 §5.5; nobody waits long for the dead
        return int(min(max(base, params.PEER_TIMEOUT_LEAST) * 2**doublings, params.PEER_TIMEOUT_MOST))

    def patience(self, contact: Contact | None) -> int:
        """Return after how long (ms) an answer is later than usual: time to ask again, and others meanwhile."""
        state = self._states.get(contact) if contact is not None else None
        estimate = (state.round_trip if state else None) or self._overall
        usual = params.PEER_TIMEOUT_LEAST if estimate is None else estimate.timeout
        return int(min(max(usual, params.PATIENCE_LEAST), self.timeout(contact)))

    def answered(self, contact: Contact, sent: int, now: int) -> None:
        """Note the verified answer to what was sent at `sent`, late or not."""
        state = self._heard(contact, now)
        sample = float(now - sent)
        if state.round_trip is None:
            state.round_trip = RoundTrip(sample, sample / 2)
        else:
            state.round_trip.add(sample)
        if self._overall is None:
            self._overall = RoundTrip(sample, sample / 2)
        else:
            self._overall.add(sample)

    def heard(self, contact: Contact, now: int) -> None:
        """Note a verified word of the peer that answers nothing: its own request, or an exchange over HTTP."""
        self._heard(contact, now)

    def missed(self, contact: Contact, sent: int, now: int) -> bool:
        """Note that what was sent at `sent` is unanswered at `now`; return whether the peer has just died."""
        state = self._state(contact)
        # RFC 6298 §5.4 counts one timeout for all that was in flight
        if sent < max(state.struck, state.heard) or now < state.blocked_until:
            return False
        state.strikes += 1
        state.struck = now
        limit = params.STRIKES_UNVERIFIED if state.heard == _NEVER else params.STRIKES
        if state.strikes < limit:
            return False
        state.strikes = limit - 1  # one more timeout after the back-off makes it longer
        self.bury(contact, now)
        return True

    def bury(self, contact: Contact, now: int) -> None:
        """Take the contact for dead; each time in a row the back-off is doubled."""
        state = self._state(contact)
        backoff = min(params.DEAD_BACKOFF_FIRST * 2**state.deaths, params.DEAD_BACKOFF_LAST)
        state.deaths += 1
        state.blocked_until = now + backoff

    def suspect(self, contact: Contact) -> None:
        """Have the peer verified before it is next returned."""
        self._state(contact).suspected = True

    def passed_over(self, contact: Contact, now: int) -> bool:
        """Return whether lookups do without this peer: dead and in back-off, or about to be."""
        state = self._states.get(contact)
        return state is not None and (now < state.blocked_until or (state.strikes > 1 and not self.dead(contact)))

    def blocked(self, contact: Contact, now: int) -> bool:
        """Return whether the peer is dead and its back-off lasts."""
        return now < self.retry_at(contact)

    def retry_at(self, contact: Contact) -> int:
        """Return when a dead peer may be asked again; far in the past for others."""
        state = self._states.get(contact)
        return state.blocked_until if state else _NEVER

    def dead(self, contact: Contact) -> bool:
        """Return whether the peer has died and has not been heard since."""
        return self.deaths(contact) > 0

    def deaths(self, contact: Contact) -> int:
        """Return how many times in a row the peer has died."""
        state = self._states.get(contact)
        return state.deaths if state else 0

    def fresh(self, contact: Contact, since: int) -> bool:
        """Return whether the peer needs no verification: heard since then, and nothing against it."""
        state = self._states.get(contact)
        return state is not None and state.heard >= since and not state.strikes and not state.suspected

    def silent(self, contact: Contact, since: int) -> bool:
        """Return whether the peer has not been heard since then."""
        state = self._states.get(contact)
        return state is None or state.heard < since

    def good(self, contact: Contact) -> bool:
        """Return whether no request to the peer has gone unanswered lately."""
        state = self._states.get(contact)
        return state is None or not state.strikes

    def good_among(self, contacts: Iterable[Contact]) -> Iterator[Contact]:
        """Yield those of `contacts` that are good."""
        states = self._states
        for contact in contacts:
            state = states.get(contact)
            if state is None or not state.strikes:
                yield contact

    def _heard(self, contact: Contact, now: int) -> _State:
        state = self._state(contact)
        state.heard = now
        state.strikes = state.deaths = 0
        state.blocked_until = _NEVER
        state.suspected = False
        return state

    def _state(self, contact: Contact) -> _State:
        state = self._states.setdefault(contact, _State())
        self._states.move_to_end(contact)
        if len(self._states) > params.MAX_PEER_STATES:
            self._states.popitem(last=False)
        return state
