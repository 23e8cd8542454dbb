"""Who fails to log in again and again waits before every further attempt, whatever connection it comes over.

Counted by address and by account: neither many connections nor many addresses nor many spellings of her name make
guesses that follow each other faster. Attempts at the same time wait side by side: a queue would keep the owner out.
Loopback is not counted by address, since there all users of a machine have the same one. The IMAP server and submission
each count for themselves.
"""

from collections import OrderedDict
from collections.abc import Callable

from p2pcore.networks import holder, is_loopback

FREE_FAILURES = 3  # of one address or account; from then on every attempt waits
LONGEST_WAIT = 15.0  # seconds: an owner whose account is being guessed still gets in
MEMORY = 900.0  # seconds after the last failure it is forgotten
REMEMBERED = 10_000  # addresses and accounts with failures, some 2 MB
NAME_LENGTH = 254  # characters of a user name that count: an address has no more (RFC 5321 §4.5.3.1.3)


class LoginDelays:
    """The failures of one server. `delay` is the first wait in seconds, as `clock` is; it doubles up to LONGEST_WAIT.

    `counted_as` gives the one name of the account that a user's name means, whether there is one or not.
    """

    def __init__(self, delay: float, clock: Callable[[], float], counted_as: Callable[[str], str]) -> None:
        self._delay = delay
        self._clock = clock
        self._counted_as = counted_as
        self._failures: OrderedDict[tuple[str, str], tuple[int, float]] = OrderedDict()  # number, time of the last

    def wait(self, peer: str, user: str) -> float:
        """How many seconds an attempt waits before it is looked at; a right password waits as a wrong one does."""
        now = self._clock()
        counts = [self._count(key, now) for key in self._keys(peer, user)]
        beyond = max(counts) - FREE_FAILURES
        return min(self._delay * 2.0 ** min(beyond, 30), LONGEST_WAIT) if beyond >= 0 else 0.0

    def failed(self, peer: str, user: str) -> None:
        """Count one failure; the oldest are forgotten above REMEMBERED."""
        now = self._clock()
        for key in self._keys(peer, user):
            count = self._count(key, now) + 1
            self._failures.pop(key, None)
            self._failures[key] = count, now
        while len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, peer: str, user: str) -> None:
        """The user knows her password: what she, or her address, got wrong before is forgiven."""
        for key in self._keys(peer, user):
            self._failures.pop(key, None)

    def _count(self, key: tuple[str, str], now: float) -> int:
        count, last = self._failures.get(key, (0, now))
        return count if now - last < MEMORY else 0

    def _keys(self, peer: str, user: str) -> list[tuple[str, str]]:
        account = ("account", self._counted_as(user).casefold()[:NAME_LENGTH])
        return [account] if is_loopback(peer) else [("address", holder(peer)), account]
