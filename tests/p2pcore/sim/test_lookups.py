"""Lookups among many nodes."""

import statistics

from p2pcore import params
from p2pcore.sim.links import Quality
from p2pcore.sim.lookups import LookupWorld, Outcome
from p2pcore.sim.population import Population
from p2pcore.sim.virtual_time import run_virtually


def _lookups(nodes: int, k: int, *, down: float = 0.0, loss: float = 0.0, keys: int = 2) -> list[Outcome]:
    world = LookupWorld(Population(nodes, 1, down), Quality(loss=loss), 2)
    return run_virtually(world.lookups(keys, 4, k))


def test_every_lookup_finds_the_closest() -> None:
    """With everybody up the k closest are found, all of them."""
    assert all(outcome.recall == 1.0 for outcome in _lookups(1_000, 5))


def test_hops_grow_slower_than_the_network() -> None:
    """Ten times the nodes cost a lookup less than one more hop."""
    few, many = (statistics.mean(each.hops for each in _lookups(nodes, 5)) for nodes in (200, 2_000))
    assert few <= many < few + 1


def test_a_lost_datagram_hides_nobody() -> None:
    """With 5 % of all messages lost the closest are found all the same, by asking again."""
    outcomes = _lookups(300, 5, loss=0.05)
    assert all(outcome.recall == 1.0 for outcome in outcomes)


def test_the_dead_cost_requests_and_time() -> None:
    """With 30 % down lookups ask more and take longer, and still end within their deadline."""
    well, ill = _lookups(300, 5), _lookups(300, 5, down=0.3)
    assert sum(each.requests for each in ill) > sum(each.requests for each in well)
    assert all(each.time <= 5_001 for each in ill)


def test_many_are_found_right_after_many_have_gone() -> None:
    """With 30 % down at once the 20 closest are found too, though each answer of 20 holds some six of the dead."""
    outcomes = _lookups(3_000, params.BUCKET_SIZE, down=0.3)
    assert all(outcome.recall == 1.0 for outcome in outcomes)
    assert all(outcome.requests < 80 for outcome in outcomes)


def test_the_same_seed_gives_the_same_lookups() -> None:
    """A run repeats to the last virtual millisecond."""
    assert _lookups(200, 5, down=0.3, loss=0.05) == _lookups(200, 5, down=0.3, loss=0.05)
