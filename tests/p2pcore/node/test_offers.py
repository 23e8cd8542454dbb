"""Offers: what is held is walked through once, however it is spread over keys."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from p2pcore.node import offers
from p2pcore.node.changes import EVERY_KEY
from p2pcore.node.offers import Kind
from p2pcore.node.schema import open_writer

NEVER = 1 << 50
INBOX = os.urandom(32)


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    db = open_writer(Path(":memory:"))
    yield db
    db.close()


def add_object(db: apsw.Connection, number: int) -> None:
    row = (number, os.urandom(32), INBOX, bytes(32), 6, 1, NEVER, bytes(32), b"signed", 1, "", 0)
    db.execute(f"INSERT INTO objects VALUES ({', '.join('?' * 12)})", row)


def add_deletion(db: apsw.Connection, number: int) -> None:
    add_object(db, number)
    for _ in range(2):
        db.execute("INSERT INTO tombstones VALUES (?, ?, ?)", (os.urandom(32), number, bytes(32)))


def add_entry(db: apsw.Connection, number: int) -> None:
    row = (number, os.urandom(32), INBOX, 6, NEVER, bytes(32), b"signed")
    db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def add_acknowledgement(db: apsw.Connection, number: int) -> None:
    row = (number, os.urandom(32), INBOX, NEVER, bytes(32), b"signed", bytes(16))
    db.execute("INSERT INTO acknowledgements VALUES (?, ?, ?, ?, ?, ?, ?)", row)


def walk(db: apsw.Connection, kind: Kind) -> tuple[list[bytes], int]:
    """The identities in order, and how many steps the database took for them."""
    steps = 0

    def count() -> bool:
        nonlocal steps
        steps += 1
        return False

    db.set_progress_handler(count, 10)
    identities: list[bytes] = []
    items, after = offers.held(db, kind, 0, EVERY_KEY, None, 7)
    while items:
        identities += [item.identity for item in items]
        items, after = offers.held(db, kind, 0, EVERY_KEY, after, 7)
    db.set_progress_handler(None)
    return identities, steps


@pytest.mark.parametrize(
    ("kind", "add", "each"),
    [
        ("object", add_object, 1),
        ("deletion", add_deletion, 2),
        ("entry", add_entry, 1),
        ("acknowledge", add_acknowledgement, 1),
    ],
)
def test_much_under_one_key_is_walked_through_once(
    db: apsw.Connection, kind: Kind, add: Callable[[apsw.Connection, int], None], each: int
) -> None:
    """Everything comes once, and twice as much under one key takes about twice as long, not four times."""
    costs = []
    for most in (200, 400):
        for number in range(most - 200, most):
            add(db, number + 1)
        identities, steps = walk(db, kind)
        assert len(identities) == len(set(identities)) == most * each
        costs.append(steps)
    assert costs[1] < 2.5 * costs[0]
