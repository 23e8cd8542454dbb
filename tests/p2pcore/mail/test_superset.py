"""p2pcore.mail.superset: all entries of all replicas, minus all acknowledged ones, each once."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.mail.superset import Superset
from p2pcore.records import EntryStatement, InboxPage, Proof, SignedStatement, identity


def entry(number: int) -> SignedStatement:
    statement = EntryStatement(bytes(32), b"%d" % number, 1, 2, bytes(32))
    return SignedStatement(statement, Proof(1, 0, (), bytes(64)))


def page(*numbers: int) -> InboxPage:
    return InboxPage(bytes(16), 0, tuple(entry(number) for number in numbers), (), False, 0, ())


def name(number: int) -> bytes:
    return identity(entry(number).statement)


@given(st.lists(st.lists(st.integers(0, 20)), max_size=5), st.sets(st.integers(0, 20)))
def test_every_entry_of_any_replica_comes_exactly_once(pages: list[list[int]], acknowledged: set[int]) -> None:
    """Invariant: what is given out is the union of the pages minus the acknowledged, without repetition."""
    superset = Superset()
    superset.settle_all(name(number) for number in acknowledged)
    given_out = [each for numbers in pages for each, _ in superset.candidates(page(*numbers)) if superset.settle(each)]
    assert sorted(given_out) == sorted(
        {name(number) for numbers in pages for number in numbers if number not in acknowledged}
    )


def test_a_damaged_copy_does_not_take_the_good_one_away() -> None:
    """Only the copy that was refused is passed over; the refusal of the entry is new once."""
    superset = Superset()
    good = entry(1)
    damaged = msgspec.structs.replace(good, proof=Proof(1, 0, (), b"x" * 64))
    assert superset.refuse(name(1), damaged)
    assert not superset.refuse(name(1), damaged)
    both = msgspec.structs.replace(page(), entries=(damaged, good))
    assert superset.candidates(both) == [(name(1), good)]


def test_what_could_not_be_handled_comes_again() -> None:
    """After reopen."""
    superset = Superset()
    superset.settle(name(1))
    superset.reopen(name(1))
    assert len(superset.candidates(page(1))) == 1


def test_its_memory_is_bounded() -> None:
    """The oldest identity is forgotten first."""
    superset = Superset(remembered=2)
    superset.settle_all([name(1), name(2), name(3)])
    assert [each for each, _ in superset.candidates(page(1, 2, 3))] == [name(1)]
