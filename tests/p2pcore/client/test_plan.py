"""`plan`: k, loss terms and cost for a target."""

import pytest

from p2pcore import availability, params
from p2pcore.client.plan import Question, majority, plan
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.sealing import NotificationSealer, sealed_size
from p2pcore.records import Notification
from tests.support.record_values import fixed


def test_the_papers_question() -> None:
    """Half of the nodes up, five nines for 100 operations: k = 24, more than there may be."""
    answer = plan(Question(up=0.5, target=0.99999, operations=100))
    assert (answer.k, answer.w, answer.possible, answer.most) == (24, 13, False, params.MAX_K)
    assert answer.exact == pytest.approx(23.2535, abs=1e-4)
    assert answer.reached >= 0.99999 > answer.with_most
    assert answer.loss.all_down == 0.5**24
    assert answer.loss.joined_closer == availability.joined_closer(24, 1_000, 24)


def test_few_nodes() -> None:
    """Not more copies than nodes; where every node is asked, only (1) remains."""
    answer = plan(Question(up=0.9, target=0.999, nodes=3, joining=1))
    assert (answer.k, answer.most, answer.possible) == (4, 3, False)
    assert answer.loss.widened_asked == pytest.approx(0.1**4)


def test_cost() -> None:
    """k copies of the body, and for each recipient k entries; each recipient reads her entries and one body."""
    answer = plan(Question(up=0.9, target=0.99, operations=2, size=100_000, recipients=3))
    cost = answer.cost
    assert cost.body - sealed_size(100_000) in range(200, 500)
    assert cost.stored == answer.k * (cost.body + 3 * cost.entry)
    assert cost.sent == cost.stored + 3 * (answer.k * cost.entry + cost.body)


def test_entry_size() -> None:
    """An entry costs what a small sealed notification and its signed statement take, to within 5 %."""
    notification = fixed(Notification)
    assert isinstance(notification, Notification)
    sealed = NotificationSealer().seal(notification, HpkeKey.generate().public_bytes)
    assert plan(Question(up=0.9)).cost.entry == pytest.approx(len(sealed) + 240, rel=0.05)


def test_majority() -> None:
    """The least w with k/2 < w."""
    assert [majority(k) for k in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]
