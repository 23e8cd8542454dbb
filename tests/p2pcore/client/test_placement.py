"""p2pcore.client.placement: k and w now and since."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.client.placement import current, largest_k
from p2pcore.errors import CannotKnow
from p2pcore.records import Replication

HISTORY = (Replication(100, 5, 3), Replication(200, 3, 2), Replication(300, 4, 3))


def test_k_and_w_are_those_of_the_newest_entry_that_has_begun() -> None:
    """The history may come in any order; before its first entry the first holds."""
    assert [current(HISTORY[::-1], now).k for now in (50, 100, 199, 200, 299, 300, 999)] == [5, 5, 5, 3, 3, 4, 4]


def test_the_largest_k_since_an_issue_counts_the_k_in_force_then() -> None:
    """What was issued at 150 went to 5 nodes, although k was never 5 afterwards."""
    assert [largest_k(HISTORY, since) for since in (50, 150, 200, 250, 300)] == [5, 5, 4, 4, 4]


def test_without_any_record_nothing_is_known() -> None:
    """No guess is made of k and w."""
    with pytest.raises(CannotKnow):
        current((), 1)


@given(st.lists(st.integers(0, 1000).map(lambda time: Replication(time, 1 + time % 20, 1)), min_size=1), st.data())
def test_largest_k_is_never_below_the_current_one(history: list[Replication], data: st.DataObject) -> None:
    """Invariant: for every issue up to now, largest_k(issue) >= current(now).k."""
    now = data.draw(st.integers(0, 1000))
    since = data.draw(st.integers(0, now))
    assert largest_k(history, since) >= current(history, now).k or now < min(each.since for each in history)
