"""Seeded chance."""

import random
import secrets

from p2pcore.sim.chance import seeded


def _draws(seed: int) -> tuple[bytes, int, float]:
    with seeded(seed) as source:
        return secrets.token_bytes(16), random.SystemRandom().randint(0, 1 << 64), source.random()


def test_the_real_codes_chance_is_seeded() -> None:
    """The same seed gives the same secrets and SystemRandom draws, another seed others."""
    assert _draws(1) == _draws(1)
    assert _draws(1) != _draws(2)


def test_chance_is_real_again_afterwards() -> None:
    """Nothing stays seeded when the simulation is over."""
    _draws(1)
    first = secrets.token_bytes(16)
    _draws(1)
    assert secrets.token_bytes(16) != first
