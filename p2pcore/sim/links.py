"""What lies between two hosts: how long a message takes and whether it is lost, drawn from a seeded source."""

import random
from dataclasses import dataclass

_LONGEST = 0.4  # seconds one way: a packet that takes longer is lost for whoever waits


@dataclass(frozen=True, slots=True)
class Quality:
    """One-way delay: log-normal with this median (s) and sigma, cut off at 400 ms; `loss`: share of messages lost."""

    median: float = 0.04
    sigma: float = 0.6
    loss: float = 0.0


class Links:
    """Draws one delay per message; the same seed gives the same sequence."""

    def __init__(self, quality: Quality, seed: int) -> None:
        self._quality = quality
        self._random = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable
        self.messages = 0
        self.lost = 0

    def delay(self) -> float:
        """Return the delay of a message that does arrive, in seconds."""
        self.messages += 1
        return min(self._quality.median * self._random.lognormvariate(0.0, self._quality.sigma), _LONGEST)

    def jitter(self, most: float) -> float:
        """Return something between 0 and `most` seconds."""
        return self._random.uniform(0.0, most)

    def lose(self) -> bool:
        """Return whether the next message is lost."""
        lost = self._quality.loss > 0 and self._random.random() < self._quality.loss
        self.lost += lost
        return lost
