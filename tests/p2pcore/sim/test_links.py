"""Delays and losses."""

import statistics

import pytest

from p2pcore.sim.links import Links, Quality


def test_delays_have_the_median_asked_for_and_an_end() -> None:
    """Half of all messages take longer than the median, none longer than 400 ms."""
    links = Links(Quality(median=0.04), 1)
    delays = [links.delay() for _ in range(4_000)]
    assert statistics.median(delays) == pytest.approx(0.04, rel=0.05)
    assert max(delays) <= 0.4
    assert links.messages == 4_000


def test_the_share_of_losses_is_the_one_asked_for() -> None:
    """Messages are lost with the probability given, and never where it is 0."""
    links = Links(Quality(loss=0.1), 1)
    assert sum(links.lose() for _ in range(4_000)) == pytest.approx(400, rel=0.15)
    perfect = Links(Quality(), 1)
    assert not any(perfect.lose() for _ in range(100))
