"""`check` says what is wrong with a store, and `repair` puts right what it can without losing anything."""

from pathlib import Path

import pytest

from gateway.mailbox.database import Database
from gateway.mailbox.store import MailStore

KEY = bytes(range(32))
SMALL = b"Subject: small\r\n\r\ntext\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"line\r\n" * 20_000


def quiet(what: str, done: int, total: int) -> None:
    """Nobody looks."""


async def filled(directory: Path, *sql: str) -> None:
    """A store with a few messages, to which then something happens from outside."""
    store = await MailStore.open(directory, KEY)
    await store.append("INBOX", SMALL, ["\\Seen"], 0, 0)
    await store.append("INBOX", LARGE, ["\\Deleted", "Work"], 0, 0)
    await store.copy(1, [1], "Archive")
    assert await store.check(quiet) == []
    await store.close()
    opened = Database.open(directory, KEY, 0)
    opened.connection.pragma("foreign_keys", False)
    for statement in sql:
        opened.connection.execute(statement)
    opened.close()


CASES = [
    ("UPDATE mailboxes SET messages = 7, size = 1 WHERE id = 1", "INBOX: counters say"),
    ("UPDATE mailboxes SET uidnext = 2 WHERE id = 1", "INBOX: UIDNEXT 2"),
    ("UPDATE mailboxes SET highest_modseq = 1 WHERE id = 1", "INBOX: HIGHESTMODSEQ 1"),
    ("UPDATE contents SET refs = 9 WHERE id = 1", "content 1: counted in 9"),
    ("DELETE FROM messages WHERE mailbox_id = 1 AND uid = 2", "content 2: counted in 1 mailboxes, held by 0"),
    ("UPDATE contents SET envelope = x'28' WHERE id = 1", "content 1 (INBOX 1, Archive 1): what FETCH tells"),
    ("UPDATE mailboxes SET uidvalidity = 4000000000 WHERE id = 2", "Drafts: its UIDVALIDITY"),
    ("UPDATE messages SET content_id = 99 WHERE mailbox_id = 4", "1 messages have no content"),
]


@pytest.mark.parametrize(("damage", "said"), CASES, ids=[said for _, said in CASES])
async def test_found_and_put_right(tmp_path: Path, damage: str, said: str) -> None:
    """What is wrong is named; after the repair nothing is, and every readable content is still in a mailbox."""
    await filled(tmp_path / "account", damage)
    store = await MailStore.open(tmp_path / "account", KEY)
    before = await store.mailbox("INBOX")
    assert any(said in problem for problem in await store.check(quiet))
    done, left = await store.repair(quiet)
    assert len(done) > 1
    assert left == []
    contents = {
        await store.read(mailbox.id, row.uid)
        for mailbox in await store.mailboxes()
        for row in (await store.snapshot(mailbox.name)).messages
    }
    assert contents == {SMALL, LARGE}
    after = await store.mailbox("INBOX")
    assert (after.uidvalidity == before.uidvalidity) is ("UIDNEXT" not in said)
    assert (await store.append("INBOX", SMALL, [], 0, 0))[1] == max(before.uidnext, 3)
    await store.close()


@pytest.mark.parametrize("harm", ["missing", "changed"])
async def test_an_unreadable_content_is_named_and_left_alone(tmp_path: Path, harm: str) -> None:
    """No repair makes a lost file again; it is said which message it was, and nothing is removed."""
    await filled(tmp_path / "account")
    (file,) = (tmp_path / "account" / "messages").iterdir()
    octets = bytearray(file.read_bytes())
    octets[-5] ^= 1
    file.unlink() if harm == "missing" else file.write_bytes(octets)
    store = await MailStore.open(tmp_path / "account", KEY)
    (problem,) = await store.check(quiet)
    assert "content 2 (INBOX 2)" in problem
    assert (await store.repair(quiet))[1] == [problem]
    assert (await store.mailbox("INBOX")).messages == 2
    await store.close()


async def test_progress_comes_to_its_end(store: MailStore) -> None:
    """What is told of the progress only grows, and ends where it said it would."""
    for _ in range(70):
        await store.append("INBOX", SMALL, [], 0, 0)
    told: list[tuple[int, int]] = []
    await store.check(lambda what, done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1] == (70, 70)
