"""A store in a directory of its own, and a check that its counters tell the truth."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.mailbox.model import DELETED, SEEN
from gateway.mailbox.store import MailStore

KEY = bytes(range(32))


@pytest.fixture
def key() -> bytes:
    return KEY


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MailStore]:
    opened = await MailStore.open(tmp_path / "account", KEY)
    yield opened
    await check_counters(opened)
    await opened.close()


async def check_counters(store: MailStore) -> None:
    """Every stored counter is what counting the rows gives."""
    for mailbox in await store.mailboxes():
        snapshot = await store.snapshot(mailbox.name)
        rows = snapshot.messages
        assert snapshot.mailbox == mailbox
        assert mailbox.messages == len(rows)
        assert mailbox.unseen == sum(SEEN not in row.flags for row in rows)
        assert mailbox.deleted == sum(DELETED in row.flags for row in rows)
        assert mailbox.size == sum(row.size for row in rows)
        assert [row.uid for row in rows] == sorted({row.uid for row in rows})
        assert all(row.uid < mailbox.uidnext and row.modseq <= mailbox.highest_modseq for row in rows)
