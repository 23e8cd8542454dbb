"""Sending as an outside MTA would, and reading as a stock mail reader would."""

import imaplib
import re
import smtplib
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from email.utils import format_datetime, localtime, make_msgid
from typing import Self, cast

from tests.harness.machines import DOMAIN, PASSWORD, START_TIMEOUT, Machine

SENDER = "outside@sender.example"
RETRY_INTERVAL = 0.2  # seconds between a sending queue's attempts
_TOKEN = re.compile(rb"token-[0-9a-f]{32}")


def new_token() -> str:
    return f"token-{uuid.uuid4().hex}"


def message(token: str, *, message_id: bool = True, body: str = "") -> bytes:
    """A small mail that carries `token` in its body."""
    identifier = f"Message-ID: {make_msgid(domain='sender.example')}\r\n" if message_id else ""
    return (
        f"From: Outside <{SENDER}>\r\nTo: somebody@{DOMAIN}\r\nSubject: {token}\r\n"
        f"Date: {format_datetime(localtime())}\r\n{identifier}\r\n{token}\r\n{body}"
    ).encode()


def send(gateway: Machine, content: bytes, *recipients: str) -> str:
    """Hand `content` to a gateway and return the text of its 250; raises where it did not say 250."""
    with smtplib.SMTP(*gateway.smtp, local_hostname="mta.sender.example", timeout=90) as smtp:
        smtp.ehlo()
        smtp.mail(SENDER, ["BODY=8BITMIME"])
        for recipient in recipients:
            code, text = smtp.rcpt(recipient)
            if code != 250:
                raise smtplib.SMTPRecipientsRefused({recipient: (code, text)})
        code, text = smtp.data(content)
        if code != 250:
            raise smtplib.SMTPDataError(code, text)
        return text.decode()


def send_somewhere(gateways: Sequence[Machine], content: bytes, recipient: str, *, tries: int) -> bool:
    """Do as a sending MTA's queue does: the next MX after a failure, with a pause, until one says 250."""
    for attempt in range(tries):
        try:
            send(gateways[attempt % len(gateways)], content, recipient)
        except (OSError, smtplib.SMTPException):
            time.sleep(RETRY_INTERVAL)
            continue
        return True
    return False


def wait_until_accepting(gateway: Machine, recipient: str) -> None:
    """Ask RCPT until the gateway knows the domain record and the recipient's certificate."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with smtplib.SMTP(*gateway.smtp, local_hostname="mta.sender.example", timeout=90) as smtp:
            smtp.ehlo()
            smtp.mail(SENDER)
            code, text = smtp.rcpt(recipient)
        if code == 250:
            return
        assert code in (451, 550), (code, text)  # 550: this gateway has not heard of a new user yet
        assert time.monotonic() < deadline, text
        time.sleep(RETRY_INTERVAL)


class Reader:
    """An IMAP client on one account."""

    def __init__(self, agent: Machine, user: str) -> None:
        self._agent = agent
        self.imap = imaplib.IMAP4(*agent.imap, timeout=60)
        self.imap.login(user, PASSWORD)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.imap.shutdown()

    def folders(self) -> list[str]:
        _, lines = self.imap.list()
        return [re.sub(rb'^.* "/" ', b"", line).strip(b'"').decode() for line in lines if isinstance(line, bytes)]

    def messages(self, folder: str) -> list[bytes]:
        """Every message of a folder, whole."""
        self.imap.select(f'"{folder}"', readonly=True)
        _, data = self.imap.fetch("1:*", "(BODY.PEEK[])")
        return [part[1] for part in data if isinstance(part, tuple)]

    def tokens(self) -> Counter[str]:
        """How often each token occurs as a message, over all folders."""
        found: Counter[str] = Counter()
        for folder in self.folders():
            for content in self.messages(folder):
                found.update({match.decode() for match in _TOKEN.findall(content)})
        return found

    def wait_for_token(self, token: str) -> tuple[bytes, frozenset[str]]:
        """Wait (IDLE) until INBOX has a message that contains `token`; gives it with its flags and keywords."""
        while True:
            self.imap.select("INBOX", readonly=True)
            count = int(cast(bytes, self.imap.untagged_responses["EXISTS"][-1]))
            _, data = self.imap.fetch("1:*", "(FLAGS BODY.PEEK[])") if count else ("", [])
            for part in data:
                if isinstance(part, tuple) and token.encode() in part[1]:
                    found = re.search(rb"FLAGS \(([^)]*)\)", part[0])
                    assert found is not None, part[0]
                    return part[1], frozenset(found[1].decode().split())
            self.wait_for(count + 1)

    def wait_for(self, count: int) -> None:
        """Wait (IDLE) until INBOX has at least `count` messages; where that takes too long, say what the agent did."""
        self.imap.select("INBOX")
        self.imap.sock.settimeout(90)
        have = int(cast(bytes, self.imap.untagged_responses["EXISTS"][-1]))
        if have >= count:
            return
        self.imap.send(b"idle1 IDLE\r\n")
        while have < count:
            try:
                line = self.imap.readline()
            except TimeoutError:
                raise AssertionError(f"INBOX has {have} of {count} messages:\n{self._agent.log()[-8000:]}") from None
            if not line:
                raise OSError("connection lost while idle")
            match = re.match(rb"\* (\d+) EXISTS", line)
            if match:
                have = int(match.group(1))
        self.imap.send(b"DONE\r\n")
        while not self.imap.readline().startswith(b"idle1 "):
            pass
