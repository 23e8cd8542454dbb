"""Monte-Carlo runs: the same in every run, and what the exact probabilities say."""

import math

import pytest

from p2pcore import availability
from p2pcore.client.placement import widened
from p2pcore.sim.availability import Churn, Share, failed_reads, losses

TRIALS = 4_000


def agrees(share: Share, exact: float) -> bool:
    """Within four standard errors."""
    return abs(share.value - exact) <= 4 * math.sqrt(exact * (1 - exact) / share.trials)


@pytest.mark.parametrize("up", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("joining", [0, 60])
def test_losses(up: float, joining: int) -> None:
    """Holders down, nodes asked in vain and reads that fail come as often as the exact probabilities say."""
    nodes = 2_000
    joined = joining * 10 / nodes
    for loss in losses(up, (1, 3), nodes=nodes, joining=joining * 10, trials=TRIALS, seed=7):
        assert agrees(loss.all_down, availability.all_down(up, loss.k))
        assert agrees(loss.asked_in_vain, availability.asked_in_vain(up, loss.k, joined))
        assert agrees(loss.k_asked, availability.read_fails(up, loss.k, loss.k, joined))
        assert agrees(loss.widened_asked, availability.read_fails(up, loss.k, widened(loss.k), joined))


def test_newcomers_alone() -> None:
    """Where all are up only newcomers hide an object, as often as the k closest of all are new."""
    (loss,) = losses(1.0, (3,), nodes=50, joining=25, trials=TRIALS, seed=7)
    assert loss.all_down.count == 0
    assert agrees(loss.asked_in_vain, availability.newcomers_closest(50, 25, 3))


def test_without_repair() -> None:
    """Long after it was written an object without repair is found as §4 says."""
    churn = Churn(mean_up=4, mean_down=4, repair=0)
    failed = failed_reads(churn, 2, nodes=40, hours=100, trials=TRIALS, seed=7)
    assert agrees(failed, availability.read_fails(0.5, 2, 4))


def test_soon_after() -> None:
    """A read soon after the writing finds nodes that stay up, by the same equations with `stays`."""
    churn = Churn(mean_up=30, mean_down=10, repair=0)
    failed = failed_reads(churn, 1, nodes=40, hours=3, trials=TRIALS, seed=7)
    near, far = (
        availability.read_fails(0.75, 1, 2, stays=availability.still_up(0.75, churn.cycle, hours)) for hours in (3, 4)
    )
    assert near * 0.8 < failed.value < far * 1.2


def test_repair_helps() -> None:
    """The more often copies are brought back to k, the fewer reads fail."""
    shares = [
        failed_reads(Churn(8, 8, every), 2, nodes=20, hours=24, trials=1_000, seed=7).value for every in (1, 4, 12)
    ]
    assert shares == sorted(shares)
    assert shares[0] < shares[-1] / 5


def test_seeded() -> None:
    """One seed gives one result, another seed another."""
    first, again, other = (losses(0.5, (2,), nodes=40, joining=5, trials=500, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_share() -> None:
    """Its standard error is the binomial's, and that of one case where nothing was counted."""
    assert Share(50, 200).value == 0.25
    assert Share(50, 200).error == pytest.approx((0.25 * 0.75 / 200) ** 0.5)
    assert Share(0, 100).error == Share(1, 100).error > 0
