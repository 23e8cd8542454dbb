"""The mail reader: imaplib on one account, with IDLE."""

import imaplib
import re
from collections.abc import Callable
from types import TracebackType
from typing import Self

from p2pcore import params
from p2pcore.endpoint import Endpoint
from tests.flow.machines import PASSWORD

_RESPONSE = re.compile(rb"\d+ \(UID ")
_UID = re.compile(rb"UID (\d+)")
_EXISTS = re.compile(rb"\* (\d+) EXISTS")
_TRACE = re.compile(
    rb"(?:Authentication-Results: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*)?"  # the agent's own, at times
    rb"Return-Path: <[^\r\n]*>\r\n"
    rb"Authentication-Results: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*"
    rb"Received: [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)+"
)

# Half of what a long poll lasts: news that comes within it came by the watch and not by asking again
PATIENCE = params.WATCH_WAIT / params.SECOND / 2


class Reader:
    """Logged in as `user`, one mailbox selected; reading sets no flags."""

    def __init__(self, imap: Endpoint, user: str, mailbox: str = "INBOX") -> None:
        self._before_idle: list[bytes] = []
        self.imap = imaplib.IMAP4(imap.host, imap.port, timeout=PATIENCE)
        self.imap.login(user, PASSWORD)
        self.select(mailbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.imap.shutdown()

    def select(self, mailbox: str) -> int:
        """Select a mailbox and return how many messages it has."""
        status, data = self.imap.select(mailbox)
        assert status == "OK"
        assert data[0] is not None
        self._looked_at = 0
        return int(data[0])

    def begin(self) -> None:
        """Select INBOX and pass over what is there."""
        self.select("INBOX")
        self._looked_at = max(self.uids(), default=0)

    def fetch(self, uids: str, items: str) -> dict[int, bytes]:
        """Return for each UID its whole FETCH response, literals included."""
        status, parts = self.imap.uid("FETCH", uids, items)
        assert status == "OK", parts
        responses: list[bytes] = []
        for part in parts:
            octets = b"\r\n".join(part) if isinstance(part, tuple) else part or b""
            if _RESPONSE.match(octets):
                responses.append(octets)
            elif responses:
                responses[-1] += octets
        found = {}
        for response in responses:
            match = _UID.search(response)
            assert match is not None, response
            found[int(match.group(1))] = response
        return found

    def message(self, uid: int) -> bytes:
        """Return BODY[] of one message."""
        return self.messages(str(uid))[uid]

    def messages(self, uids: str = "1:*") -> dict[int, bytes]:
        """Return BODY[] of each message by UID."""
        status, parts = self.imap.uid("FETCH", uids, "(UID BODY.PEEK[])")
        assert status == "OK", parts
        found = {}
        for part in parts:
            if isinstance(part, tuple):
                match = _UID.search(part[0])
                assert match is not None, part[0]
                found[int(match.group(1))] = part[1]
        return found

    def wait_for(self, content: bytes) -> int:
        """Return the UID of the message with this content, when it is there; waits in IDLE.

        Each call looks only at messages that no earlier one has passed.
        """
        passed: dict[int, bytes] = {}

        def look() -> int:
            for uid, octets in sorted(self.messages(f"{self._looked_at + 1}:*").items()):
                if uid > self._looked_at:
                    self._looked_at = uid
                    if octets.endswith(content) and split(octets, content):
                        return uid
                    passed[uid] = octets[:2_000]
            return 0

        try:
            return self._wait(look)
        except TimeoutError as error:
            raise AssertionError(f"not there: {content[:200]!r}; passed over: {passed}") from error

    def wait_until(self, count: int) -> None:
        """Wait in IDLE until the mailbox has `count` messages."""
        self._wait(lambda: self.count() >= count)

    def count(self) -> int:
        """Return how many messages the mailbox has."""
        return len(self.uids())

    def uids(self) -> list[int]:
        """Return the UIDs of all messages, those included that this connection has not been told of."""
        self.imap.noop()
        return [int(uid) for uid in self.imap.uid("SEARCH", "ALL")[1][0].split()]

    def start_idle(self) -> None:
        """Send IDLE and wait for the continuation; what comes before it is not lost."""
        self._before_idle = []
        self.imap.send(b"idle IDLE\r\n")
        while not (line := self.imap.readline()).startswith(b"+"):
            assert line.startswith(b"*"), line
            self._before_idle.append(line)

    def next_exists(self) -> int:
        """Return the number in the next EXISTS while idle. Raises TimeoutError after PATIENCE."""
        while not (match := _EXISTS.match(line := self._idle_line())):
            assert line, "connection lost while idle"
        return int(match.group(1))

    def _idle_line(self) -> bytes:
        return self._before_idle.pop(0) if self._before_idle else self.imap.readline()

    def end_idle(self) -> None:
        self.imap.send(b"DONE\r\n")
        while not (line := self.imap.readline()).startswith(b"idle OK"):
            assert line.startswith(b"*"), line

    def _wait(self, look: Callable[[], int]) -> int:
        while True:
            self.imap.response("EXISTS")
            found = look()
            if found:
                return found
            if self.imap.response("EXISTS")[1] != [None]:
                continue
            self.start_idle()
            self.next_exists()
            self.end_idle()


def split(octets: bytes, content: bytes) -> bytes:
    """Return what precedes `content` in a BODY[] if it is exactly one trace block, else b""."""
    before = octets.removesuffix(content)
    return before if len(before) + len(content) == len(octets) and _TRACE.fullmatch(before) else b""
