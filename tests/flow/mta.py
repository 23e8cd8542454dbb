"""The outside MTA: a client that sends exactly the octets it is given, and returns replies as text."""

import socket
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from p2pcore.endpoint import Endpoint

HELO = "mta.sender.example"
SENDER = "outside@sender.example"
TIMEOUT = 90  # seconds: longer than the gateway waits for a quorum


class Mta:
    """One connection; `greeting` is the first reply. Lines of a reply are joined with LF."""

    def __init__(self, gateway: Endpoint) -> None:
        self._socket = socket.create_connection((gateway.host, gateway.port), timeout=TIMEOUT)
        self._stream = self._socket.makefile("rb")
        self.greeting = self.reply()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def say(self, line: str) -> str:
        """Send one command and return the reply."""
        self._socket.sendall(line.encode() + b"\r\n")
        return self.reply()

    def reply(self) -> str:
        lines = []
        while True:
            line = self._stream.readline()
            assert line.endswith(b"\r\n"), line
            lines.append(line[:-2].decode())
            if line[3:4] == b" ":
                return "\n".join(lines)

    def begin(self, recipients: Sequence[str], reverse_path: str = SENDER) -> None:
        """Go as far as 354, every recipient accepted."""
        assert self.say(f"EHLO {HELO}").startswith("250")
        assert self.say(f"MAIL FROM:<{reverse_path}> BODY=8BITMIME").startswith("250")
        for recipient in recipients:
            reply = self.say(f"RCPT TO:<{recipient}>")
            assert reply.startswith("250"), reply
        assert self.say("DATA").startswith("354")

    def content(self, octets: bytes) -> str:
        """Send a content after 354, with its dots stuffed, and return the reply to its end (RFC 5321 §4.5.2)."""
        assert not octets or octets.endswith(b"\r\n")
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:]
        return self.raw(stuffed + b".\r\n")

    def raw(self, octets: bytes) -> str:
        """Send `octets` as they are and return the next reply."""
        self._socket.sendall(octets)
        return self.reply()


def send(gateway: Endpoint, content: bytes, *recipients: str, reverse_path: str = SENDER) -> str:
    """Send one mail in a connection of its own and return the reply after the dot."""
    with Mta(gateway) as mta:
        mta.begin(recipients, reverse_path)
        return mta.content(content)


def rcpt(gateway: Endpoint, forward_path: str) -> str:
    """Return the reply to RCPT TO:<forward_path>."""
    with Mta(gateway) as mta:
        mta.say(f"EHLO {HELO}")
        mta.say(f"MAIL FROM:<{SENDER}>")
        return mta.say(f"RCPT TO:<{forward_path}>")


def message(*, message_id: str = "", author: str = SENDER, body: str = "") -> bytes:
    """Return a small mail unlike any other; `message_id` is one without angle brackets, "": the mail has none."""
    identifier = f"Message-ID: <{message_id}>\r\n" if message_id else ""
    return (
        f"From: Outside <{author}>\r\nTo: somebody@flow.test\r\nSubject: {uuid.uuid4()}\r\n"
        f"Date: Sun, 22 Nov 2026 10:00:00 +0000\r\n{identifier}\r\n{body}{uuid.uuid4()}\r\n"
    ).encode()
