"""Mail goes out to files and comes in from them with its flags, dates and mailboxes."""

import os
import tempfile
import unicodedata
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox import eml, maildir, mbox
from gateway.mailbox.export import export
from gateway.mailbox.importing import import_into
from gateway.mailbox.model import MessageRow
from gateway.mailbox.portable import Format, NotPortable, Outside, name_of, path_of
from gateway.mailbox.store import MailStore
from tests.gateway.mailbox.test_check import quiet

KEY = bytes(range(32))
FORMATS: list[Format] = ["mbox", "maildir", "eml"]
MAIL = b"Subject: one\r\nStatus: hers\r\n\r\nFrom here\r\n>From there\r\n\r\nFrom x\r\n"


async def _all(store: MailStore) -> dict[str, list[tuple[bytes, frozenset[str], int]]]:
    found = {}
    for mailbox in await store.mailboxes():
        rows: tuple[MessageRow, ...] = (await store.snapshot(mailbox.name)).messages
        found[mailbox.name] = [(await store.read(mailbox.id, row.uid), row.flags, row.internal_date) for row in rows]
    return found


@pytest.mark.parametrize("form", FORMATS)
async def test_out_and_in_again(store: MailStore, tmp_path: Path, form: Format) -> None:
    """Export and import into an empty store give the same mailboxes with the same mail."""
    await store.create("Work/A.b/\u00fc & co")
    await store.rename("Sent", "Gesendet")
    await store.append("INBOX", MAIL, ["\\Seen", "\\Answered", "$Label1", "Other"], 1_700_000_000, 0)
    await store.append("INBOX", b"Subject: two\r\n\r\n", ["\\Draft", "Other"], 1_600_000_000, 0)
    await store.append("Work/A.b/\u00fc & co", b"\r\n" + b"x" * 200_000 + b"\r\n", ["\\Flagged"], 5, 0)
    await store.append("Gesendet", MAIL, ["\\Deleted"], 1_700_000_001, 0)
    assert await export(store, tmp_path / "out", form, quiet) == (4, [])
    other = await MailStore.open(tmp_path / "other", KEY)
    assert await import_into(other, tmp_path / "out", form, quiet) == (4, [])
    wanted = await _all(store)
    wanted["Sent"] = wanted.pop("Gesendet")  # by its special use
    assert await _all(other) == wanted
    await other.close()


@pytest.mark.parametrize("form", FORMATS)
async def test_names_that_files_have_too(store: MailStore, tmp_path: Path, form: Format) -> None:
    """A mailbox named as a file of the tree is, or longer than a file's name may be, goes out and comes in."""
    names = ["a", "a.mbox", "a.mbox/b", "mailboxes.json", "dovecot-keywords", "INBOX/00000001.eml"]
    names += ["INBOX/messages.jsonl", "\u4e2d" * 90, "\u4e2d" * 91, "x" * 300 + "/cur", "\u4e2d.mbox"]
    await store.append("INBOX", MAIL, ["key"], 5, 0)
    for name in names:
        await store.create(name)
        await store.append(name, MAIL, ["key"], 5, 0)
    assert await export(store, tmp_path / "out", form, quiet) == (1 + len(names), [])
    other = await MailStore.open(tmp_path / "other", KEY)
    assert await import_into(other, tmp_path / "out", form, quiet) == (1 + len(names), [])
    assert await _all(other) == await _all(store)
    await other.close()


def _strange(root: Path, form: Format) -> None:
    """Three mailboxes with a message each, and a link in the place of another."""
    for name in (b"caf\xe9", b"a\xc2\x85b", b".x..y" if form == "maildir" else b"plain"):
        mailbox = root / os.fsdecode(name)
        path = {"mbox": mailbox, "eml": mailbox / "\udcff.eml", "maildir": mailbox / "cur" / "\udcff.x:2,S"}[form]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((b"From x\n" if form == "mbox" else b"") + b"Subject: x\n\n")
        path.with_name(f"{path.name}.link.eml").symlink_to(path.name)


@pytest.mark.parametrize("form", FORMATS)
async def test_file_names_in_no_utf8(store: MailStore, tmp_path: Path, form: Format) -> None:
    """What cannot be read of a name becomes U+FFFD, control characters "_"; all mail comes in, no link is followed."""
    _strange(tmp_path / "theirs", form)
    assert await import_into(store, tmp_path / "theirs", form, quiet) == (3, [])
    found = {mailbox.name for mailbox in await store.mailboxes() if mailbox.messages}
    assert found == {"caf\ufffd", "a_b", "x/y" if form == "maildir" else "plain"}


async def test_from_in_a_text_that_is_not_quoted(store: MailStore, tmp_path: Path) -> None:
    """A line of a text that begins with "From " and has no date ends no message; dates come in several forms."""
    dates = [b"Mon Jan  1 00:00:01 2024", b"Mon Jan 1 00:00:01 CET 2024", b"Mon Jan  1 00:00:01 2024 +0100"]
    dates += [b"a b Mon Jan  1 00:00:01 +0000 2024", b"- Mon Jan 1 00:00 2024"]
    mail = b"Subject: x\r\n\r\nFrom here\r\n\r\nFrom the hills we came, at 8:30\r\n"
    (tmp_path / "box").write_bytes(b"".join(b"From a@b " + date + b"\r\n" + mail + b"\r\n" for date in dates))
    assert await import_into(store, tmp_path / "box", "mbox", quiet) == (5, [])
    assert [(each[0], each[2] // 60 * 60) for each in (await _all(store))["box"]] == 5 * [(mail, 1_704_067_200)]


async def test_a_file_that_is_no_mbox(store: MailStore, tmp_path: Path) -> None:
    """It is said that nothing was found in it; an empty one is an empty mailbox."""
    (tmp_path / "table").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "empty").write_bytes(b"")
    count, notes = await import_into(store, tmp_path / "table", "mbox", quiet)
    assert (count, len(notes)) == (0, 1)
    assert await import_into(store, tmp_path / "empty", "mbox", quiet) == (0, [])


async def test_maildir_of_another_program(store: MailStore, tmp_path: Path) -> None:
    """Maildir++ with a usual name for a special use; what is new has no flags."""
    for name in (".", ".Deleted Items", ".Work.2024"):
        for part in ("cur", "new", "tmp"):
            (tmp_path / "theirs" / name / part).mkdir(parents=True)
    (tmp_path / "theirs/new/1.a.host").write_bytes(b"Subject: new\n\nx\n")
    (tmp_path / "theirs/.Deleted Items/cur/2.b.host:2,FS").write_bytes(b"Subject: gone\n\nx\n")
    (tmp_path / "theirs/.Work.2024/cur/3.c.host:2,a").write_bytes(b"Subject: tagged\n\nx\n")
    (tmp_path / "theirs/.Work.2024/dovecot-keywords").write_text("0 urgent\n")
    assert await import_into(store, tmp_path / "theirs", "maildir", quiet) == (3, [])
    found = await _all(store)
    assert [(content, flags) for content, flags, _ in found["INBOX"]] == [(b"Subject: new\r\n\r\nx\r\n", frozenset())]
    assert found["Trash"][0][1] == {"\\Flagged", "\\Seen"}
    assert found["Work/2024"][0][1] == {"urgent"}


async def test_mbox_of_another_program(store: MailStore, tmp_path: Path) -> None:
    """One file is one mailbox; Status and X-Status in the header tell the flags, and stay."""
    octets = b"From a@b Tue Nov 14 22:13:20 2023\nSubject: x\nStatus: RO\nX-Status: F\n\n>From me\n\n"
    (tmp_path / "Old").write_bytes(octets + b"From c@d nonsense\nSubject: y\n\nbody\n")
    assert await import_into(store, tmp_path / "Old", "mbox", quiet) == (2, [])
    (first, second) = (await _all(store))["Old"]
    assert first[0] == b"Subject: x\r\nStatus: RO\r\nX-Status: F\r\n\r\nFrom me\r\n"
    assert first[1:] == (frozenset({"\\Seen", "\\Flagged"}), 1_700_000_000)
    assert second == (b"Subject: y\r\n\r\nbody\r\n", frozenset(), 0)


async def test_no_way_out_of_the_tree(store: MailStore, tmp_path: Path) -> None:
    """An index that points elsewhere is refused, as is what is no mail at all."""
    (tmp_path / "tree").mkdir()
    index = '[{"path": "../../etc", "name": "x", "special_use": null, "subscribed": true}]'
    (tmp_path / "tree/mailboxes.json").write_text(index)
    with pytest.raises(NotPortable, match="outside"):
        await import_into(store, tmp_path / "tree", "eml", quiet)
    with pytest.raises(NotPortable, match="no such"):
        await import_into(store, tmp_path / "none", "eml", quiet)


@pytest.mark.parametrize("form", FORMATS)
async def test_too_large_a_message_is_named(
    store: MailStore, tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is left out; the others come in."""
    await store.append("INBOX", b"Subject: big\r\n\r\n" + b"x\r\n" * 500, [], 0, 0)
    await store.append("INBOX", MAIL, [], 1, 0)
    await export(store, tmp_path / "out", form, quiet)
    monkeypatch.setattr(f"gateway.mailbox.{'mbox' if form == 'mbox' else 'portable'}.MOST_MESSAGE", 400)
    other = await MailStore.open(tmp_path / "other", KEY)
    count, notes = await import_into(other, tmp_path / "out", form, quiet)
    assert (count, len(notes)) == (1, 1)
    await other.close()


LINES = st.sampled_from([b"From ", b">From x", b">>From ", b"", b"a", b"Status: R", b"x\rFrom ", b"\xff"])
MESSAGES = st.lists(LINES, max_size=8).map(lambda lines: b"\r\n".join([*lines, b""]))
FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "a", "$b"]))


@given(st.lists(st.tuples(MESSAGES, FLAGS, st.integers(0, 2**32), st.integers(-720, 840)), max_size=5))
def test_any_mbox(mails: list[tuple[bytes, frozenset[str], int, int]]) -> None:
    """Invariant: what is written to an mbox is read from it, message by message (a last line gets its end)."""
    written = [Outside(content or b"\r\n", flags, date, zone) for content, flags, date, zone in mails]
    file = BytesIO()
    for message in written:
        mbox.write(file, message)
    with tempfile.NamedTemporaryFile() as named:
        named.write(file.getvalue())
        named.flush()
        assert [message for message, _ in mbox.read(Path(named.name), [])] == written


@given(st.binary(max_size=300))
def test_any_octets_as_mbox(octets: bytes) -> None:
    """Invariant: whatever a file holds, reading it as mbox ends, and never fails."""
    with tempfile.NamedTemporaryFile() as named:
        named.write(b"From x\n" + octets)
        named.flush()
        assert len(list(mbox.read(Path(named.name), []))) <= 1 + octets.count(b"From ")


@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp"), blacklist_characters="*%"), min_size=1))
def test_any_mailbox_name(text: str) -> None:
    """Invariant: every mailbox name has a path below the root, which is nobody else's and gives the name again."""
    levels = [level for level in unicodedata.normalize("NFC", text).split("/") if level] or ["x"]
    name = "/".join(["y", *levels])
    path = path_of(name)
    assert not {"..", ".", "", "cur", "new", "tmp"} & set(path.split("/"))
    if all(len(quote(level)) <= 200 for level in levels):
        assert name_of(path) == name


@pytest.mark.parametrize("form", FORMATS)
async def test_mail_of_before_1970(store: MailStore, tmp_path: Path, form: Format) -> None:
    """A message that a client gave so old a date comes back as it was."""
    await store.append("INBOX", MAIL, ["\\Seen"], -1_000_000, 0)
    await export(store, tmp_path / "out", form, quiet)
    other = await MailStore.open(tmp_path / "other", KEY)
    assert await import_into(other, tmp_path / "out", form, quiet) == (1, [])
    assert await _all(other) == await _all(store)
    await other.close()


async def test_keywords_beyond_the_limits(store: MailStore, tmp_path: Path) -> None:
    """Whoever wrote the message may have written X-Keywords too: what is too much of it is passed over."""
    words = b"k" * 300 + b" " + b" ".join(b"w%03d" % number for number in range(200))
    (tmp_path / "a.mbox").write_bytes(
        b"From a@b Mon Jan  1 00:00:00 2024\nX-Keywords: " + words + b"\nStatus: RO\n\nb\n\n"
        b"From a@b Mon Jan  1 00:00:00 2024\nSubject: two\n\nb\n"
    )
    assert await import_into(store, tmp_path / "a.mbox", "mbox", quiet) == (2, [])
    first, _ = (await _all(store))["a"]
    assert {"\\Seen", "w000"} <= first[1]
    assert not any(len(flag) > 255 for flag in first[1])


async def test_dates_that_are_none(store: MailStore, tmp_path: Path) -> None:
    """A list with a date that INTERNALDATE cannot say is refused; after a separator it is no date of ours."""
    (tmp_path / "eml").mkdir()
    (tmp_path / "eml" / "1.eml").write_bytes(MAIL)
    (tmp_path / "eml" / "messages.jsonl").write_text(
        f'{{"file": "1.eml", "flags": [], "internal_date": {10**18}, "zone": 0}}\n'
    )
    with pytest.raises(NotPortable, match="not a list of messages"):
        await import_into(store, tmp_path / "eml", "eml", quiet)
    (tmp_path / "a.mbox").write_bytes(
        b"From a@b Thu Jan  1 00:00:05 1970\nStatus: RO\nX-Status: \nX-Keywords: \n"
        b"X-Internal-Date: 999999999999 0\nSubject: one\n\nb\n"
    )
    assert await import_into(store, tmp_path / "a.mbox", "mbox", quiet) == (1, [])
    assert [row.internal_date for row in (await store.snapshot("a")).messages] == [5]


@pytest.mark.parametrize("form", ["maildir", "eml"])
async def test_a_file_that_cannot_be_read(
    store: MailStore, tmp_path: Path, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that another program has just renamed or removed is named, and the others come in."""
    directory = tmp_path / "in" / "cur" if form == "maildir" else tmp_path / "in"
    directory.mkdir(parents=True)
    for number in range(3):
        (directory / f"{number}.eml").write_bytes(MAIL)
    module = {"maildir": maildir, "eml": eml}[form]
    found = module.files(tmp_path / "in")
    monkeypatch.setattr(module, "files", lambda _: found)
    found[1].unlink()
    imported, notes = await import_into(store, tmp_path / "in", form, quiet)
    assert imported == 2
    assert notes == [f"{found[1]}: No such file or directory"]
