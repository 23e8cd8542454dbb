"""The routing table: 256-bit IDs, closest in truth, full buckets, replacements."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import params
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


def placed(number: int, host: str, first: int = 0xF0) -> Contact:
    return Contact(contact(number, first).node_id, host, 4_000)


def filled(hosts: list[str], size: int) -> Table:
    """A table whose far bucket, which may not split any more, holds `hosts` in order."""
    table = Table(OWN, 0, bucket_size=size)
    for number in range(size):
        table.add(contact(1_000 + number, 0x01))
    for number, host in enumerate(hosts):
        assert table.add(placed(number, host, 0xF0 + 5 * number % 8)).added
    return table


@pytest.mark.parametrize("other", ["192.0.2.9", "2001:db8:5::9"])
def test_in_a_full_bucket_a_crowded_subnet_makes_room_for_others(other: str) -> None:
    """Of one /24, or /48, SUBNET_CONTACTS stay where others want the room; the longest unheard of go first."""
    size = 8
    table = filled([f"198.51.100.{number}" for number in range(1, size + 1)], size)
    for number in range(size - params.SUBNET_CONTACTS):
        host = other.replace("2.9", f"{2 + number}.9").replace(":5:", f":{5 + number}:")
        addition = table.add(placed(100 + number, host, 0xF0 + number))
        assert addition.added
        assert addition.displaced is not None
        assert addition.displaced.host == f"198.51.100.{number + 1}"
        assert table.get(addition.displaced.node_id) is None
    last = table.add(placed(200, "203.0.113.9", 0xF3))
    assert (last.added, last.displaced) == (False, None)
    far = [known for known in table.all() if known.node_id[0] >= 0x80]
    assert len(far) == size
    assert sum(known.host.startswith("198.51.100.") for known in far) == params.SUBNET_CONTACTS


def test_a_crowded_subnet_takes_nobodys_place() -> None:
    """More of a subnet that has its share already wait as replacements, however many come."""
    size = 8
    table = filled([f"198.51.{number // 2}.1" for number in range(size)], size)
    for number in range(40):
        addition = table.add(placed(100 + number, "198.51.0.77", 0xF0 + number % 8))
        assert not addition.added
        assert addition.challenged is not None
    assert {known.host for known in table.all() if known.node_id[0] >= 0x80} == {f"198.51.{n}.1" for n in range(4)}


def test_a_network_in_one_subnet_is_whole() -> None:
    """While there is room nobody is turned away: a table of one rack, or of loopback, holds all."""
    table = Table(OWN, 0)
    for number in range(params.BUCKET_SIZE):
        assert table.add(Contact(contact(number).node_id, "127.0.0.1", 1_000 + number)).added
    assert len(table) == params.BUCKET_SIZE


def test_the_newest_replacement_of_a_subnet_with_room_is_promoted() -> None:
    """Where a contact leaves, one of another subnet takes its place before a newer one of a crowded subnet."""
    table = filled(["198.51.100.1", "198.51.100.2", "192.0.3.1", "192.0.2.1", "203.0.113.1", "203.0.113.2"], 6)
    other, crowded = placed(50, "192.0.3.2", 0xF1), placed(51, "198.51.100.3", 0xF2)
    assert not table.add(other).added
    assert not table.add(crowded).added
    leaving = next(known for known in table.all() if known.host == "192.0.2.1")
    assert table.remove(leaving.node_id) == other


def test_replacements_are_bounded_and_one_subnet_does_not_push_the_others_out() -> None:
    """A thousand waiting contacts of one /24 leave the single one of another in the cache."""
    size = 4
    table = filled(["198.51.100.1", "198.51.100.2", "192.0.2.1", "192.0.2.2"], size)
    waiting = placed(61, "192.0.2.4", 0xF3)
    assert not table.add(waiting).added
    for number in range(1_000):
        assert not table.add(placed(100 + number, "198.51.100.9", 0xF0 + number % 8)).added
    caches = [bucket.replacement_nodes for bucket in table._table.buckets]
    assert max(map(len, caches)) == table._table.buckets[0].max_replacement_nodes
    assert any(waiting.node_id in cache for cache in caches)
