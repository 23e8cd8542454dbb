"""Where chance comes into a simulation: what `secrets` and `SystemRandom` draw is seeded while it runs."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


@contextmanager
def seeded(seed: int) -> Iterator[random.Random]:
    """Have every draw of the real code repeatable within, and yield a source for the simulation's own draws.

    For simulations only: within, keys and secrets are no secrets. `os.urandom` itself stays what it is; what is drawn
    from it directly (a database's incarnation) has no bearing on the order of events.
    """
    source = random.Random(seed)  # noqa: S311 - a simulation is to be repeatable
    with patch.object(random, "_urandom", source.randbytes):
        yield random.Random(seed + 1)  # noqa: S311
