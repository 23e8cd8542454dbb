"""Which k and w hold: now for what is written, since an object's issue for what is read or deleted. Pure."""

from collections.abc import Sequence

from p2pcore import params
from p2pcore.errors import CannotKnow
from p2pcore.records import Replication


def current(history: Sequence[Replication], now: int) -> Replication:
    """Return the entry of `history` (any order) in force at `now`. Raises CannotKnow where there is none at all.

    Before the first entry's time the first one holds: a clock slightly behind the directory's must not stop mail.
    """
    if not history:
        raise CannotKnow("k and w are not known: no domain record yet")
    begun = [replication for replication in history if replication.since <= now]
    if not begun:
        return min(history, key=lambda replication: replication.since)
    return max(begun, key=lambda replication: replication.since)


def largest_k(history: Sequence[Replication], since: int) -> int:
    """Return the largest k in force at any time from `since` on (replication.1). Raises CannotKnow."""
    later = [replication.k for replication in history if replication.since > since]
    return max([current(history, since).k, *later])


def widened(k: int) -> int:
    """Return how many contacts an operation on k nodes may ask at most (maxConnections, §6)."""
    return params.MAX_CONNECTIONS_FACTOR * k
