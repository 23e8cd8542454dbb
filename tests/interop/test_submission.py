"""swaks submits as a mail reader does: with each login, under each kind of TLS, and where it must be refused."""

import subprocess
import time
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from tests.interop.mailbox import Mailbox, compose, octets, trace_before
from tests.interop.programs import swaks
from tests.interop.server import DOMAIN, Server, User

pytestmark = pytest.mark.interop

STARTTLS, IMPLICIT = "--tls", "--tls-on-connect"
_AT_LOGIN, _AT_MAIL, _NO_RECIPIENT, _AT_CONTENT = 28, 23, 24, 26  # swaks's exit codes


@pytest.fixture
def friend(server: Server) -> User:
    """Another user."""
    return server.new_user()


def submit(server: Server, user: User, *options: str, tls: str = STARTTLS) -> subprocess.CompletedProcess[str]:
    """Run swaks as `user`; it accepts our certificate only."""
    host, port = server.submissions if tls == IMPLICIT else server.submission
    command = [swaks(), "--server", host, "--port", str(port), tls, "--from", user.address]
    return subprocess.run([*command, *options], capture_output=True, text=True, check=False)


def login(user: User, mechanism: str, password: str = "") -> list[str]:
    return ["--auth", mechanism, "--auth-user", user.address, "--auth-password", password or user.password]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
@pytest.mark.parametrize("tls", [STARTTLS, IMPLICIT], ids=["STARTTLS", "TLS"])
def test_submitted_mail_arrives(
    server: Server, user: User, friend: User, tmp_path: Path, tls: str, mechanism: str
) -> None:
    """Who logs in has her mail taken; the friend reads these octets, marked as signed by their author."""
    mail = compose("Grüße von swaks", "Zeile äöü\n.\n..\nEnde\n", "swaks@interop.test", friend.address)
    mail.replace_header("From", f"Zoë Inside <{user.address}>")
    sent = octets(mail)
    # swaks: Unix line ends, and it puts the last one itself
    (tmp_path / "mail").write_bytes(sent.replace(b"\r\n", b"\n").removesuffix(b"\n"))
    ended = submit(
        server, user, *login(user, mechanism), "--to", friend.address, "--data", f"@{tmp_path / 'mail'}", tls=tls
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"AUTH {mechanism}" in ended.stdout
    assert "250 2.0.0 kept in the outbox" in ended.stdout
    with Mailbox(server, friend) as mailbox:
        mailbox.wait_for(1)
        (content,) = mailbox.messages("INBOX")
        assert "$P2PMailSigned" in mailbox.flags("INBOX", "swaks@interop.test")
    trace = trace_before(content, sent)
    assert f"Return-Path: <{user.address}>".encode() in trace
    assert b"x-p2pmail=pass (signed by this user)" in trace


def test_missing_fields_are_added_and_bcc_removed(server: Server, user: User, friend: User, tmp_path: Path) -> None:
    """Date and Message-ID are put on top where they are missing, Bcc goes, all else stays in its place."""
    (tmp_path / "mail").write_text(
        f"From: {user.address}\nSubject: bare\nBcc: {friend.address},\n secret@elsewhere.example\nX-Own: kept\n\ntext\n"
    )
    ended = submit(server, user, *login(user, "PLAIN"), "--to", friend.address, "--data", f"@{tmp_path / 'mail'}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with Mailbox(server, friend) as mailbox:
        mailbox.wait_for(1)
        (content,) = mailbox.messages("INBOX")
    added = content.removesuffix(f"From: {user.address}\r\nSubject: bare\r\nX-Own: kept\r\n\r\ntext\r\n\r\n".encode())
    assert added != content
    fields = message_from_bytes(added, policy=policy.default)
    assert fields["Message-ID"].endswith(f"@{DOMAIN}>")
    assert abs(fields["Date"].datetime.timestamp() - time.time()) < 600
    assert set(fields.keys()) == {"Return-Path", "Received", "Authentication-Results", "Date", "Message-ID"}


def test_wrong_password_is_refused(server: Server, user: User) -> None:
    """A wrong password and an unknown user get the same answer with each mechanism."""
    nobody = User(f"nobody@{DOMAIN}", user.password)
    for name, mechanism, password in ((user, "PLAIN", "wrong"), (user, "LOGIN", "wrong"), (nobody, "PLAIN", "")):
        ended = submit(server, user, *login(name, mechanism, password), "--to", user.address)
        assert ended.returncode == _AT_LOGIN, ended.stdout
        assert "535 5.7.8 wrong user name or password" in ended.stdout


def test_nobody_sends_without_login(server: Server, user: User) -> None:
    """MAIL before AUTH is refused, also to a user of the domain: this is not the port for outside mail."""
    ended = submit(server, user, "--to", user.address)
    assert ended.returncode == _AT_MAIL, ended.stdout
    assert "530 5.7.0" in ended.stdout


def test_nobody_writes_as_another(server: Server, user: User, friend: User) -> None:
    """MAIL FROM and From must be the user's own; nothing arrives under another's name."""
    to = ["--to", friend.address]
    reverse_path = submit(server, user, *login(user, "PLAIN"), *to, "--from", friend.address)
    assert reverse_path.returncode == _AT_MAIL, reverse_path.stdout
    assert "550 5.7.1 the address in MAIL FROM is not one of yours" in reverse_path.stdout
    author = submit(server, user, *login(user, "PLAIN"), *to, "--header", f"From: {friend.address}")
    assert author.returncode == _AT_CONTENT, author.stdout
    assert "550 5.7.1 an address in the From field is not one of yours" in author.stdout
    with Mailbox(server, friend) as mailbox:
        assert mailbox.messages("INBOX") == []
    assert server.outgoing(user) == []


def test_unknown_address_is_refused_at_once(server: Server, user: User) -> None:
    """The agent asks a gateway for an address of our domain that has no certificate, and passes its refusal on."""
    ended = submit(server, user, *login(user, "PLAIN"), "--to", f"nobody@{DOMAIN}")
    assert ended.returncode == _NO_RECIPIENT, ended.stdout
    assert "550 5.1.1" in ended.stdout
