"""How long nodes stay and stay away: a parametric model with figures that papers about measured networks state.

| figure | source |
|---|---|
| a session lasts 60 minutes, in the median | Saroiu, Gummadi, Gribble: A Measurement Study of Peer-to-Peer File Sharing Systems, MMCN 2002 (Napster and Gnutella) |
| sessions are Weibull-distributed | Steiner, En-Najjary, Biersack: Long Term Study of Peer Behavior in the KAD DHT, IEEE/ACM ToN 17(5), 2009 |
| a host joins and leaves 6.4 times a day; a fifth of each day's hosts are new | Bhagwan, Savage, Voelker: Understanding Availability, IPTPS 2003 (Overnet) |

File sharers come and go far more often than machines that lend disk for mail: this is a hard case, not the expected one.
No trace is replayed. Ours are the shape, 0.6 (below 1: who has stayed long stays longer), exponential absences, and
taking figures of three networks together.
"""  # noqa: E501 - titles in a table

import math
import random
from dataclasses import dataclass
from typing import Final

from p2pcore import params


@dataclass(frozen=True, slots=True)
class Sessions:
    """Times in ms. `turnover`: share of the nodes that leave for good, and are replaced, per day."""

    median_up: int
    shape: float
    cycle: int  # from one joining to the next, on average
    turnover: float

    @property
    def scale(self) -> float:
        """The Weibull distribution's scale, ms."""
        return float(self.median_up / math.log(2) ** (1 / self.shape))

    @property
    def mean_up(self) -> float:
        """The mean session, ms."""
        return self.scale * math.gamma(1 + 1 / self.shape)

    @property
    def mean_down(self) -> float:
        """The mean absence, ms."""
        return self.cycle - self.mean_up

    @property
    def availability(self) -> float:
        """The share of time that a node is up."""
        return self.mean_up / self.cycle

    def up(self, source: random.Random) -> float:
        """Draw a session, ms."""
        return source.weibullvariate(self.scale, self.shape)

    def down(self, source: random.Random) -> float:
        """Draw an absence, ms."""
        return source.expovariate(1 / self.mean_down)


FILE_SHARERS: Final = Sessions(median_up=60 * params.MINUTE, shape=0.6, cycle=int(params.DAY / 6.4), turnover=0.2)
