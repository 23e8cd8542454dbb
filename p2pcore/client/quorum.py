"""Counting one write's outcomes: who confirmed, whether w can still be reached, and what to say if not. Pure."""

from collections import Counter

from p2pcore.client.placement import widened
from p2pcore.errors import (
    Failure,
    InboxDormant,
    InboxFull,
    NoQuorum,
    RateLimited,
    Superseded,
    TemporaryFailure,
    TooLarge,
    UnknownCertificate,
    Unreachable,
)


def replaceable(failure: Failure) -> bool:
    """Say whether the next closest node may take the place of one that failed so.

    A refusal that every node owes to the same rule is none: an entry for a full inbox must not be put aside where
    its owner would hardly look, and a refused signature is refused everywhere.
    """
    if isinstance(failure, InboxFull | InboxDormant | RateLimited):
        return False
    return isinstance(failure, TemporaryFailure | UnknownCertificate)


class Quorum:
    """One object on its way to k nodes, w of which must confirm (k/2 < w <= k; w is never lowered).

    `ask` a node before its answer is counted with `confirm` or `fail`; `searching` is the number of replacements being
    looked for. At most `widened(k)` nodes are asked.
    """

    def __init__(self, k: int, w: int) -> None:
        if not 1 <= w <= k:
            raise ValueError(f"w = {w} of k = {k}")
        self.k = k
        self.w = w
        self.searching = 0
        self.asked: set[bytes] = set()
        self.confirmed: list[bytes] = []
        self.failures: dict[bytes, Failure] = {}
        self._given_up: Failure | None = None

    @property
    def pending(self) -> int:
        """How many have been asked and have not answered."""
        return len(self.asked) - len(self.confirmed) - len(self.failures)

    @property
    def reached(self) -> bool:
        return len(self.confirmed) >= self.w

    @property
    def decided(self) -> bool:
        """w confirmed, or w can no longer be confirmed."""
        confirmed = len(self.confirmed)
        return confirmed >= self.w or len(self.asked) - len(self.failures) + self.searching < self.w

    @property
    def complete(self) -> bool:
        """Nothing is under way any more; so it is decided."""
        return self.pending == 0 and self.searching == 0

    def ask(self, node_id: bytes) -> bool:
        """Count `node_id` as asked; False (not to be asked) where it was already or enough nodes have been."""
        if node_id in self.asked or len(self.asked) >= widened(self.k):
            return False
        self.asked.add(node_id)
        return True

    def confirm(self, node_id: bytes) -> None:
        self.confirmed.append(node_id)

    def fail(self, node_id: bytes, failure: Failure) -> bool:
        """Count a failure; True where a replacement is due."""
        self.failures[node_id] = failure
        return replaceable(failure) and len(self.asked) < widened(self.k)

    def give_up(self, failure: Failure) -> None:
        """Name the reason why no node is asked any more."""
        self._given_up = failure

    def failure(self) -> Failure:
        """Return why the quorum was not reached (so far).

        The refusal that more than k - w nodes gave alike keeps its class where the sender should see it (InboxFull,
        NodeFull, TooLarge, …): it alone prevented the quorum. Else NoQuorum, caused by the most frequent failure: a
        signature that nodes refuse is our own fault, and no reason to bounce anybody's mail.
        """
        text = f"{len(self.confirmed)} of {self.w} nodes"
        if not self.failures:
            cause = self._given_up
            failure: Failure = NoQuorum(f"{text}: {cause}" if cause else f"{text} in time")
            failure.__cause__ = cause
            return failure
        (kind, count), *_ = Counter(type(each) for each in self.failures.values()).most_common(1)
        cause = next(each for each in self.failures.values() if type(each) is kind)
        telling = issubclass(kind, TemporaryFailure | TooLarge | Superseded) and kind is not Unreachable
        failure = kind(str(cause)) if telling and count > self.k - self.w else NoQuorum(f"{text}: {cause}")
        failure.__cause__ = cause
        return failure
