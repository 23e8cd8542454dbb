"""Thunderbird does everyday work; its own database and an imaplib session beside it agree."""

import base64
import secrets
from collections.abc import Iterator

import pytest

from tests.harness.mail import send
from tests.interop.mailbox import Mailbox, compose, octets, special_folders
from tests.interop.server import Server, User
from tests.interop.thunderbird import PLAIN, STARTTLS, TLS, Account, Thunderbird

pytestmark = pytest.mark.interop


@pytest.fixture
def mailbox(server: Server, user: User) -> Iterator[Mailbox]:
    """The user's account over imaplib."""
    with Mailbox(server, user) as mailbox:
        yield mailbox


@pytest.fixture
def account(thunderbird: Thunderbird, user: User) -> Account:
    """The user's account in Thunderbird, logged in without TLS, as on loopback."""
    return thunderbird.add_account(user)


@pytest.fixture
def identifier(server: Server, user: User, account: Account) -> str:
    """The Message-ID of a message that Thunderbird and the server have in INBOX."""
    return arrive(server, account, "Quarterly report", "Please read.\n")


def arrive(server: Server, account: Account, subject: str, text: str) -> str:
    """Send a message and wait until Thunderbird, told by IDLE, has all of it; return its Message-ID."""
    identifier = f"{secrets.token_hex(8)}@sender.example"
    send(server, octets(compose(subject, text, identifier, account.user.address)), account.user.address)
    account("downloaded", "Inbox", identifier)
    return identifier


@pytest.mark.parametrize("security", [PLAIN, STARTTLS, TLS], ids=["plain", "STARTTLS", "TLS"])
def test_login_shows_the_special_folders(thunderbird: Thunderbird, user: User, mailbox: Mailbox, security: int) -> None:
    """An account logs in and its folders are known for what they are, without any choice by the user."""
    account = thunderbird.add_account(user, security)
    shown = {special: folder["online"] for folder in account("folders") for special in folder["special"]}
    assert shown.pop("SentMail") == special_folders(mailbox)["Sent"]
    assert shown.pop("Inbox") == "INBOX"
    assert shown == {use: name for use, name in special_folders(mailbox).items() if use != "Sent"}


def test_message_is_read_with_its_attachment(server: Server, account: Account, mailbox: Mailbox) -> None:
    """Subject, author, text and attachment are shown as they were sent; the source is what the server has."""
    identifier = f"{secrets.token_hex(8)}@sender.example"
    mail = compose("Grüße aus Zürich – 世界", "Straße, naïve, 10 €.\n\n.\n..dots\n", identifier, account.user.address)
    attached = secrets.token_bytes(40_000)
    mail.add_attachment(attached, maintype="application", subtype="pdf", filename="Übersicht 2026.pdf")
    send(server, octets(mail), account.user.address)
    shown = account("read", "Inbox", identifier)
    assert shown["subject"] == "Grüße aus Zürich – 世界"
    assert shown["author"] == "Zoë Outside <outside@sender.example>"
    assert shown["body"].replace("\r\n", "\n").strip() == "Straße, naïve, 10 €.\n\n.\n..dots"
    (attachment,) = shown["attachments"]
    assert (attachment["name"], attachment["type"]) == ("Übersicht 2026.pdf", "application/pdf")
    content = mailbox.content("INBOX", identifier)
    source = base64.b64decode(account("source", "Inbox", identifier))
    assert content.endswith(octets(mail))
    assert source.endswith(content)
    own_fields = source.removesuffix(content).splitlines()  # Thunderbird's, in front of what it keeps for offline use
    assert all(line.startswith(b"X-Mozilla-") for line in own_fields)
    assert shown["size"] == len(content)


def test_new_message_is_heard_of_without_asking(server: Server, account: Account, mailbox: Mailbox) -> None:
    """While Thunderbird idles, a message that comes in is in its database by itself."""
    assert account("messages", "Inbox") == []
    first = arrive(server, account, "first", "1\n")
    second = arrive(server, account, "second", "2\n")
    assert [message["id"] for message in account("messages", "Inbox")] == [first, second]
    assert mailbox.ids("INBOX") == [first, second]


def test_flags_and_tags_persist_on_the_server(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """Read, star and tag are the server's flags and keywords, and go away there when they are taken back."""
    account("markRead", "Inbox", identifier, True)
    mailbox.wait_for_flags("INBOX", identifier, "\\Seen")
    account("star", "Inbox", identifier, True)
    mailbox.wait_for_flags("INBOX", identifier, "\\Seen", "\\Flagged")
    account("addTag", "Inbox", identifier, "$label1")
    mailbox.wait_for_flags("INBOX", identifier, "\\Seen", "\\Flagged", "$label1")
    account("addTag", "Inbox", identifier, "hausbau")
    mailbox.wait_for_flags("INBOX", identifier, "\\Seen", "\\Flagged", "$label1", "hausbau")
    account("removeTag", "Inbox", identifier, "$label1")
    account("markRead", "Inbox", identifier, False)
    account("star", "Inbox", identifier, False)
    mailbox.wait_for_flags("INBOX", identifier, "hausbau")
    account("update", "Inbox")
    shown = account("message", "Inbox", identifier)
    assert (shown["read"], shown["flagged"], shown["keywords"]) == (False, False, ["hausbau"])


def test_flags_set_elsewhere_are_shown(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """What another client sets is in Thunderbird's database, by IDLE alone."""
    mailbox.imap.select("INBOX")
    mailbox.imap.store("1", "+FLAGS", "(\\Seen \\Flagged $label2)")
    shown = account("messageWhen", "Inbox", identifier, {"read": True, "flagged": True, "keywords": ["$label2"]})
    assert shown["id"] == identifier
    mailbox.imap.store("1", "-FLAGS", "(\\Flagged)")
    account("messageWhen", "Inbox", identifier, {"read": True, "flagged": False})


def test_message_deleted_elsewhere_disappears(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """What another client expunges leaves Thunderbird's database, by IDLE alone."""
    mailbox.imap.select("INBOX")
    mailbox.imap.store("1", "+FLAGS.SILENT", "(\\Deleted)")
    mailbox.imap.expunge()
    account("gone", "Inbox", identifier)
    assert account("messages", "Inbox") == []


def test_copy_move_and_delete(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """A copy is a second message; a move and the Delete key leave one, elsewhere; emptying the trash leaves none."""
    source = mailbox.content("INBOX", identifier)
    account("copy", "Inbox", identifier, "Sent")
    mailbox.wait_for_ids("Sent", identifier)
    assert mailbox.ids("INBOX") == [identifier]
    account("move", "Inbox", identifier, "Junk")
    mailbox.wait_for_ids("Junk", identifier)
    mailbox.wait_for_ids("INBOX")
    account("update", "Junk")
    account("deleteMessage", "Junk", identifier)
    mailbox.wait_for_ids("Trash", identifier)
    mailbox.wait_for_ids("Junk")
    assert mailbox.messages("Trash") == mailbox.messages("Sent") == [source]
    account("update", "Trash")
    assert account("message", "Trash", identifier)["subject"] == "Quarterly report"
    assert account("messages", "Inbox") == account("messages", "Junk") == []
    account("emptyTrash")
    mailbox.wait_for_ids("Trash")


def test_archive(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """The A key moves a message below the folder that the server calls its archive, into the year's folder."""
    account("archive", "Inbox", identifier)
    mailbox.wait_for_ids("Archive/2026", identifier)
    mailbox.wait_for_ids("INBOX")
    account("update", "Archive/2026")
    assert [message["id"] for message in account("messages", "Archive/2026")] == [identifier]


def test_folders_are_created_renamed_and_deleted(account: Account, mailbox: Mailbox, identifier: str) -> None:
    """Folders of any name, also inside others; what is in them moves with them."""
    account("createFolder", "", "Büro & Co")
    mailbox.wait_for_folders("B&APw-ro &- Co")  # RFC 3501 §5.1.3
    account("createFolder", "Büro & Co", "2026")
    mailbox.wait_for_folders("B&APw-ro &- Co/2026")
    account("move", "Inbox", identifier, "Büro & Co/2026")
    mailbox.wait_for_ids("B&APw-ro &- Co/2026", identifier)
    account("renameFolder", "Büro & Co", "Office")
    mailbox.wait_for_folders("Office", "Office/2026", absent=("B&APw-ro &- Co", "B&APw-ro &- Co/2026"))
    mailbox.wait_for_ids("Office/2026", identifier)
    account("update", "Office/2026")
    assert account("message", "Office/2026", identifier)["subject"] == "Quarterly report"
    account("deleteFolder", "Office")
    mailbox.wait_for_folders("Trash/Office", "Trash/Office/2026", absent=("Office", "Office/2026"))
    account("emptyTrash")
    mailbox.wait_for_folders("Trash", absent=("Trash/Office", "Trash/Office/2026"))


def test_draft_is_saved(account: Account, mailbox: Mailbox) -> None:
    """A draft saved from the composition window is in the server's Drafts, marked as such, and opens again."""
    account("saveDraft", "friend@sender.example", "Entwurf für später", "Noch nicht fertig – 100 €\n")
    (identifier,) = mailbox.ids("Drafts")
    assert {"\\Draft", "\\Seen"} >= mailbox.flags("Drafts", identifier) >= {"\\Draft"}
    account("update", "Drafts")
    shown = account("read", "Drafts", identifier)
    assert shown["subject"] == "Entwurf für später"
    assert shown["body"].strip() == "Noch nicht fertig – 100 €"


def test_search_runs_on_the_server(server: Server, account: Account) -> None:
    """Thunderbird's search on the server finds by subject, sender and text, also beyond ASCII."""
    first = arrive(server, account, "Rechnung Müller", "Der Betrag ist 10 €.\n")
    second = arrive(server, account, "Invoice", "The amount is overdue.\n")
    assert account("search", "Inbox", [["Subject", "müller"]]) == [first]
    assert account("search", "Inbox", [["Body", "overdue"]]) == [second]
    assert account("search", "Inbox", [["Body", "Betrag ist 10 €"]]) == [first]
    assert account("search", "Inbox", [["Sender", "outside@"]]) == [first, second]
    assert account("search", "Inbox", [["Sender", "outside@"], ["Subject", "invoice"]]) == [second]
    assert account("search", "Inbox", [["Subject", "nowhere"]]) == []
