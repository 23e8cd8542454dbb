"""mbsync keeps a Maildir and the account the same, both ways."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.harness.mail import send
from tests.interop.mailbox import Mailbox, compose, octets
from tests.interop.programs import program
from tests.interop.server import Server, User

pytestmark = pytest.mark.interop

_CONFIGURATION = """\
IMAPAccount p2pmail
Host localhost
Port {port}
User {user}
Pass "{password}"
SSLType {security}
SystemCertificates no
CertificateFile {certificate}

IMAPStore far
Account p2pmail

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel both
Far :far:
Near :near:
Patterns *
Create Both
Remove Both
Expunge Both
Sync All
SyncState *
"""


class Maildir:
    """A local copy of an account that mbsync keeps."""

    def __init__(self, server: Server, user: User, directory: Path, security: str) -> None:
        self._program = program("mbsync", "isync")
        self.path = directory / "mail"
        self.path.mkdir()
        self._configuration = directory / "mbsyncrc"
        self._configuration.write_text(
            _CONFIGURATION.format(
                port=(server.imaps if security == "IMAPS" else server.imap)[1],
                user=user.address,
                password=user.password,
                security=security,
                certificate=server.certificate,
                maildir=self.path,
            )
        )

    def sync(self) -> str:
        """Run mbsync and return what it says of what it did."""
        ended = subprocess.run(
            [self._program, "-V", "-c", str(self._configuration), "both"],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert "rror" not in ended.stderr, ended.stderr
        return ended.stdout

    def messages(self, folder: str) -> dict[Path, bytes]:
        """The messages of a folder by their file."""
        files = [path for part in ("cur", "new") for path in (self.path / folder / part).iterdir()]
        return {path: path.read_bytes() for path in files}

    def only(self, folder: str) -> Path:
        """The file of the only message of a folder."""
        (path,) = self.messages(folder)
        return path

    def add(self, folder: str, content: bytes, flags: str) -> None:
        """File a message as a local mail reader would. `flags`: Maildir's letters."""
        for part in ("cur", "new", "tmp"):
            (self.path / folder / part).mkdir(parents=True, exist_ok=True)
        (self.path / folder / "cur" / f"1795000000.1.local:2,{flags}").write_bytes(content)

    def flag(self, path: Path, flags: str) -> None:
        """Give a message exactly these flags, as a local mail reader would."""
        name = re.sub(r":2,.*$", "", path.name)
        path.rename(path.parent.parent / "cur" / f"{name}:2,{flags}")

    def snapshot(self) -> dict[Path, bytes]:
        """Every file and its content, mbsync's own state too."""
        return {path: path.read_bytes() for path in self.path.rglob("*") if path.is_file()}


def _state(mailbox: Mailbox) -> dict[str, bytes]:
    """What STATUS says of every folder; its HIGHESTMODSEQ grows with whatever is done."""
    items = "(MESSAGES UNSEEN UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
    return {folder: mailbox.imap.status(f'"{folder}"', items)[1][0] for folder in mailbox.folders()}


def _without_mark(content: bytes) -> bytes:
    """Return a message without the field by which mbsync knows its copies again."""
    return re.sub(rb"^X-TUID: .*\n", b"", content, flags=re.MULTILINE)


def _deliver(server: Server, user: User, name: str) -> bytes:
    sent = octets(compose(f"Für mbsync: {name}", "Grüße\n.\n", f"{name}@sender.example", user.address))
    send(server, sent, user.address)
    return sent


@pytest.mark.parametrize("security", ["IMAPS", "STARTTLS", "None"])
def test_account_is_pulled(server: Server, user: User, tmp_path: Path, security: str) -> None:
    """All folders and messages come down as they are; a second run finds nothing to do."""
    sent = _deliver(server, user, "pulled")
    maildir = Maildir(server, user, tmp_path, security)
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        maildir.sync()
        assert sorted(path.name for path in maildir.path.iterdir()) == sorted(mailbox.folders())
        (content,) = maildir.messages("INBOX").values()
        content = _without_mark(content)
        assert content.endswith(sent.replace(b"\r\n", b"\n"))
        assert content.replace(b"\n", b"\r\n") == mailbox.content("INBOX", "pulled@sender.example")
        local, remote = maildir.snapshot(), _state(mailbox)
        maildir.sync()
        assert (maildir.snapshot(), _state(mailbox)) == (local, remote)


def test_local_changes_are_pushed(server: Server, user: User, tmp_path: Path) -> None:
    """Flags, a new message, a new folder and a deletion made locally are on the server after one run; twice is once."""
    _deliver(server, user, "kept")
    maildir = Maildir(server, user, tmp_path, "IMAPS")
    new = octets(compose("Lokal", "Nur hier geschrieben – 10 €\n", "new@local.example", user.address))
    draft = octets(compose("Entwurf", "noch nicht\n", "draft@local.example", user.address))
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(1)
        maildir.sync()
        maildir.flag(maildir.only("INBOX"), "FRS")
        maildir.add("Drafts", draft.replace(b"\r\n", b"\n"), "DS")
        maildir.add("Projekt", new.replace(b"\r\n", b"\n"), "S")
        maildir.sync()
        assert mailbox.flags("INBOX", "kept@sender.example") == {"\\Flagged", "\\Answered", "\\Seen"}
        assert mailbox.flags("Drafts", "draft@local.example") == {"\\Draft", "\\Seen"}
        assert mailbox.ids("Projekt") == ["new@local.example"]
        assert _without_mark(mailbox.content("Projekt", "new@local.example")) == new
        local, remote = maildir.snapshot(), _state(mailbox)
        maildir.sync()
        assert (maildir.snapshot(), _state(mailbox)) == (local, remote)
        maildir.flag(maildir.only("INBOX"), "FRST")
        maildir.only("Drafts").unlink()
        maildir.sync()
        assert mailbox.ids("INBOX") == mailbox.ids("Drafts") == []
        assert maildir.messages("INBOX") == maildir.messages("Drafts") == {}


def test_remote_changes_are_pulled(server: Server, user: User, tmp_path: Path) -> None:
    """Flags, moves and deletions made over IMAP are in the Maildir after one run."""
    for name in ("flagged", "moved", "deleted"):
        _deliver(server, user, name)
    maildir = Maildir(server, user, tmp_path, "IMAPS")
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(3)
        maildir.sync()
        assert len(maildir.messages("INBOX")) == 3
        ids = mailbox.ids("INBOX")
        numbers = {name: str(ids.index(f"{name}@sender.example") + 1) for name in ("flagged", "moved", "deleted")}
        mailbox.imap.select("INBOX")
        mailbox.imap.store(numbers["flagged"], "+FLAGS", "(\\Seen \\Flagged)")
        mailbox.imap.store(numbers["deleted"], "+FLAGS", "(\\Deleted)")
        mailbox.imap.expunge()
        (number,) = mailbox.imap.search(None, "HEADER", "Message-ID", "moved@")[1]
        mailbox.imap.create("Elsewhere")
        assert mailbox.imap.xatom("MOVE", number.decode(), "Elsewhere")[0] == "OK"
        maildir.sync()
        assert maildir.only("INBOX").name.endswith(":2,FS")
        assert b"<moved@sender.example>" in maildir.messages("Elsewhere")[maildir.only("Elsewhere")]
