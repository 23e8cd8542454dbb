"""Thunderbird sets itself up, and keeps an account of thousands of messages over a restart."""

from pathlib import Path

import pytest

from tests.harness.mail import send
from tests.interop import thunderbird as application
from tests.interop.mailbox import Mailbox, compose, octets
from tests.interop.many import COUNT, fill, identifier
from tests.interop.programs import program
from tests.interop.server import Server, User
from tests.interop.thunderbird import FOLDERS, PLAIN, Account, Thunderbird
from tests.interop.waiting import wait_for

pytestmark = pytest.mark.interop

_LONG = 180.0  # seconds for thousands of messages; reached only by a failing test


def test_settings_are_found(server: Server, thunderbird: Thunderbird, user: User) -> None:
    """Address and password are all that is typed; the account that comes of it receives and sends."""
    found = thunderbird.call("setUp", user.address, user.password, server.autoconfig[1], FOLDERS)
    assert [(each["type"], each["hostname"], each["port"], each["socketType"]) for each in found] == [
        ("imap", *server.imap, PLAIN),
        ("smtp", *server.submission, PLAIN),
    ]
    assert {each["username"] for each in found} == {user.address}
    account = Account(thunderbird, user)
    send(server, octets(compose("Welcome", "Found.\n", "found@sender.example", user.address)), user.address)
    assert account("read", "Inbox", "found@sender.example")["subject"] == "Welcome"


def _log(directory: Path) -> str:
    """What has gone over the wire."""
    return "".join(path.read_text(errors="replace") for path in directory.glob("log*"))


def test_thousands_offline_and_a_restart(server: Server, user: User, tmp_path: Path) -> None:
    """All is downloaded once; after a restart nothing is fetched anew but what is; a search on the server finds."""
    fill(server, user, tmp_path)
    executable = program("thunderbird", "thunderbird")
    with application.running(executable, tmp_path, server) as thunderbird:
        account = thunderbird.add_account(user)
        wait_for(lambda: account("count", "Inbox") == COUNT, "all are in Thunderbird's database", _LONG)
        assert account("unread", "Inbox") == COUNT - COUNT // 2
        account("keepOffline", "Inbox")
        wait_for(lambda: account("countOffline", "Inbox") == COUNT, "all are there for reading offline", _LONG)
        assert account("search", "Inbox", [["Body", "number 4321"]]) == [identifier(4321)]
        account("transferMany", "Inbox", 0, 500, "Archive", True)
        account("transferMany", "Inbox", 0, 100, "Sent", False)
        with Mailbox(server, user) as mailbox:
            counted = [mailbox.imap.status(name, "(MESSAGES)")[1][0] for name in ("INBOX", "Archive", "Sent")]
        assert counted == [
            f"{name} (MESSAGES {number})".encode()
            for name, number in (("INBOX", COUNT - 500), ("Archive", 500), ("Sent", 100))
        ]
    assert "BODY.PEEK[]" in _log(tmp_path)
    for path in tmp_path.glob("log*"):
        path.unlink()
    send(server, octets(compose("Meanwhile", "New.\n", "new@sender.example", user.address)), user.address)
    with Mailbox(server, user) as mailbox:
        mailbox.wait_for(COUNT - 500 + 1)
    with application.running(executable, tmp_path, server) as thunderbird:
        account = Account(thunderbird, user)
        account("unlock", user.password)
        account("update", "Inbox")
        account("downloaded", "Inbox", "new@sender.example")
        assert account("count", "Inbox") == account("countOffline", "Inbox") == COUNT - 500 + 1
        assert account("read", "Inbox", identifier(1_000))["id"] == identifier(1_000)
    fetched = [line for line in _log(tmp_path).splitlines() if "SendData" in line and "BODY.PEEK[]" in line]
    assert len(fetched) == 1, fetched
