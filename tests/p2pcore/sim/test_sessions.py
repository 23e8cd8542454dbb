"""The model of sessions has the figures that its sources give."""

import random
import statistics

import pytest

from p2pcore import params
from p2pcore.sim.sessions import FILE_SHARERS


def test_half_of_all_sessions_are_shorter_than_an_hour() -> None:
    """The median is that of Saroiu, Gummadi and Gribble; the mean follows from the heavy tail."""
    source = random.Random(1)
    drawn = [FILE_SHARERS.up(source) for _ in range(20_000)]
    assert statistics.median(drawn) == pytest.approx(60 * params.MINUTE, rel=0.05)
    assert statistics.mean(drawn) == pytest.approx(FILE_SHARERS.mean_up, rel=0.05)


def test_a_host_joins_six_times_a_day() -> None:
    """Sessions and absences together come to the 6.4 joins a day of Bhagwan, Savage and Voelker."""
    source = random.Random(1)
    cycles = [FILE_SHARERS.up(source) + FILE_SHARERS.down(source) for _ in range(20_000)]
    assert params.DAY / statistics.mean(cycles) == pytest.approx(6.4, rel=0.05)
    assert FILE_SHARERS.availability == pytest.approx(0.74, abs=0.01)
