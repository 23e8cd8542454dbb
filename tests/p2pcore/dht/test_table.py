"""The routing table: 256-bit IDs, closest in truth, full buckets, replacements."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.table import Table

OWN = bytes(32)


def contact(number: int, first: int | None = None) -> Contact:
    node_id = hashlib.sha256(number.to_bytes(8, "big")).digest()
    if first is not None:
        node_id = bytes([first]) + node_id[1:]
    return Contact(node_id, "10.0.0.1", 1_000 + number)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=120), st.binary(min_size=32, max_size=32))
def test_closest_is_the_closest_of_all_that_were_added(ids: list[bytes], target: bytes) -> None:
    """Whatever is added and removed, `closest` orders exactly the contacts of `all`, which never hold our own ID."""
    table = Table(OWN, 0, bucket_size=4)
    for node_id in ids:
        table.add(Contact(node_id, "10.0.0.1", 1))
    for node_id in ids[::3]:
        table.remove(node_id)
    contacts = {contact.node_id for contact in table.all()}
    assert OWN not in contacts
    assert not contacts & set(ids[::3])
    nearest = [contact.node_id for contact in table.closest(target, 7)]
    assert nearest == sorted(contacts, key=lambda node_id: distance(node_id, target))[:7]
    assert len(table) == len(contacts)


def test_ids_at_the_very_edges_of_ranges_are_found_again() -> None:
    """The first and last ID of a range belong to it."""
    table = Table(OWN, 0, bucket_size=1)
    edges = [bytes(31) + b"\1", b"\x7f" + b"\xff" * 31, b"\x80" + bytes(31), b"\xff" * 32]
    for node_id in edges:
        table.add(Contact(node_id, "10.0.0.1", 1))
    for known in table.all():
        assert table.get(known.node_id) == known
        table.remove(known.node_id)
    assert all(table.get(node_id) is None or node_id in edges for node_id in edges)


def test_a_full_bucket_challenges_its_oldest_contact() -> None:
    """A newcomer to a full bucket far from us waits as a replacement, and takes the place of one that leaves."""
    table = Table(OWN, 0, bucket_size=2)
    near, old, newer, newcomer = contact(1, 0x01), contact(2, 0xF8), contact(3, 0xFC), contact(4, 0xFA)
    assert table.add(near).added
    assert table.add(old).added
    assert table.add(newer).added
    addition = table.add(newcomer)
    assert (addition.added, addition.challenged) == (False, old)
    assert table.get(newcomer.node_id) is None
    assert table.remove(old.node_id) == newcomer
    assert {contact.node_id for contact in table.all()} == {near.node_id, newer.node_id, newcomer.node_id}


def test_adding_again_moves_up_and_takes_the_new_endpoint() -> None:
    """A contact seen again is the youngest of its bucket and no addition."""
    table = Table(OWN, 0, bucket_size=2)
    old, newer = contact(2, 0xF8), contact(3, 0xFC)
    table.add(contact(1, 0x01))
    table.add(old)
    table.add(newer)
    moved = Contact(old.node_id, "10.0.0.2", 9)
    assert not table.add(moved).added
    assert table.get(old.node_id) == moved
    assert table.add(contact(4, 0xFA)).challenged == newer


def test_buckets_not_looked_into_are_stale() -> None:
    """A lookup freshens the bucket of its target only; a split hands its parent's time down."""
    table = Table(OWN, 5, bucket_size=1)
    assert table.stale(4) == []
    table.add(contact(1, 0x01))
    table.add(contact(2, 0xF0))
    assert len(table.stale(5)) == len(table.looked_into()) >= 2
    table.touch(b"\xf0" + bytes(31), 10)
    assert all(last < 0x80 << 248 for _, last in table.stale(5))
    assert (0x80 << 248, 2**256 - 1) in table.ranges()
