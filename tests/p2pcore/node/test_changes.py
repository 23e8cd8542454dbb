"""What a change of contacts concerns, against sorting everybody."""

import asyncio
import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.dht.contact import Contact, distance
from p2pcore.node.changes import Change, Changes
from tests.support.fixed_substrate import FixedSubstrate


def _contacts(source: random.Random, count: int, shared: bytes = b"") -> list[Contact]:
    size = params.KEY_SIZE - len(shared)
    return [Contact(shared + source.randbytes(size), "192.0.2.1", 1 + number) for number in range(count)]


def _closest(key: bytes, contacts: set[Contact], k: int) -> set[Contact]:
    return set(sorted(contacts, key=lambda contact: distance(contact.node_id, key))[:k])


@given(
    seed=st.integers(0, 1 << 32),
    sizes=st.tuples(*[st.integers(0, 30)] * 3),
    near=st.integers(0, 20),
    k=st.integers(1, params.MAX_K),
)
def test_every_key_whose_closest_changed_is_concerned(
    seed: int, sizes: tuple[int, int, int], near: int, k: int
) -> None:
    """Whoever stays, comes or goes: a key with other k closest than before is concerned, and lies in a span."""
    source = random.Random(seed)
    shared = source.randbytes(2)
    stay, came, gone = (set(_contacts(source, size)) for size in sizes)
    stay |= set(_contacts(source, near, shared))
    change = Change(came | gone, stay | came)
    spans = change.spans(k)
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans))
    keys = [shared + source.randbytes(params.KEY_SIZE - 2) for _ in range(20)]
    keys += [source.randbytes(params.KEY_SIZE) for _ in range(20)]
    for key in keys:
        concerned = change.concerns(key, k)
        assert concerned or _closest(key, stay | gone, k) == _closest(key, stay | came, k)
        assert any(first <= key <= last for first, last in spans) or not concerned
        if not gone:
            assert concerned == bool(_closest(key, stay | came, k) & came)


async def test_who_came_and_went_between_two_looks_is_named() -> None:
    """A contact that was evicted and added again may have missed something: it has changed."""
    source = random.Random(1)
    own, other, third = _contacts(source, 3)
    substrate = FixedSubstrate([own, other])
    changes = Changes(substrate, own.node_id)
    substrate.replace([own])
    substrate.replace([own, other])
    await changes.wait()
    taken = changes.take()
    assert taken is not None
    assert taken.contacts == {other}
    changes.again([third])
    substrate.replace([other])
    taken = changes.take()
    assert taken is not None
    assert taken.contacts == {third}, "our own node is no contact, and what was put back counts"


async def test_more_changes_than_are_remembered_are_everybodys() -> None:
    """Memory is bounded: after hundreds of changes every key counts as concerned, once."""
    source = random.Random(2)
    substrate = FixedSubstrate()
    changes = Changes(substrate, bytes(params.KEY_SIZE))
    substrate.replace(_contacts(source, 500))
    assert changes.take() is None
    taken = changes.take()
    assert taken is not None
    assert not taken.contacts
    changes.again(None)
    assert changes.take() is None


async def test_what_is_put_back_waits_for_the_next_change() -> None:
    """A peer that does not answer starts no round by itself."""
    changes = Changes(FixedSubstrate(), bytes(params.KEY_SIZE))
    changes.again(_contacts(random.Random(3), 1))
    waiting = asyncio.create_task(changes.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()


async def test_a_known_contact_that_says_it_was_started_has_changed() -> None:
    """It may have lost what it held, though it came and went unnoticed; one that is not known changes when it comes."""
    own, other, third = _contacts(random.Random(4), 3)
    substrate = FixedSubstrate([own, other])
    changes = Changes(substrate, own.node_id)
    changes.returned(third.node_id)
    changes.returned(own.node_id)
    waiting = asyncio.create_task(changes.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    changes.returned(other.node_id)
    await waiting
    taken = changes.take()
    assert taken is not None
    assert taken.contacts == {other}
