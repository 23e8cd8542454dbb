"""When a recipient is tried again, when its sender hears of the delay, and when trying ends; pure (RFC 5321 §4.5.4.1).

Intervals double from `first` to `last`. Both deadlines are attempted at exactly: the last word on a recipient is never
older than the report that carries it.
"""

from dataclasses import dataclass

from gateway.outbound import params

_MAX_DOUBLINGS = 32


@dataclass(frozen=True, slots=True)
class Schedule:
    """Times in ms."""

    first: int = params.RETRY_FIRST
    last: int = params.RETRY_LAST
    delayed_after: int = params.DELAYED_AFTER
    give_up_after: int = params.GIVE_UP_AFTER

    def next_attempt(self, accepted: int, now: int, attempts: int, jitter: float = 0.0) -> int | None:
        """Return when to try again after `attempts` (at least 1) tries, None: trying is over.

        `jitter` is within -1…1 and moves an interval by RETRY_JITTER of itself at most.
        """
        if now >= accepted + self.give_up_after:
            return None
        interval = min(self.first << min(attempts - 1, _MAX_DOUBLINGS), self.last)
        wanted = now + max(1, round(interval * (1 + params.RETRY_JITTER * jitter)))
        for mark in (accepted + self.delayed_after, accepted + self.give_up_after):
            if now < mark < wanted:
                return mark
        return wanted

    @property
    def longest(self) -> int:
        """The longest time between two attempts: what is due later than that was put off by another clock."""
        return round(max(self.first, self.last) * (1 + params.RETRY_JITTER)) + 1

    def is_delayed(self, accepted: int, now: int) -> bool:
        """Return whether the sender of what is still not delivered should hear of it."""
        return now >= accepted + self.delayed_after

    def retry_until(self, accepted: int) -> int:
        """Return when trying ends."""
        return accepted + self.give_up_after
