"""p2pcore.client.quorum: counting one write's outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.client.quorum import Quorum
from p2pcore.errors import Failure, InboxFull, NodeFull, NoQuorum, SignatureRefused, TooLarge, Unreachable


def asked(k: int, w: int, nodes: int) -> Quorum:
    quorum = Quorum(k, w)
    for number in range(nodes):
        assert quorum.ask(bytes([number]))
    return quorum


def test_w_confirmations_decide_and_fewer_do_not() -> None:
    """One stored replica is not reported as success."""
    quorum = asked(3, 2, 3)
    quorum.confirm(b"\x00")
    assert not quorum.decided
    quorum.confirm(b"\x01")
    assert quorum.decided
    assert quorum.reached
    assert not quorum.complete


def test_it_is_decided_as_soon_as_w_cannot_be_reached_any_more() -> None:
    """Two of three unreachable and nobody to replace them: no need to wait for the third."""
    quorum = asked(3, 2, 3)
    quorum.fail(b"\x00", Unreachable("a"))
    assert not quorum.decided
    quorum.fail(b"\x01", Unreachable("b"))
    assert quorum.decided
    assert not quorum.reached
    assert isinstance(quorum.failure(), NoQuorum)
    assert isinstance(quorum.failure().__cause__, Unreachable)


def test_a_replacement_being_sought_keeps_it_undecided() -> None:
    """The next closest node may still confirm."""
    quorum = asked(1, 1, 1)
    quorum.searching += 1
    assert quorum.fail(b"\x00", Unreachable("a"))
    assert not quorum.decided


@pytest.mark.parametrize("failure", [InboxFull("x"), NodeFull("x"), TooLarge("x")])
def test_the_refusal_that_prevented_the_quorum_keeps_its_class(failure: Failure) -> None:
    """Two of three inboxes full with w = 2: the sender is told so."""
    quorum = asked(3, 2, 3)
    quorum.fail(b"\x00", failure)
    quorum.fail(b"\x01", failure)
    quorum.confirm(b"\x02")
    assert type(quorum.failure()) is type(failure)


@pytest.mark.parametrize("failure", [SignatureRefused("x"), Unreachable("x")])
def test_our_own_fault_or_silence_is_no_quorum(failure: Failure) -> None:
    """Nodes that refuse our signature are no reason to bounce a message."""
    quorum = asked(1, 1, 1)
    quorum.fail(b"\x00", failure)
    assert type(quorum.failure()) is NoQuorum
    assert quorum.failure().temporary


def test_a_full_inbox_is_not_put_aside_on_another_node() -> None:
    """Its owner would hardly look there; a full node is replaced."""
    assert not asked(3, 2, 3).fail(b"\x00", InboxFull("x"))
    assert asked(3, 2, 3).fail(b"\x00", NodeFull("x"))


def test_at_most_max_connections_nodes_are_asked() -> None:
    """maxConnections = 2 k."""
    quorum = asked(2, 2, 4)
    assert not quorum.ask(b"another")
    assert not quorum.fail(b"\x00", Unreachable("a"))


@given(st.integers(1, 10), st.data())
def test_a_decision_never_changes(k: int, data: st.DataObject) -> None:
    """Invariant: once decided, reached or not stays so, and reached means w different nodes confirmed."""
    w = data.draw(st.integers(k // 2 + 1, k))
    quorum = asked(k, w, k)
    verdict: bool | None = None
    for number in range(k):
        if data.draw(st.booleans()):
            quorum.confirm(bytes([number]))
        else:
            quorum.fail(bytes([number]), InboxFull("x"))
        if verdict is None and quorum.decided:
            verdict = quorum.reached
        assert verdict in (None, quorum.reached)
    assert quorum.complete
    assert quorum.reached == (len(set(quorum.confirmed)) >= w) == verdict
