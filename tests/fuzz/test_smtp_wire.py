"""What the SMTP listeners make of any stream: replies by rule, nothing kept that was not promised, never a defect."""

import asyncio
import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import OVER_SOCKETS
from tests.fuzz.serving import nothing_logged_as_an_error, said_to
from tests.gateway.smtp.submission_world import People, SubmissionWorld, make_submission
from tests.gateway.smtp.world import Users, World, make_world

REPLIES: Final = re.compile(rb"(?:[2345][0-9]{2}-[ -~]*\r\n)*(?:[2345][0-9]{2} [ -~]*\r\n)")
STORED: Final = re.compile(rb"^250 2\.6\.0 ", re.MULTILINE)
ACCEPTED: Final = re.compile(rb"^250 2\.[0-9]+\.[0-9]+ .*outbox-", re.MULTILINE)

LINES: Final = st.sampled_from(
    [
        *(
            b"EHLO a.example",
            b"HELO x",
            b"EHLO [127.0.0.1]",
            b"NOOP",
            b"RSET",
            b"VRFY a",
            b"HELP",
            b"STARTTLS",
            b"QUIT",
        ),
        *(b"MAIL FROM:<>", b"MAIL FROM:<e@x.example> BODY=8BITMIME", b"MAIL FROM:<e@x.example> SIZE=99999999999999999"),
        *(b"MAIL FROM:<alice@example.org>", b"RCPT TO:<alice@example.org>", b"RCPT TO:<postmaster>", b"RCPT TO:<>"),
        *(b"RCPT TO:<full@example.org>", b"RCPT TO:<broken@example.org>", b"DATA", b".", b"BDAT 5 LAST", b"Subject: x"),
        *(b"RCPT TO:<both@example.org>", b"RCPT TO:<@a,@b:alice@example.org> NOTIFY=NEVER", b"", b"..", b"From: a@b"),
        *(b"AUTH PLAIN", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==", b"AUTH LOGIN", b"AUTH EXTERNAL =", b"*", b"AUTH PLAIN ="),
    ]
)
ENDS: Final = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
STREAMS: Final = st.lists(st.tuples(LINES | st.binary(max_size=30), ENDS).map(b"".join), max_size=25).map(b"".join)


def check_replies(octets: bytes) -> None:
    """All of `octets` is replies (RFC 5321 §4.2), and none shows what is inside."""
    assert REPLIES.sub(b"", octets) == b"", octets
    assert b"secret reason" not in octets
    assert b"Error" not in octets


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def gateway(runner: asyncio.Runner, tmp_path: Path) -> Iterator[World]:
    world = make_world(Users("alice", "bob"), tmp_path, limits={"errors": 1_000})
    runner.run(world.__aenter__())
    yield world
    runner.run(world.__aexit__())


@pytest.fixture
def agent(runner: asyncio.Runner) -> Iterator[SubmissionWorld]:
    world = make_submission(People(), limits={"errors": 1_000})
    runner.run(world.__aenter__())
    yield world
    runner.run(world.__aexit__())


def test_any_stream_to_a_gateway(gateway: World, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    """Invariant: whatever an MTA sends is answered by replies, and what is stored is what a 250 was said for."""

    @OVER_SOCKETS
    @given(STREAMS)
    def holds(octets: bytes) -> None:
        before = len(gateway.network.messages)
        said = runner.run(said_to(gateway.server.ports[0], octets))
        check_replies(said)
        assert said.startswith(b"220 ")
        assert len(STORED.findall(said)) <= len(gateway.network.messages) - before
        assert gateway.files() == []

    with nothing_logged_as_an_error(caplog):
        holds()


def test_any_stream_to_an_agent(
    agent: SubmissionWorld, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture
) -> None:
    """Invariant: whatever a mail reader sends is answered by replies; without a login nothing is submitted."""
    login = b"EHLO [127.0.0.1]\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"

    @OVER_SOCKETS
    @given(STREAMS, st.booleans())
    def holds(octets: bytes, logged_in: bool) -> None:
        before = len(agent.outbox.kept)
        said = runner.run(said_to(agent.server.listeners[0].port, (login if logged_in else b"") + octets))
        check_replies(said)
        assert agent.server.memory.used == 0
        if len(agent.outbox.kept) > before:
            assert b"\r\n235 " in said

    with nothing_logged_as_an_error(caplog):
        holds()


def test_any_login(agent: SubmissionWorld, runner: asyncio.Runner, caplog: pytest.LogCaptureFixture) -> None:
    """Invariant: whatever AUTH and its responses say, it is answered by replies, and nobody is let in by it."""
    words = st.binary(max_size=20) | st.binary(max_size=20).map(base64.b64encode)
    names = st.sampled_from([b"PLAIN", b"LOGIN", b"EXTERNAL", b"plain", b"CRAM-MD5", b""])

    @OVER_SOCKETS
    @given(names, words, words)
    def holds(name: bytes, initial: bytes, response: bytes) -> None:
        octets = b"EHLO x\r\nAUTH %b %b\r\n%b\r\n%b\r\n" % (name, initial, response, response)
        said = runner.run(said_to(agent.server.listeners[0].port, octets))
        check_replies(said)
        assert b"\r\n235 " not in said

    with nothing_logged_as_an_error(caplog):
        holds()
