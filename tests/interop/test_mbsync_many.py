"""mbsync keeps an account of thousands of messages."""

from pathlib import Path

import pytest

from tests.interop.mailbox import Mailbox
from tests.interop.many import COUNT, fill, identifier
from tests.interop.server import Server, User
from tests.interop.test_mbsync import Maildir

pytestmark = pytest.mark.interop


def _number_of(content: bytes) -> int:
    return int(content.partition(b"Message-ID: <")[2][:5])


def test_both_ways(server: Server, user: User, tmp_path: Path) -> None:
    """All come down once; flags and deletions of many go both ways; a run more finds nothing to do."""
    fill(server, user, tmp_path)
    maildir = Maildir(server, user, tmp_path, "None")
    maildir.sync()
    files = {_number_of(content): path for path, content in maildir.messages("INBOX").items()}
    assert sorted(files) == list(range(COUNT))
    assert all(("S" in path.name.rpartition(",")[2]) == (number < COUNT // 2) for number, path in files.items())
    before = maildir.snapshot()
    maildir.sync()
    assert maildir.snapshot() == before

    for number in range(1_000):
        maildir.flag(files[number], "FS")
    for number in range(1_000, 2_000):
        files[number].unlink()
    with Mailbox(server, user) as mailbox:
        mailbox.imap.select("INBOX")
        mailbox.imap.store("3001:4000", "+FLAGS.SILENT", "(\\Answered)")
        mailbox.imap.store("4001:5000", "+FLAGS.SILENT", "(\\Deleted)")
        mailbox.imap.expunge()
        maildir.sync()
        maildir.sync()  # what both have deleted is expunged on both
        left = {_number_of(content): path for path, content in maildir.messages("INBOX").items()}
        assert sorted(left) == [*range(1_000), *range(2_000, 4_000)]
        assert all(left[number].name.endswith(",RS" if number < COUNT // 2 else ",R") for number in range(3_000, 4_000))
        mailbox.imap.select("INBOX")
        flagged = mailbox.imap.search(None, "FLAGGED")[1][0].split()
        assert [int(each) for each in flagged] == list(range(1, 1_001))
        (exists,) = mailbox.imap.status("INBOX", "(MESSAGES)")[1]
        assert exists == b"INBOX (MESSAGES 3000)"
        (found,) = mailbox.imap.search(None, "HEADER", "Message-ID", f"<{identifier(1_500)}>")[1]
        assert found == b""
    before = maildir.snapshot()
    maildir.sync()
    assert maildir.snapshot() == before
