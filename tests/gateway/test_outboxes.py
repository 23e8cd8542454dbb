"""gateway.outboxes: how copies and reports come into a mailbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.mailbox.model import SEEN, NewMessage
from gateway.mailbox.store import MailStore
from gateway.outboxes import files_into

CONTENT = b"From: alice@example.org\r\nMessage-ID:\r\n <1.mine@example.org>\r\nSubject: hello\r\n\r\ntext\r\n"
OTHER = CONTENT.replace(b"<1.mine@", b"<2.mine@")
IDENTITY, ANOTHER = bytes(32), bytes(31) + b"\1"
TIME = 1_700_000_000_123


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MailStore]:
    opened = await MailStore.open(tmp_path / "account", bytes(range(32)))
    yield opened
    await opened.close()


async def _contents(store: MailStore, name: str) -> list[bytes]:
    snapshot = await store.snapshot(name)
    return [await store.read(snapshot.mailbox.id, row.uid) for row in snapshot.messages]


async def test_a_copy_is_filed_once_in_sent_and_seen(store: MailStore, tmp_path: Path) -> None:
    """Repeated after a crash it files nothing; a large content comes as a file."""
    file = files_into(store, "\\Sent")
    for _ in range(2):
        await file(IDENTITY, CONTENT, TIME)
    large = tmp_path / "large"
    large.write_bytes(OTHER)
    for _ in range(2):
        await file(ANOTHER, large, TIME)
    assert await _contents(store, "Sent") == [CONTENT, OTHER]
    row = (await store.snapshot("Sent")).messages[0]
    assert (row.flags, row.internal_date) == (frozenset({SEEN}), TIME // 1_000)
    assert await _contents(store, "INBOX") == []


async def test_no_copy_where_the_mail_reader_has_filed_its_own(store: MailStore) -> None:
    """APPENDed to Sent, whatever that mailbox is called, with other octets and the same Message-ID."""
    await store.rename("Sent", "Gesendet")
    appended = CONTENT.replace(b"Subject:", b"Bcc: bob@example.org\r\nX-Own: 1\r\nSubject:")
    await store.append_many("Gesendet", [NewMessage(appended, frozenset({SEEN}), 1, 0)])
    file = files_into(store, "\\Sent")
    await file(IDENTITY, CONTENT, TIME)
    assert await _contents(store, "Gesendet") == [appended]
    await file(ANOTHER, OTHER, TIME)
    assert await _contents(store, "Gesendet") == [appended, OTHER]


async def test_a_copy_elsewhere_is_none_in_sent(store: MailStore) -> None:
    """Drafts hold what she was writing, under the same Message-ID."""
    await store.append_many("Drafts", [NewMessage(CONTENT, frozenset(), 1, 0)])
    await files_into(store, "\\Sent")(IDENTITY, CONTENT, TIME)
    assert await _contents(store, "Sent") == [CONTENT]


async def test_an_identifier_within_another_is_another(store: MailStore) -> None:
    """Message-IDs are compared whole, not as SEARCH HEADER does, which looks for a part."""
    longer = CONTENT.replace(b"<1.mine@example.org>", b"<1.mine@example.org> <1.mine@example.org.invalid>")
    await store.append_many("Sent", [NewMessage(longer, frozenset(), 1, 0)])
    short = CONTENT.replace(b"\r\n <1.mine@example.org>", b" 1.mine@example.org")
    await files_into(store, "\\Sent")(IDENTITY, short, TIME)
    assert await _contents(store, "Sent") == [longer, short]


async def test_a_report_is_filed_once_and_unseen_in_inbox(store: MailStore) -> None:
    """Also where a message of the same Message-ID is there."""
    file = files_into(store, None)
    for identity in (IDENTITY, IDENTITY, ANOTHER):
        await file(identity, CONTENT, TIME)
    assert await _contents(store, "INBOX") == [CONTENT, CONTENT]
    assert (await store.snapshot("INBOX")).messages[0].flags == frozenset()
