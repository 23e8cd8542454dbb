"""The paper's arithmetic of loss (§4, equations (1) to (6)), and the exact probabilities it approximates. Pure.

`up` is the probability that a node is up: the equations' meaning of p, though the sentence before (1) says "down".
Equations (1), (4), (5) and (6) stand here as printed, and so do (2) and (3) with what they count. The exact ones below
hold for a large network whose nodes stand independently of one another:

    written: the k closest nodes that are up then hold the object
    read:    the `width` closest nodes that are up then are asked; one that holds it is enough

Going outwards from the key, each node that matters is of one of three kinds: up both times (it holds and is asked),
up when written only (a holder that is down), up when read only (asked in vain; newcomers are of this kind as well).
The object is lost to the reader where, before the first node of the first kind, there are k of the second or `width`
of the third.
"""

import math

_NEGLIGIBLE = 1e-18  # of a sum


def all_down(up: float, k: int) -> float:
    """Return equation (1): all k holders are down when the object is read."""
    return (1 - up) ** k


def risen_closer(up: float, k: int, nodes: int) -> float:
    """Return equation (2): of the nodes that were down when it was written, k or more came up and are closer.

    As printed: (1 - p)I rounded to a whole number, and terms without the factor for the nodes that did not.
    """
    return _printed_sum(round((1 - up) * nodes), k, up * (1 - up) / nodes)


def joined_closer(k: int, nodes: int, joining: int) -> float:
    """Return equation (3): k or more of `joining` new nodes are closer.

    As printed: a sum that is no probability. Above 1, where `joining` exceeds `nodes`, 1 is returned.
    """
    return _printed_sum(joining, k, 1 / (nodes + 1))


def read_succeeds(up: float, k: int) -> float:
    """Return equation (4): one operation on k copies succeeds."""
    return 1 - all_down(up, k)


def action_succeeds(up: float, k: int, operations: int) -> float:
    """Return equation (5): an action of so many operations succeeds at the first attempt."""
    return math.exp(operations * math.log1p(-all_down(up, k)))


def copies(up: float, target: float, operations: int) -> float:
    """Return equation (6): the k, not rounded, with which an action succeeds with probability `target`."""
    return math.log(-math.expm1(math.log(target) / operations)) / math.log1p(-up)


def copies_needed(up: float, target: float, operations: int) -> int:
    """Return the least whole k of equation (6)."""
    return max(1, math.ceil(copies(up, target, operations) - 1e-9))


def copies_per_nine(up: float) -> float:
    """Return how many more copies make a tenth of the loss (§4: "an extra nine"), whatever the target."""
    return -math.log(10) / math.log1p(-up)


def still_up(up: float, cycle: float, elapsed: float) -> float:
    """Return the probability that a node which was up is up `elapsed` later: `up` after a long time.

    Up and down times are memoryless; `cycle` is 1 / (1/mean up time + 1/mean down time), in the unit of `elapsed`.
    """
    return up + (1 - up) * math.exp(-elapsed / cycle)


def asked_in_vain(up: float, width: int, joined: float = 0.0, stays: float | None = None) -> float:
    """Return the exact probability that none of the `width` nodes asked was up when the object was written.

    It is what (2) and (3) count together. `joined`: new nodes per old node, all up. `stays`: the probability
    that a node which was up when it was written is up when it is read; long after, that is `up`.
    """
    both, _, read_only = _kinds(up, joined, stays)
    return (read_only / (both + read_only)) ** width


def read_fails(up: float, k: int, width: int, joined: float = 0.0, stays: float | None = None) -> float:
    """Return the exact probability that none of the `width` nodes asked holds the object, whatever the cause.

    `joined` and `stays` as in `asked_in_vain`.
    """
    _, written_only, read_only = _kinds(up, joined, stays)
    return _run(written_only, k, read_only, width) + _run(read_only, width, written_only, k)


def write_finds_quorum(up: float, nodes: int, w: int) -> float:
    """Return the probability that at least w of all `nodes` are up, without which nothing is accepted."""
    if w <= nodes - w:  # the shorter sum
        return 1 - _binomial(up, nodes, 0, w - 1)
    return _binomial(up, nodes, w, nodes)


def read_fails_after_quorum(up: float, k: int, w: int) -> float:
    """Return the exact probability that an object is not found where there are k nodes and no others.

    It was accepted, so it is on those that were up when it was written, w at least. No repair.
    """
    fails = math.fsum(math.comb(k, j) * (up * (1 - up)) ** j * (1 - up) ** (k - j) for j in range(w, k + 1))
    return fails / write_finds_quorum(up, k, w)


def newcomers_closest(nodes: int, joining: int, k: int) -> float:
    """Return the exact probability of (3)'s case while all are up: the k closest of all are new ones."""
    return math.prod((joining - i) / (nodes + joining - i) for i in range(min(k, joining + 1)))


def _kinds(up: float, joined: float, stays: float | None) -> tuple[float, float, float]:
    """Return the shares of nodes up both times, when written only, when read only; together 1."""
    kept = up if stays is None else stays
    both, one = up * kept, up * (1 - kept)
    whole = both + 2 * one + joined
    return both / whole, one / whole, (one + joined) / whole


def _run(one: float, ones: int, other: float, others: int) -> float:
    """Return the probability that of independent trials `ones` give `one` before `others` give `other` or any fails."""
    term = one**ones
    total = 0.0
    for i in range(others):
        total += term
        term *= (ones + i) / (i + 1) * other
    return total


def _binomial(up: float, nodes: int, first: int, last: int) -> float:
    """Return the probability that of `nodes` so many are up."""
    up_log, down_log = math.log(up), math.log1p(-up)
    terms = (_log_choose(nodes, i) + i * up_log + (nodes - i) * down_log for i in range(first, last + 1))
    return math.fsum(map(math.exp, terms))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _printed_sum(nodes: int, k: int, each: float) -> float:
    """Return the sum over i from k to `nodes` of C(nodes, i) each^i, 1 where it is more."""
    if nodes < k or each <= 0:
        return 0.0
    logarithm = _log_choose(nodes, k) + k * math.log(each)
    if logarithm >= 0:
        return 1.0
    total = term = math.exp(logarithm)
    for i in range(k, nodes):
        term *= (nodes - i) / (i + 1) * each
        total += term
        if total >= 1 or (term <= total * _NEGLIGIBLE and (nodes - i) * each < i + 1):
            break
    return min(total, 1.0)
