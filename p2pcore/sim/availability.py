"""Monte-Carlo runs of §4's model: which of the closest nodes hold an object, and which are asked for it later.

Node IDs are random, so nodes stand around a key in random order, nearest first, and that is all a world is. Placement
is the paper's and ours: written to the k closest that are up, read from the closest that are up then, as many as
`p2pcore.client.placement` says. Seeded: the same numbers in every run. What these worlds leave out (that lookups may
miss a node) is measured by `bench/lookup.py`.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from p2pcore.client.placement import widened


@dataclass(frozen=True, slots=True)
class Share:
    """`count` of `trials` worlds."""

    count: int
    trials: int

    @property
    def value(self) -> float:
        return self.count / self.trials

    @property
    def error(self) -> float:
        """One standard error; of a single case where there is none."""
        share = max(self.count, 1) / self.trials
        return math.sqrt(share * (1 - share) / self.trials)


@dataclass(frozen=True, slots=True)
class Losses:
    """Of worlds with k copies: reads that fail, by what the read asks, and the cases of terms (1) and (2) with (3)."""

    k: int
    all_down: Share  # (1): all k holders are down
    asked_in_vain: Share  # (2), (3): of the k nodes asked none was up when it was written
    k_asked: Share  # all causes
    widened_asked: Share  # all causes, widened(k) nodes asked


def losses(up: float, copies: Sequence[int], *, nodes: int, joining: int, trials: int, seed: int) -> list[Losses]:
    """Return what is lost in `trials` worlds for each k of `copies`; states when written and read are independent."""
    chance = random.Random(seed)  # noqa: S311 - a simulation, the same in every run
    tallies = {k: [0, 0, 0, 0] for k in copies}
    for _ in range(trials):
        written, read = _world(chance, up, nodes, joining, max(copies))
        for k, tally in tallies.items():
            holders = set(written[:k])
            tally[0] += holders.isdisjoint(read)
            tally[1] += set(written).isdisjoint(read[:k])
            tally[2] += holders.isdisjoint(read[:k])
            tally[3] += holders.isdisjoint(read[: widened(k)])
    return [Losses(k, *(Share(count, trials) for count in tally)) for k, tally in tallies.items()]


def _world(chance: random.Random, up: float, nodes: int, joining: int, k: int) -> tuple[list[int], list[int]]:
    """Return who is up when written and who when read, nearest first, as far out as `k` copies matter.

    Each next node is any of those left, so it is a newcomer with their share; newcomers are up when read.
    """
    written: list[int] = []
    read: list[int] = []
    new = joining
    for place in range(nodes + joining):
        if len(written) >= k and len(read) >= widened(k):
            break
        if chance.random() * (nodes + joining - place) < new:
            new -= 1
            read.append(place)
            continue
        if chance.random() < up:
            written.append(place)
        if chance.random() < up:
            read.append(place)
    return written, read


@dataclass(frozen=True, slots=True)
class Churn:
    """Nodes with memoryless up and down times (hours), and repair every so many hours; 0: never."""

    mean_up: float
    mean_down: float
    repair: float

    @property
    def up(self) -> float:
        return self.mean_up / (self.mean_up + self.mean_down)

    @property
    def cycle(self) -> float:
        """The time constant in which a node's state is forgotten."""
        return 1 / (1 / self.mean_up + 1 / self.mean_down)


def failed_reads(churn: Churn, k: int, *, nodes: int, hours: int, trials: int, seed: int) -> Share:
    """Return the share of objects that a read at a random moment does not find, written some `hours` before.

    A repair round puts the object on the k closest that are up, if a node that holds it is up; what comes back up
    still has it. The read asks `widened(k)` nodes.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulation, the same in every run
    count = sum(not _survives(chance, churn, k, nodes, hours) for _ in range(trials))
    return Share(count, trials)


def _survives(chance: random.Random, churn: Churn, k: int, nodes: int, hours: int) -> bool:
    """Return whether one object is found; the nodes stand in the order of their distance."""
    up = [chance.random() < churn.up for _ in range(nodes)]
    held = set(_first_up(up, k))
    end = hours + chance.random() * (churn.repair or 1)
    elapsed = 0.0
    while churn.repair and elapsed + churn.repair <= end:
        elapsed += churn.repair
        _pass_time(chance, churn, up, churn.repair)
        if any(up[node] for node in held):
            held.update(_first_up(up, k))
    _pass_time(chance, churn, up, end - elapsed)
    return not held.isdisjoint(_first_up(up, widened(k)))


def _first_up(up: Sequence[bool], count: int) -> list[int]:
    return [node for node, is_up in enumerate(up) if is_up][:count]


def _pass_time(chance: random.Random, churn: Churn, up: list[bool], elapsed: float) -> None:
    """Put every node in its state `elapsed` hours later (the exact transition of a two-state Markov chain)."""
    kept = math.exp(-elapsed / churn.cycle)
    rises = churn.up * (1 - kept)
    stays = rises + kept
    up[:] = [chance.random() < (stays if is_up else rises) for is_up in up]
