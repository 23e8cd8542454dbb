"""The paper's arithmetic of loss (§4), and the exact probabilities beside it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import availability

ups = st.floats(0.05, 0.99)
few = st.integers(1, 12)


def test_the_equations_by_hand() -> None:
    """(1) to (6) give what one computes from the paper with small numbers."""
    assert availability.all_down(0.5, 5) == 0.03125
    q = 0.5 * 0.5 / 8
    assert availability.risen_closer(0.5, 3, 8) == pytest.approx(4 * q**3 + q**4)
    assert availability.joined_closer(2, 9, 3) == pytest.approx(3 / 100 + 1 / 1_000)
    assert availability.read_succeeds(0.5, 5) == 0.96875
    assert availability.action_succeeds(0.5, 5, 2) == pytest.approx(0.96875**2)
    assert availability.copies(0.5, 0.96875**2, 2) == pytest.approx(5)
    assert availability.copies_needed(0.5, 0.96875**2, 2) == 5
    assert availability.copies_needed(0.5, 0.97**2, 2) == 6


def test_terms_that_cannot_be() -> None:
    """Fewer nodes than k: (2) and (3) are 0; a printed sum above 1 is given as 1."""
    assert availability.risen_closer(0.99, 5, 100) == 0
    assert availability.joined_closer(5, 100, 4) == 0
    assert availability.joined_closer(1, 10, 1_000) == 1
    assert availability.joined_closer(1, 10**9, 10**9) == 1
    assert availability.newcomers_closest(100, 4, 5) == 0


def test_long_sums() -> None:
    """(2) and (3) of a million nodes are the same as term by term in logarithms."""
    nodes, k = 10**6, 3
    mean = nodes / (nodes + 1)
    poisson = 1 - math.exp(-mean) * (1 + mean + mean**2 / 2)
    unnormalised = poisson * math.exp(mean)  # the printed terms lack the factor for nodes that are not closer
    assert availability.joined_closer(k, nodes, nodes) == pytest.approx(unnormalised, rel=1e-5)


@given(up=ups, target=st.floats(0.5, 0.999999), operations=st.integers(1, 10_000))
def test_enough_and_no_more(up: float, target: float, operations: int) -> None:
    """The k of equation (6) reaches the target by equation (5), and k - 1 does not."""
    k = availability.copies_needed(up, target, operations)
    assert availability.action_succeeds(up, k, operations) >= target - 1e-9
    assert k == 1 or availability.action_succeeds(up, k - 1, operations) < target


@given(up=ups, k=few, width=few, joined=st.floats(0, 2))
def test_exact_loss(up: float, k: int, width: int, joined: float) -> None:
    """All causes together are no less than either and no more than both; (1) is exact; more asked lose less."""
    one = availability.all_down(up, k)
    other = availability.asked_in_vain(up, width, joined)
    fails = availability.read_fails(up, k, width, joined)
    assert max(one, other) <= fails * (1 + 1e-9)
    assert fails <= (one + other) * (1 + 1e-9)
    assert availability.read_fails(up, k, width + 1, joined) <= fails * (1 + 1e-9)
    assert availability.read_fails(up, k, 2_000) == pytest.approx(one)


@given(up=ups, k=few)
def test_risen_nodes_hide_as_often_as_holders_are_down(up: float, k: int) -> None:
    """With k asked, term (2) is exactly term (1): written and read may change places."""
    assert availability.asked_in_vain(up, k) == pytest.approx(availability.all_down(up, k))
    assert availability.asked_in_vain(up, 2 * k) == pytest.approx(availability.all_down(up, 2 * k))


def test_newcomers() -> None:
    """Of I + N nodes the k closest are all new as often as k balls drawn are all of one colour."""
    assert availability.newcomers_closest(100, 5, 5) == pytest.approx(1 / math.comb(105, 5))
    assert availability.asked_in_vain(1.0, 3, 1.0) == pytest.approx(1 / 8)


def test_staying_up() -> None:
    """A node that was up is up a moment later for certain, after a long time with p."""
    assert availability.still_up(0.3, 4, 0) == 1
    assert availability.still_up(0.3, 4, 1e6) == pytest.approx(0.3)
    assert availability.read_fails(0.3, 2, 4, stays=1.0) == 0
    assert availability.read_fails(0.3, 2, 4, stays=0.3) == availability.read_fails(0.3, 2, 4)


def test_quorum() -> None:
    """A write needs w nodes that are up; what was accepted is on those, and on no others before repair."""
    assert availability.write_finds_quorum(0.9, 3, 2) == pytest.approx(0.972)
    assert availability.write_finds_quorum(0.9, 3, 3) == pytest.approx(0.729)
    two, three = 3 * 0.9**2 * 0.1 * 0.1**2, 0.9**3 * 0.1**3
    assert availability.read_fails_after_quorum(0.9, 3, 2) == pytest.approx((two + three) / 0.972)
    assert availability.read_fails_after_quorum(0.9, 3, 3) == pytest.approx(0.1**3)
