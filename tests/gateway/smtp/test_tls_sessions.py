"""SMTP over TLS: a client may end its sending side and still read, and every end is an orderly one."""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from gateway.smtp import params
from tests.gateway.smtp.submission_world import ALICE, LOCALHOST, People, make_submission
from tests.gateway.smtp.world import DOMAIN, make_world

TIMEOUT = 20.0
LARGE = (b"x" * 76 + b"\r\n") * (20_000_000 // 78)
GREETING = b"EHLO [127.0.0.1]\r\n"
LOGIN = b"AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"
HEADER = b"From: alice@example.org\r\nSubject: first\r\n\r\n"
MAIL = b"MAIL FROM:<" + ALICE.encode() + b">\r\nRCPT TO:<bob@" + DOMAIN.encode() + b">\r\n"
LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
LISTENERS = pytest.mark.parametrize("implicit", [False, True], ids=["STARTTLS", "implicit TLS"])

NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Client:
    """A client's end of a connection, with its TLS in its own hands."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()

    @classmethod
    async def connect(cls, port: int) -> Self:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def hear(self) -> bytes:
        """One line in clear."""
        return await asyncio.wait_for(self.reader.readline(), TIMEOUT)

    async def start_tls(self) -> None:
        """Have the server say that it is ready for TLS."""
        assert (await self.hear()).startswith(b"220 ")
        self.writer.write(b"STARTTLS\r\n")
        assert (await self.hear()).startswith(b"220 ")

    async def shake_hands(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        self.tls = context.wrap_bio(self._incoming, self._outgoing)
        while True:
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                await self._take()
        self._flush()

    def say(self, octets: bytes) -> None:
        self.writer.write(self.sealed(octets))

    def sealed(self, octets: bytes) -> bytes:
        """The records for `octets`, not sent."""
        view = memoryview(octets)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def farewell(self) -> bytes:
        """close_notify, not sent."""
        with suppress(ssl.SSLWantReadError):
            self.tls.unwrap()
        return self._outgoing.read()

    async def read(self) -> bytes:
        """What the server says next; b"" after its close_notify. Raises EOFError, where TCP ended without one."""
        while True:
            try:
                return self.tls.read(65_536)
            except ssl.SSLWantReadError:
                await self._take()
            except ssl.SSLZeroReturnError:  # and ours was before it
                return b""

    async def until(self, code: bytes) -> None:
        """Read up to the end of a reply of this code."""
        said = b""
        while not (said.endswith(b"\r\n") and said.splitlines()[-1].startswith(code + b" ")):
            piece = await self.read()
            assert piece, said
            said += piece

    async def rest(self) -> bytes:
        """All that the server says up to its close_notify, and nothing follows that."""
        said = b""
        while piece := await self.read():
            said += piece
        assert await asyncio.wait_for(self.reader.read(), TIMEOUT) == b""
        return said

    async def _take(self) -> None:
        octets = await asyncio.wait_for(self.reader.read(65_536), TIMEOUT)
        if not octets:
            raise EOFError
        self._incoming.write(octets)

    def _flush(self) -> None:
        self.writer.write(self._outgoing.read())


@dataclass
class Place:
    """A started server, and the kind of its listener."""

    world: Any
    implicit: bool

    async def dial(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Client:
        """A client whose handshake is done; over STARTTLS it is greeted in clear."""
        client = await self.open()
        await client.shake_hands(version)
        return client

    async def open(self) -> Client:
        """A client with which TLS is to begin."""
        client = await Client.connect(self.world.server.listeners[-1].port)
        if not self.implicit:
            await client.start_tls()
        return client

    async def in_session(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> Client:
        """A client who may send mail."""
        client = await self.dial(version)
        if self.implicit:
            await client.until(b"220")
        client.say(GREETING + LOGIN if self.implicit else GREETING)
        await client.until(b"235" if self.implicit else b"250")
        return client

    def kept(self) -> list[bytes]:
        """The contents that were taken."""
        if self.implicit:
            return [one.content for one in self.world.outbox.kept]
        return [message.content for message in self.world.network.messages]

    async def empty(self) -> None:
        """Return when the server holds no session, and nothing counts as one."""
        async with asyncio.timeout(TIMEOUT):
            limits = self.world.server._shared.limits
            while self.world.server._listeners.connections or limits.connections:  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)


@pytest.fixture
def told(
    people: People, tmp_path: Path, server_tls: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> Callable[..., None]:
    """Tells a story to a server on a loop that has nothing to complain of."""

    @asynccontextmanager
    async def place(implicit: bool) -> AsyncIterator[Place]:
        errors: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: errors.append(context))
        if implicit:
            world: Any = make_submission(people, server_tls, listen_tls=(LOCALHOST,))
        else:
            world = make_world(people.users, tmp_path, server_tls, verify="off")
        async with world:
            yield Place(world, implicit)
        assert errors == []

    async def tell(story: Callable[[Place], Coroutine[Any, Any, None]], implicit: bool) -> None:
        async with place(implicit) as here:
            await story(here)

    def run(
        story: Callable[[Place], Coroutine[Any, Any, None]],
        new_loop: NewLoop = uvloop.new_event_loop,
        *,
        implicit: bool = False,
    ) -> None:
        caplog.set_level(logging.WARNING)
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(tell(story, implicit))
        assert [record.getMessage() for record in caplog.records] == []

    return run


# ---- one direction ends


@LOOPS
@VERSIONS
@LISTENERS
@pytest.mark.parametrize("apart", [False, True], ids=["together", "apart"])
def test_replies_after_close_notify(
    told: Callable[..., None], new_loop: NewLoop, version: ssl.TLSVersion, implicit: bool, apart: bool
) -> None:
    """A content with QUIT and close_notify behind it is answered, and so is QUIT (RFC 8446 §6.1)."""

    async def story(place: Place) -> None:
        for chunked in (False, True):
            client = await place.in_session(version)
            if chunked:
                said = client.sealed(MAIL + b"BDAT %d LAST\r\n" % len(HEADER) + HEADER + b"QUIT\r\n")
            else:
                client.say(MAIL + b"DATA\r\n")
                await client.until(b"354")
                said = client.sealed(HEADER + b".\r\nQUIT\r\n")
            farewell = client.farewell()
            if apart:
                client.writer.write(said)
                client.writer.write(farewell)
            else:
                client.writer.write(said + farewell)
            *_, kept, goodbye = (await client.rest()).splitlines()
            assert kept.startswith((b"250 2.6.0 ", b"250 2.0.0 "))
            assert goodbye.startswith(b"221 2.0.0 ")
            client.writer.close()
        await place.empty()
        assert all(content.endswith(HEADER) for content in place.kept())
        assert place.world.log.named("unfinished") == []

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_replies_after_the_end_of_tcp(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """A client that ends TCP without close_notify behind its QUIT is answered all the same, as one in clear is."""

    async def story(place: Place) -> None:
        client = await place.in_session()
        client.say(MAIL + b"DATA\r\n")
        await client.until(b"354")
        client.say(HEADER + b".\r\nQUIT\r\n")
        client.writer.write_eof()
        kept, goodbye = (await client.rest()).splitlines()
        assert kept.startswith(b"250 2.")
        assert goodbye.startswith(b"221 2.0.0 ")
        client.writer.close()
        await place.empty()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_who_does_not_end_its_side_counts(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """A connection counts until it is gone: also while the client, told 221 and close_notify, keeps it open."""

    async def story(place: Place) -> None:
        client = await place.in_session()
        client.say(b"QUIT\r\n")
        assert (await client.rest()).startswith(b"221 2.0.0 ")
        assert not place.world.server._listeners.connections
        assert place.world.server._shared.limits.connections == 1
        client.writer.close()
        await place.empty()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_the_end_in_a_content(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """close_notify in the middle of a content ends the session; what is behind it in clear is nothing."""

    async def story(place: Place) -> None:
        client = await place.in_session()
        client.say(MAIL + b"DATA\r\n")
        await client.until(b"354")
        client.writer.write(client.sealed(HEADER) + client.farewell() + b".\r\n")
        assert await client.rest() == b""
        client.writer.close()
        await place.empty()
        assert place.kept() == []

    told(story, new_loop, implicit=implicit)


# ---- any client


@LOOPS
@VERSIONS
def test_octet_by_octet(told: Callable[..., None], new_loop: NewLoop, version: ssl.TLSVersion) -> None:
    """A session whose records come octet by octet is understood."""

    async def story(place: Place) -> None:
        client = await place.in_session(version)
        client.say(MAIL + b"DATA\r\n")
        await client.until(b"354")
        for octet in client.sealed(HEADER + b".\r\nQUIT\r\n") + client.farewell():
            client.writer.write(bytes([octet]))
            await asyncio.sleep(0)
        assert (await client.rest()).startswith(b"250 2.")
        client.writer.close()
        (content,) = place.kept()
        assert content.endswith(HEADER)

    told(story, new_loop)


@LOOPS
@LISTENERS
def test_twenty_megabytes(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """Come out as they went in."""

    async def story(place: Place) -> None:
        client = await place.in_session()
        client.say(MAIL + b"DATA\r\n")
        await client.until(b"354")
        client.writer.write(client.sealed(HEADER + LARGE + b".\r\nQUIT\r\n") + client.farewell())
        assert (await client.rest()).startswith(b"250 2.")
        client.writer.close()
        (content,) = place.kept()
        assert content.endswith(HEADER + LARGE)

    told(story, new_loop, implicit=implicit)


@LOOPS
@VERSIONS
def test_who_does_not_read(told: Callable[..., None], new_loop: NewLoop, version: ssl.TLSVersion) -> None:
    """The server stops reading from a client who takes no replies, and goes on when she does."""
    count = 100_000

    async def story(place: Place) -> None:
        client = await place.in_session(version)
        client.say(b"HELP\r\n" * count + b"QUIT\r\n")
        (session,) = place.world.server._listeners.connections
        async with asyncio.timeout(TIMEOUT):
            while not (session._is_full and session._input._is_paused):  # noqa: ASYNC110 - nobody tells of it
                await asyncio.sleep(0)
        assert session._input.pending <= params.COMMAND_BUFFER + 256 * 1024
        said = await client.rest()
        assert said.count(b"214 2.0.0 ") == count
        client.writer.close()

    told(story, new_loop)


# ---- every end


@LOOPS
@LISTENERS
@pytest.mark.parametrize("flight", [b"", b"EHLO client.example.net\r\n", b"\x16\x03\x01\0\5hello", b"\x16\x03"])
def test_no_handshake(told: Callable[..., None], new_loop: NewLoop, implicit: bool, flight: bytes) -> None:
    """What is no handshake, or its end before it is done, is logged and ends the connection, which counts no more."""

    async def story(place: Place) -> None:
        client = await place.open()
        client.writer.write(flight)
        client.writer.write_eof()
        assert b"220" not in await asyncio.wait_for(client.reader.read(), TIMEOUT)
        await place.empty()
        (line,) = place.world.log.named("unfinished")
        assert line["reason"] in {"TLS: SSLError", "TLS: ConnectionResetError"}
        client.writer.close()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_an_alert_says_why(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """A client of TLS 1.1 is told that its version is too old (RFC 8446 §6.2)."""

    async def story(place: Place) -> None:
        client = await place.open()
        client.writer.write(b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02" + b"x" * 32 + b"\0\0\2\xc0\x14\1\0")
        said = await asyncio.wait_for(client.reader.read(), TIMEOUT)
        assert said[:1] + said[5:] == b"\x15\x02\x46"  # alert: fatal, protocol_version
        client.writer.close()
        await place.empty()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_a_handshake_that_takes_too_long(
    told: Callable[..., None], new_loop: NewLoop, implicit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is closed without a word in clear."""
    monkeypatch.setattr(params, "TLS_TIMEOUT", 1)

    async def story(place: Place) -> None:
        client = await place.open()
        assert await asyncio.wait_for(client.reader.read(), TIMEOUT) == b""
        await place.empty()
        (line,) = place.world.log.named("unfinished")
        assert line["reason"] == "TLS: TimeoutError"
        client.writer.close()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
@pytest.mark.parametrize("where", ["in a handshake", "in a session", "in a content", "in a large content"])
@pytest.mark.parametrize("how", ["garbage", "a changed record", "reset"])
def test_a_broken_connection(
    told: Callable[..., None], new_loop: NewLoop, implicit: bool, where: str, how: str
) -> None:
    """Leaves no session, nothing kept, and nothing for the loop to complain of."""

    async def story(place: Place) -> None:
        if where == "in a handshake":
            client = await place.open()
        else:
            client = await place.in_session()
        if "content" in where:
            client.say(MAIL + b"DATA\r\n")
            await client.until(b"354")
            client.say(HEADER + (LARGE[:3_000_000] if "large" in where else b""))
        if how == "reset":
            client.writer.transport.abort()
        elif how == "garbage" or where == "in a handshake":
            client.writer.write(b"\r\n.\r\n" * 1_000)
        else:
            sealed = client.sealed(b"x" * 50 + b"\r\n.\r\n")
            client.writer.write(sealed[:30] + bytes([sealed[30] ^ 1]) + sealed[31:])
        async with asyncio.timeout(TIMEOUT):
            while where == "in a handshake" and not place.world.log.named("unfinished"):  # noqa: ASYNC110 - the same
                await asyncio.sleep(0)
        await place.empty()
        assert place.kept() == []
        assert len(place.world.log.named("unfinished")) == (where != "in a session")
        client.writer.close()

    told(story, new_loop, implicit=implicit)


@LOOPS
@LISTENERS
def test_stop_while_sessions_are_open(told: Callable[..., None], new_loop: NewLoop, implicit: bool) -> None:
    """Who has no transaction open is told 421 and close_notify; who is in the handshake is cut off."""

    async def story(place: Place) -> None:
        idle = await place.in_session()
        begun = await place.open() if implicit else None
        await place.world.server.stop()
        assert (await idle.rest()).startswith(b"421 4.3.2 ")
        idle.writer.close()
        if begun is not None:
            assert await asyncio.wait_for(begun.reader.read(), TIMEOUT) == b""
            begun.writer.close()
        await place.empty()

    told(story, new_loop, implicit=implicit)
