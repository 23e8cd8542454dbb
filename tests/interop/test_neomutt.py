"""neomutt, at a terminal as somebody uses it, does everyday work."""

import os
import pty
import select
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.mail import send
from tests.interop.mailbox import Mailbox, compose, octets
from tests.interop.programs import program
from tests.interop.server import Server, User
from tests.interop.waiting import TIMEOUT, wait_for

pytestmark = pytest.mark.interop

_CONFIGURATION = """\
set folder = "imap://localhost:{imap}/"
set spoolfile = "+INBOX"
set imap_user = "{user}"
set imap_pass = "{password}"
set imap_condstore = {resync}
set imap_qresync = {resync}
set imap_idle = yes
set ssl_starttls = no
set ssl_force_tls = no
set smtp_url = "smtp://{login}@localhost:{submission}/"
set smtp_pass = "{password}"
set smtp_authenticators = "plain"
set from = "{user}"
set realname = "Someone"
set use_envelope_from = yes
set record = "+Sent"
set postponed = "+Drafts"
set trash = "+Trash"
set header_cache = "{directory}/headers"
set message_cachedir = "{directory}/messages"
set tmpdir = "{directory}"
set sendmail_wait = 0
set sleep_time = 0
set mail_check = 1
set timeout = 1
set confirmappend = no
set confirmcreate = no
set delete = yes
set quit = yes
set move = no
set wait_key = no
set beep = no
set mark_old = no
set abort_nosubject = no
set pager_stop = yes
"""


class Neomutt:
    """One run of neomutt in a terminal of its own."""

    def __init__(self, configuration: Path, *arguments: str) -> None:
        self._main, terminal = pty.openpty()
        environment = os.environ | {"TERM": "vt100", "LINES": "40", "COLUMNS": "100", "HOME": str(configuration.parent)}
        self._process = subprocess.Popen(
            [program("neomutt", "neomutt"), "-n", "-F", str(configuration), *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=environment,
            start_new_session=True,
        )
        os.close(terminal)
        self._shown = b""

    def press(self, keys: str) -> None:
        """Type."""
        os.write(self._main, keys.encode())

    def see(self, text: str) -> None:
        """Wait until the screen has shown `text` since the last that was seen."""
        wanted, deadline = text.encode(), time.monotonic() + TIMEOUT
        while wanted not in self._shown:
            ready, _, _ = select.select([self._main], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"{text!r} was not shown, but {self._shown[-2_000:]!r}"
            self._shown += os.read(self._main, 65_536)
        self._shown = self._shown.partition(wanted)[2]

    def end(self) -> int:
        """Wait for its end, reading what it still shows; return its exit code."""
        deadline = time.monotonic() + TIMEOUT
        while self._process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on: {self._shown[-2_000:]!r}"
            if select.select([self._main], [], [], 0.05)[0]:
                try:
                    self._shown += os.read(self._main, 65_536)
                except OSError:  # the terminal is closed at the other side
                    break
        return self._process.wait(TIMEOUT)

    def kill(self) -> None:
        """End it however it is, and its terminal."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._main)


@pytest.fixture(params=["yes", "no"], ids=["resynchronising", "plain"])
def configuration(request: pytest.FixtureRequest, server: Server, user: User, tmp_path: Path) -> Path:
    """The user's muttrc, with and without CONDSTORE and QRESYNC."""
    path = tmp_path / "muttrc"
    (tmp_path / "headers").mkdir()
    path.write_text(
        _CONFIGURATION.format(
            imap=server.imap[1],
            submission=server.submission[1],
            user=user.address,
            login=user.address.replace("@", "%40"),
            password=user.password,
            resync=request.param,
            directory=tmp_path,
        )
    )
    return path


@pytest.fixture
def mailbox(server: Server, user: User) -> Iterator[Mailbox]:
    """The user's account over imaplib."""
    with Mailbox(server, user) as mailbox:
        yield mailbox


def _deliver(server: Server, user: User, name: str) -> None:
    send(
        server,
        octets(compose(f"About {name}", f"Text of {name}.\n", f"{name}@sender.example", user.address)),
        user.address,
    )


def test_everyday(server: Server, user: User, mailbox: Mailbox, configuration: Path) -> None:
    """Messages are listed, read, starred, saved and deleted; what comes in is shown; a second start knows it."""
    for name in ("one", "two", "three"):
        _deliver(server, user, name)
        mailbox.wait_for(("one", "two", "three").index(name) + 1)
    neomutt = Neomutt(configuration)
    try:
        neomutt.see("About one")
        neomutt.see("About three")
        neomutt.press("1\n\n")  # go to the first, and open it
        neomutt.see("Text of one.")
        neomutt.press("q")
        neomutt.press("2\nF")  # a star
        neomutt.press("3\ns+Archive\n")  # saved there, to be deleted here
        neomutt.press("$")
        wait_for(lambda: mailbox.ids("Archive") == ["three@sender.example"], "the third is in Archive")
        wait_for(lambda: len(mailbox.ids("INBOX")) == 2, "and no longer in INBOX")
        _deliver(server, user, "four")
        neomutt.see("About four")
        neomutt.press("q")
        assert neomutt.end() == 0
    finally:
        neomutt.kill()
    mailbox.wait_for_flags("INBOX", "one@sender.example", "\\Seen")
    mailbox.wait_for_flags("INBOX", "two@sender.example", "\\Flagged")
    mailbox.imap.select("INBOX")
    mailbox.imap.store("1", "+FLAGS", "(\\Deleted)")
    mailbox.imap.expunge()
    again = Neomutt(configuration)
    try:
        again.see("About two")
        again.see("About four")
        again.press("1\nd$")
        wait_for(lambda: mailbox.ids("INBOX") == ["four@sender.example"], "the fourth alone is left")
        again.press("q")
        assert again.end() == 0
    finally:
        again.kill()
    mailbox.wait_for_ids("Trash", "two@sender.example")


def test_sending(server: Server, configuration: Path, tmp_path: Path) -> None:
    """What is sent from the command line arrives, with its attachment."""
    attached = tmp_path / "attached.txt"
    attached.write_text("attached 10 €\n")
    recipient = server.new_user()
    command = [program("neomutt", "neomutt"), "-n", "-F", str(configuration), "-s", "Grüße", "-a", str(attached)]
    ended = subprocess.run(
        [*command, "--", recipient.address],
        input="Straße\n",
        text=True,
        check=False,
        capture_output=True,
        timeout=TIMEOUT,
        env=os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with Mailbox(server, recipient) as theirs:
        theirs.wait_for(1)
        (content,) = theirs.messages("INBOX")
    assert b"attached.txt" in content
