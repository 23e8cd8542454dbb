"""The account beside the mail reader under test, as imaplib sees it."""

import imaplib
import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from tests.harness.mail import Reader
from tests.interop.server import Server, User
from tests.interop.waiting import wait_for

_TRACE_FIELDS = {b"Return-Path", b"Received", b"Authentication-Results"}


class Mailbox(Reader):
    """An imaplib session of one user; messages are named by their Message-ID without brackets."""

    def __init__(self, server: Server, user: User) -> None:
        super().__init__(server, user.address)

    def ids(self, folder: str) -> list[str]:
        """The Message-IDs in a folder, in its order."""
        parsed = (message_from_bytes(content, policy=policy.default) for content in self.messages(folder))
        return [str(message["Message-ID"]).strip("<> ") for message in parsed]

    def flags(self, folder: str, identifier: str) -> set[str]:
        """The flags and keywords of the one message with this Message-ID."""
        self.imap.select(f'"{folder}"', readonly=True)
        _, (numbers,) = self.imap.search(None, "HEADER", "Message-ID", f'"{identifier}"')
        (number,) = numbers.split()
        _, lines = self.imap.fetch(number, "(FLAGS)")
        line = lines[-1]  # what has changed meanwhile comes behind
        assert isinstance(line, bytes)
        return {flag.decode() for flag in imaplib.ParseFlags(line)} - {"\\Recent"}

    def content(self, folder: str, identifier: str) -> bytes:
        """The one message with this Message-ID, whole."""
        (content,) = [each for each in self.messages(folder) if f"<{identifier}>".encode() in each]
        return content

    def wait_for_ids(self, folder: str, *identifiers: str) -> None:
        """Wait until a folder exists and has exactly these messages."""
        wanted = sorted(identifiers)
        wait_for(
            lambda: folder in self.folders() and sorted(self.ids(folder)) == wanted, f"{folder} has exactly {wanted}"
        )

    def wait_for_flags(self, folder: str, identifier: str, *flags: str) -> None:
        """Wait until a message has exactly these flags and keywords."""
        wait_for(lambda: self.flags(folder, identifier) == set(flags), f"{identifier} in {folder} has exactly {flags}")

    def wait_for_folders(self, *names: str, absent: tuple[str, ...] = ()) -> None:
        """Wait until all of `names` and none of `absent` exist."""

        def as_wanted() -> bool:
            folders = self.folders()
            return all(name in folders for name in names) and not any(name in folders for name in absent)

        wait_for(as_wanted, f"folders {names} without {absent}")


def special_folders(mailbox: Mailbox) -> dict[str, str]:
    """Which folder has which use (RFC 6154), from LIST."""
    _, lines = mailbox.imap.list()
    uses = re.compile(rb"\\(Sent|Drafts|Trash|Junk|Archive)\b")
    found = ((uses.search(line), line.rsplit(b" ", 1)[-1].strip(b'"')) for line in lines if isinstance(line, bytes))
    return {match.group(1).decode(): name.decode() for match, name in found if match}


def trace_before(content: bytes, sent: bytes) -> bytes:
    """Return what precedes the octets `sent` in BODY[]: trace fields only. Raises AssertionError where it is more."""
    assert content.endswith(sent)
    trace = content.removesuffix(sent)
    assert trace.endswith(b"\r\n")
    fields = re.sub(rb"\r\n[ \t]", b" ", trace).splitlines()
    assert {field.partition(b":")[0] for field in fields} <= _TRACE_FIELDS
    return trace


def compose(subject: str, text: str, identifier: str, to: str) -> EmailMessage:
    """A mail from outside with the Message-ID `identifier`."""
    mail = EmailMessage()
    mail["From"] = "Zoë Outside <outside@sender.example>"
    mail["To"] = to
    mail["Subject"] = subject
    mail["Date"] = "Sat, 14 Nov 2026 12:00:00 +0100"
    mail["Message-ID"] = f"<{identifier}>"
    mail.set_content(text)
    return mail


def octets(mail: EmailMessage) -> bytes:
    """A mail as it is sent."""
    return mail.as_bytes(policy=policy.SMTP)


def with_text(mail: EmailMessage, text: str) -> bytes:
    """A mail as it is sent, its text as it is: 8-bit, with CRLF line ends."""
    mail.replace_header("Content-Transfer-Encoding", "8bit")
    return octets(mail).rstrip(b"\r\n") + b"\r\n\r\n" + text.replace("\n", "\r\n").encode()
