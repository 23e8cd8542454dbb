"""What the IMAP server makes of any stream: responses by rule, a mailbox that stays whole, never a defect."""

import asyncio
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.mailbox.store import MailStore
from p2pcore.endpoint import Endpoint
from tests.fuzz.effort import OVER_SOCKETS
from tests.fuzz.serving import nothing_logged_as_an_error, said_to
from tests.gateway.imap.conftest import TwoAccounts
from tests.support.imap_accounts import PasswordsOnly

LOGIN: Final = b"a LOGIN alice secret\r\nb SELECT INBOX\r\n"
MESSAGE: Final = b"From: a@b.example\r\nSubject: =?utf-8?q?x?=\r\n\r\nbody\r\n"
COMMANDS: Final = st.sampled_from(
    [
        *(b"NOOP", b"CAPABILITY", b"LOGOUT", b"LOGIN alice secret", b"AUTHENTICATE PLAIN", b"*", b"ID NIL", b"DONE"),
        *(b"SELECT INBOX", b"EXAMINE inbox", b"CLOSE", b"UNSELECT", b"EXPUNGE", b"CHECK", b"NAMESPACE", b"IDLE"),
        *(
            b'LIST "" *',
            b'LIST "" (% *) RETURN (STATUS (MESSAGES))',
            b"STATUS INBOX (UIDNEXT)",
            b"CREATE a/b",
            b"LSUB x y",
        ),
        *(
            b"DELETE a/b",
            b"RENAME a/b c",
            b"SUBSCRIBE c",
            b"FETCH 1:* ALL",
            b"FETCH 1 BODY[]<0.5>",
            b"UID FETCH * FULL",
        ),
        *(
            b"FETCH 1 (BODY[HEADER.FIELDS (Subject)] BODYSTRUCTURE)",
            b"STORE 1 FLAGS (x)",
            b"UID STORE 1:* +FLAGS.SILENT ()",
        ),
        *(
            b"SEARCH ALL",
            b"UID SEARCH NOT (OR SEEN BODY x)",
            b"SEARCH CHARSET utf-8 TEXT {1+}\r\nx",
            b"COPY 1 c",
            b"MOVE 1 c",
        ),
        *(
            b"APPEND INBOX {4+}\r\na: b",
            b"APPEND INBOX {4}\r\nabcd",
            b"ENABLE CONDSTORE",
            b"SORT x",
            b"{9}",
            b"FETCH",
            b"",
        ),
    ]
)
WORDS: Final = st.binary(max_size=16) | st.sampled_from(
    [b"(", b")", b'"', b"{3}\r\n", b"{3+}\r\nabc", b"1:*", b"\\Seen", b"NIL"]
)
LINE: Final = st.tuples(
    st.sampled_from([b"t ", b"t ", b"t ", b"", b"* "]),
    COMMANDS | st.lists(COMMANDS | WORDS, max_size=4).map(b" ".join),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b""]),
).map(b"".join)
STREAMS: Final = st.lists(LINE, max_size=15).map(b"".join)
# Tagged, untagged and continuation lines; what a literal holds may be anything
LITERAL: Final = re.compile(rb"\{(\d+)\}\r\n")
RESPONSE: Final = re.compile(rb"(?:\*|\+|[!-~]{1,255}) [^\r\n]*\r\n|\+ ?\r\n")


@dataclass
class Served(PasswordsOnly):
    """A server whose users share a mailbox."""

    runner: asyncio.Runner
    server: ImapServer

    def say(self, octets: bytes) -> bytes:
        port: int = self.server.sockets[0].getsockname()[1]
        return self.runner.run(said_to(port, octets))


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with asyncio.Runner() as runner:
        store = runner.run(MailStore.open(tmp_path / "alice", secrets.token_bytes(32)))
        server = ImapServer(TwoAccounts(store, store), None, ImapLimits(failed_login_delay=0.0))
        runner.run(server.start([Endpoint("127.0.0.1", 0)], []))
        yield Served(runner, server)
        runner.run(server.stop())
        runner.run(store.close())


def without_literals(said: bytes) -> bytes:
    """What the server said, every literal's octets left out."""
    kept = bytearray()
    position = 0
    while (mark := LITERAL.search(said, position)) is not None:
        kept += said[position : mark.start()]
        position = mark.end() + int(mark[1])
    return bytes(kept + said[position:])


def check_responses(said: bytes) -> None:
    """All of it is responses (RFC 3501 §7), the first a greeting."""
    assert said.startswith(b"* OK ")
    assert RESPONSE.sub(b"", without_literals(said)) == b"", said


@pytest.mark.parametrize(
    "first",
    [b"", LOGIN, LOGIN + b"c APPEND INBOX {%d+}\r\n%b\r\n" % (len(MESSAGE), MESSAGE)],
    ids=["stranger", "logged in", "with a message"],
)
def test_any_stream(served: Served, caplog: pytest.LogCaptureFixture, first: bytes) -> None:
    """Invariant: whatever a client sends is answered by responses, and the next client finds the mailbox whole."""

    @OVER_SOCKETS
    @given(STREAMS)
    def holds(octets: bytes) -> None:
        check_responses(served.say(first + octets))
        said = served.say(LOGIN + b"c UID FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE RFC822.SIZE)\r\nd LOGOUT\r\n")
        check_responses(said)
        assert b"\r\nc OK " in said
        assert b"\r\nd OK " in said

    with nothing_logged_as_an_error(caplog):
        holds()
