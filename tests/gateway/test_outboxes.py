"""gateway.outboxes: how copies and reports come into a mailbox."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.mailbox.model import SEEN, NewMessage
from gateway.mailbox.own_copies import OWN_COPY
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
    assert (row.flags, row.internal_date) == (frozenset({SEEN, OWN_COPY}), TIME // 1_000)
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


async def test_our_copy_gives_way_to_one_that_the_mail_reader_files_later(store: MailStore) -> None:
    """However much later: one is left, hers, with the flags that ours had been given; sessions hear of both."""
    await files_into(store, "\\Sent")(IDENTITY, CONTENT, TIME)
    await files_into(store, "\\Sent")(ANOTHER, OTHER, TIME)
    sent = (await store.snapshot("Sent")).mailbox
    await store.store_flags(sent.id, [1], "add", {"$label1"})
    appended = CONTENT.replace(b"Subject:", b"X-Own: 1\r\nSubject:")
    assert await store.append("Sent", appended, {SEEN}, 1, 0) == (sent.uidvalidity, 3)
    assert await _contents(store, "Sent") == [OTHER, appended]
    rows = (await store.snapshot("Sent")).messages
    assert [row.flags for row in rows] == [{SEEN, OWN_COPY}, {SEEN, "$label1"}]
    assert (await store.mailbox("Sent")).messages == 2
    await store.append("Sent", appended, {SEEN}, 1, 0)
    assert await _contents(store, "Sent") == [OTHER, appended, appended]
    await files_into(store, "\\Sent")(IDENTITY, CONTENT, TIME)  # repeated after a crash
    assert len(await _contents(store, "Sent")) == 3


async def test_what_is_appended_elsewhere_replaces_nothing(store: MailStore) -> None:
    """Only Sent has such copies, and only one of the very same Message-ID goes."""
    longer = CONTENT.replace(b"<1.mine@example.org>", b"<1.mine@example.org.invalid>")
    await files_into(store, "\\Sent")(IDENTITY, longer, TIME)
    await store.append("Drafts", longer, set(), 1, 0)
    await store.append("Sent", CONTENT.replace(b"\r\n <1.mine@example.org>", b" 1.mine@example.org"), set(), 1, 0)
    await store.append("Sent", b"Subject: no Message-ID\r\n\r\n", set(), 1, 0)
    assert len(await _contents(store, "Sent")) == 3
    assert await _contents(store, "Drafts") == [longer]


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
