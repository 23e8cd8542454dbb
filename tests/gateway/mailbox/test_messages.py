"""Messages: octets come back as they went in; UIDs and counters are stored; copies share their content."""

import os
import tracemalloc
from pathlib import Path

import pytest

from gateway.mailbox.errors import NoSuchMailbox, NoSuchMessage, TooLarge
from gateway.mailbox.model import NewMessage
from gateway.mailbox.own_copies import OWN_COPY
from gateway.mailbox.params import CONTENT_IN_ROW
from gateway.mailbox.store import MailStore
from p2pcore.crypto.streams import FILE_SEGMENT as SEGMENT

HEADER = b"From: a@b\r\nSubject: s\r\n\r\n"
CONTENTS = {
    "ordinary": HEADER + b"text\r\n",
    "empty": b"",
    "no final CRLF": HEADER + b"text",
    "8-bit": HEADER + bytes(range(1, 256)) * 3,
    "lone LF and CR": b"From: a@b\nSubject: s\n\na\rb\nc\r",
    "no header": b"\r\nbody",
    "all header": b"X: " + b"y" * 1000,
    "huge header": b"X: y\r\n" * 60_000 + b"\r\nbody",
    "just in the row": HEADER + b"x" * CONTENT_IN_ROW,
    "just in a file": HEADER + b"x" * (CONTENT_IN_ROW + 1),
    "whole segments": HEADER + b"x" * (3 * SEGMENT),
    "several segments": HEADER + os.urandom(5 * SEGMENT + 17).replace(b"\0", b"0"),
}


def files(store_directory: Path) -> list[str]:
    return sorted(os.listdir(store_directory / "account" / "messages"))


class TestOctets:
    @pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS.keys())
    @pytest.mark.parametrize("from_file", [False, True])
    async def test_round_trip(self, store: MailStore, tmp_path: Path, content: bytes, from_file: bool) -> None:
        """Byte for byte, whole and in ranges, from memory and from a file, after a restart too."""
        source = tmp_path / "content"
        source.write_bytes(content)
        _, uid = await store.append("INBOX", source if from_file else content, [], 0, 0)
        mailbox_id = (await store.mailbox("INBOX")).id
        assert await store.read(mailbox_id, uid) == content
        size = len(content)
        for offset in {0, 1, len(HEADER) - 1, SEGMENT - 1, SEGMENT + len(HEADER), size - 1, size, size + 5}:
            if offset < 0:
                continue
            for length in (0, 1, 30, SEGMENT + 1, size):
                assert await store.read(mailbox_id, uid, offset, length) == content[offset : offset + length]
            assert await store.read(mailbox_id, uid, offset) == content[offset:]
        assert source.exists()
        assert (await store.snapshot("INBOX")).messages[0].size == size

    async def test_clear_text_is_nowhere(self, store: MailStore, tmp_path: Path) -> None:
        """Neither database, WAL nor content files show a word of any message or name."""
        token = b"Zebrafinch-7261"
        await store.create(f"Folder {token.decode()}")
        for size in (10, CONTENT_IN_ROW * 2):
            await store.append("INBOX", b"Subject: " + token + b"\r\n\r\n" + token * size, [token.decode()], 0, 0)
        held = [path for path in (tmp_path / "account").rglob("*") if path.is_file()]
        assert len(held) >= 4
        assert not any(token in path.read_bytes() for path in held)

    async def test_large_content_is_never_twice_in_memory(self, store: MailStore, tmp_path: Path) -> None:
        """Filing a file of 20 MB takes no memory to speak of; reading it whole takes it once."""
        size = 20_000_000
        source = tmp_path / "large"
        source.write_bytes(HEADER + b"x" * size)
        tracemalloc.start()
        try:
            _, uid = await store.append("INBOX", source, [], 0, 0)
            assert tracemalloc.get_traced_memory()[1] < 4_000_000
            tracemalloc.reset_peak()
            whole = await store.read((await store.mailbox("INBOX")).id, uid)
            assert tracemalloc.get_traced_memory()[1] < 1.3 * size
        finally:
            tracemalloc.stop()
        assert len(whole) == len(HEADER) + size

    async def test_read_refuses_what_is_not_there(self, store: MailStore) -> None:
        """NoSuchMessage for an unknown UID or mailbox, ValueError for a range that cannot be."""
        await store.append("INBOX", b"x", [], 0, 0)
        for mailbox_id, uid in [(1, 2), (99, 1)]:
            with pytest.raises(NoSuchMessage):
                await store.read(mailbox_id, uid)
        with pytest.raises(ValueError, match="range"):
            await store.read(1, 1, -1)


class TestAppend:
    async def test_uids_and_flags(self, store: MailStore) -> None:
        """UIDs ascend from 1, flags take their one spelling, \\Recent is not kept, internal date and zone are."""
        first = await store.append("INBOX", b"a", ["\\SEEN", "$Forwarded", "\\Recent"], 1_700_000_000, -300)
        second = await store.append_many("INBOX", [NewMessage(b"bb", frozenset(), 0, 0)] * 2)
        mailbox = await store.mailbox("INBOX")
        assert first == (mailbox.uidvalidity, 1)
        assert second == (mailbox.uidvalidity, (2, 3))
        assert (mailbox.uidnext, mailbox.messages, mailbox.unseen, mailbox.size) == (4, 3, 2, 5)
        row = (await store.snapshot("INBOX")).messages[0]
        assert row.flags == frozenset({"\\Seen", "$Forwarded"})
        assert (row.internal_date, row.zone) == (1_700_000_000, -300)

    async def test_all_or_nothing(self, store: MailStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A call that fails on its second message leaves no trace of the first, its file included."""
        monkeypatch.setattr("gateway.mailbox.contents.insert.__defaults__", (b"", 200_000))
        items = [NewMessage(HEADER + b"x" * size, frozenset(), 0, 0) for size in (150_000, 200_000)]
        with pytest.raises(TooLarge) as refusal:
            await store.append_many("INBOX", items)
        assert refusal.value.code == "TOOBIG"
        assert files(tmp_path) == []
        mailbox = await store.mailbox("INBOX")
        assert (mailbox.uidnext, mailbox.highest_modseq) == (1, 1)

    async def test_missing_mailbox(self, store: MailStore) -> None:
        """NONEXISTENT: the client may offer to make it (RFC 9051 §6.3.12)."""
        with pytest.raises(NoSuchMailbox) as refusal:
            await store.append("none", b"x", [], 0, 0)
        assert refusal.value.code == "NONEXISTENT"


class TestCopyMoveExpunge:
    async def test_copies_share_content(self, store: MailStore, tmp_path: Path) -> None:
        """A copy has its own flags and UID and no octets of its own; the last one takes the file with it."""
        content = HEADER + b"x" * 200_000
        await store.append("INBOX", content, ["\\Seen", "k"], 5, 60)
        inbox, archive = await store.mailbox("INBOX"), await store.mailbox("Archive")
        assert await store.copy(inbox.id, [7, 1], "Archive") == (archive.uidvalidity, ((1, 1),))
        assert len(files(tmp_path)) == 1
        assert (await store.snapshot("Archive")).messages[0].flags == frozenset({"\\Seen", "k"})
        await store.store_flags(inbox.id, [1], "add", ["\\Deleted"])
        assert await store.expunge(inbox.id, None) == (1,)
        assert await store.read(archive.id, 1) == content
        await store.store_flags(archive.id, [1], "add", ["\\Deleted"])
        assert await store.expunge(archive.id, None) == (1,)
        assert files(tmp_path) == []

    async def test_copy_within_a_mailbox(self, store: MailStore) -> None:
        """COPY to the selected mailbox makes new messages (RFC 9051 §6.4.7)."""
        await store.append_many("INBOX", [NewMessage(b"x", frozenset(), 0, 0)] * 2)
        inbox = await store.mailbox("INBOX")
        assert (await store.copy(inbox.id, [2, 1], "inbox"))[1] == ((1, 3), (2, 4))

    async def test_move(self, store: MailStore) -> None:
        """MOVE keeps order, flags and date, and leaves nothing behind (RFC 6851)."""
        await store.append_many("INBOX", [NewMessage(b"%d" % n, frozenset({f"k{n}"}), n, 0) for n in range(4)])
        inbox, trash = await store.mailbox("INBOX"), await store.mailbox("Trash")
        assert (await store.move(inbox.id, [4, 2, 9], "Trash"))[1] == ((2, 1), (4, 2))
        assert [row.uid for row in (await store.snapshot("INBOX")).messages] == [1, 3]
        assert [row.flags for row in (await store.snapshot("Trash")).messages] == [{"k1"}, {"k3"}]
        assert await store.read(trash.id, 2) == b"3"

    async def test_expunge_takes_only_deleted(self, store: MailStore) -> None:
        """UID EXPUNGE removes messages that are both named and \\Deleted (RFC 9051 §6.4.9); UIDs never return."""
        await store.append_many("INBOX", [NewMessage(b"x", frozenset(), 0, 0)] * 4)
        inbox = await store.mailbox("INBOX")
        await store.store_flags(inbox.id, [1, 2, 4], "add", ["\\Deleted"])
        assert await store.expunge(inbox.id, [2, 3]) == (2,)
        assert await store.expunge(inbox.id, None) == (1, 4)
        assert await store.append("INBOX", b"x", [], 0, 0) == (inbox.uidvalidity, 5)

    async def test_deleted_mailbox(self, store: MailStore) -> None:
        """A session whose mailbox was deleted is told so."""
        gone = await store.create("gone")
        await store.delete("gone")
        for call in (
            store.expunge(gone.id, None),
            store.copy(gone.id, [1], "INBOX"),
            store.store_flags(gone.id, [1], "add", ["x"]),
        ):
            with pytest.raises(NoSuchMailbox):
                await call


class TestPrecomputed:
    async def test_what_fetch_copies(self, store: MailStore) -> None:
        """Wire forms, header size and offsets are there for every UID that is."""
        content = HEADER + b"one\r\ntwo\r\n"
        _, uid = await store.append("INBOX", content, [], 0, 0)
        found = await store.precomputed(1, [uid, 77])
        assert set(found) == {uid}
        one = found[uid]
        assert one.envelope.startswith(b'(NIL "s" ((NIL NIL "a" "b"))')
        assert one.body == b'("TEXT" "PLAIN" ("CHARSET" "us-ascii") NIL NIL "7BIT" 10 2)'
        assert (one.header_size, one.size) == (len(HEADER), len(content))
        assert (one.structure.body_offset, one.structure.body_length) == (len(HEADER), 10)


async def test_own_copy_of_a_message_that_is_appended_twice(store: MailStore) -> None:
    """Two of one Message-ID in one command: the copy goes once, and its flags pass on to both."""
    mail = b"Message-ID: <one@example.org>\r\n\r\nbody\r\n"
    await store.file_once(bytes(32), "\\Sent", NewMessage(mail, frozenset({OWN_COPY, "\\Seen"}), 0, 0))
    await store.append_many("Sent", [NewMessage(mail, frozenset(), 0, 0)] * 2)
    rows = (await store.snapshot("Sent")).messages
    assert [(row.uid, set(row.flags)) for row in rows] == [(2, {"\\Seen"}), (3, {"\\Seen"})]
