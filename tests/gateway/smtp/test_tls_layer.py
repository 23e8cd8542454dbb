"""tls_layer over TCP in memory: what is held is bounded, pauses are kept, every end is an orderly one."""

import asyncio
import gc
import socket
import ssl
from contextlib import suppress
from typing import Any, cast

import pytest

from gateway.smtp.tls_layer import TlsLayer, secure, secure_accepted

TIMEOUT = 20.0


class Tcp(asyncio.Transport):
    """A connection in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_paused = False
        self.is_closed = False
        self.is_aborted = False
        self.is_ended = False
        self.protocol: asyncio.Protocol | None = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closed
        self.written += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def write_eof(self) -> None:
        self.is_ended = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return f"the {name} of TCP"


class Session(asyncio.Protocol):
    """Notes what it is told; `transport` is paused after each piece where `pauses`."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.told: list[str] = []
        self.transport: asyncio.Transport | None = None
        self.pauses = False

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)
        if self.pauses:
            assert self.transport is not None
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        self.told.append("end")
        return True

    def pause_writing(self) -> None:
        self.told.append("pause")

    def resume_writing(self) -> None:
        self.told.append("resume")

    def connection_lost(self, error: Exception | None) -> None:
        self.told.append(f"lost: {type(error).__name__}")


class Pair:
    """A session under TLS over TCP in memory, and the client's TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.tcp, self.session = Tcp(), Session()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
        self.client = client.wrap_bio(self._incoming, self._outgoing)
        self._context = context

    async def shake_hands(self, behind: bytes = b"", *, then_lost: bool = False) -> TlsLayer:
        """The session's transport; `behind` comes with the last flight, and `then_lost` is the connection."""
        task = asyncio.ensure_future(secure(self.tcp, self.session, self._context, TIMEOUT))
        await asyncio.sleep(0)
        assert self.tcp.protocol is not None
        while True:
            try:
                self.client.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.tcp.protocol.data_received(self._outgoing.read())
                self.heard()
        if behind:
            self.client.write(behind)
        self.tcp.protocol.data_received(self._outgoing.read())
        assert self.session.heard == []
        if then_lost:
            self.tcp.close()
            self.tcp.protocol.connection_lost(None)
        self.session.transport = await task
        self.heard()
        return cast(TlsLayer, self.session.transport)

    def heard(self) -> None:
        """Give the client what was written."""
        self._incoming.write(bytes(self.tcp.written))
        self.tcp.written.clear()

    def sealed(self, octets: bytes) -> bytes:
        self.client.write(octets)
        return self._outgoing.read()

    def say(self, octets: bytes) -> None:
        assert self.tcp.protocol is not None
        self.tcp.protocol.data_received(self.sealed(octets))

    def farewell(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self.client.unwrap()
        return self._outgoing.read()


async def test_nothing_is_heard_before_the_handshake_has_returned(server_tls: ssl.SSLContext) -> None:
    """What comes with the client's last flight is given to the session when it knows its transport."""
    pair = Pair(server_tls)
    await pair.shake_hands(b"EHLO")  # it looks for itself in between
    await asyncio.sleep(0)
    assert pair.session.heard == [b"EHLO"]


async def test_pieces(server_tls: ssl.SSLContext) -> None:
    """What TCP delivers at once comes in pieces of some 256 KiB."""
    pair = Pair(server_tls)
    await pair.shake_hands()
    octets = bytes(range(256)) * 4_000
    pair.say(octets)
    assert b"".join(pair.session.heard) == octets
    assert [len(piece) for piece in pair.session.heard] == [262_144, 262_144, 262_144, 237_568]


async def test_a_pause_in_the_middle(server_tls: ssl.SSLContext) -> None:
    """A session that pauses gets no further piece of what is here, and TCP is paused with it; nor does it hear of the
    end. Each resumption gives the next piece, and all come before the end."""
    pair = Pair(server_tls)
    await pair.shake_hands()
    await asyncio.sleep(0)
    transport = pair.session.transport
    assert transport is not None
    assert pair.tcp.protocol is not None
    pair.session.pauses = True
    octets = bytes(range(256)) * 4_000
    pair.tcp.protocol.data_received(pair.sealed(octets) + pair.farewell())
    assert pair.tcp.protocol.eof_received()
    for expected in range(1, 5):
        assert len(pair.session.heard) == expected
        assert pair.tcp.is_paused
        assert pair.session.told == []
        transport.resume_reading()
        assert len(pair.session.heard) == expected
        await asyncio.sleep(0)
    assert b"".join(pair.session.heard) == octets
    assert pair.session.told == ["end"]


async def test_reading_goes_on(server_tls: ssl.SSLContext) -> None:
    """TCP is resumed once what was here has been taken."""
    pair = Pair(server_tls)
    transport = await pair.shake_hands()
    await asyncio.sleep(0)
    transport.pause_reading()
    assert pair.tcp.is_paused
    pair.say(b"one")
    assert pair.session.heard == []
    transport.resume_reading()
    await asyncio.sleep(0)
    assert pair.session.heard == [b"one"]
    assert not pair.tcp.is_paused
    pair.say(b"two")
    assert pair.session.heard == [b"one", b"two"]


async def test_writing(server_tls: ssl.SSLContext) -> None:
    """What is written goes to TCP at once, also after the client's close_notify; TCP's full buffer is the session's."""
    pair = Pair(server_tls)
    transport = await pair.shake_hands()
    assert pair.tcp.protocol is not None
    octets = bytes(range(256)) * 4_000
    transport.write(b"")
    assert pair.tcp.written == b""
    transport.write(octets)
    pair.heard()
    said = b""
    while len(said) < len(octets):
        said += pair.client.read(65_536)
    assert said == octets
    pair.tcp.protocol.pause_writing()
    pair.tcp.protocol.resume_writing()
    pair.tcp.protocol.data_received(pair.farewell())
    await asyncio.sleep(0)
    assert pair.session.told == ["pause", "resume", "end"]
    transport.write(b"221")
    transport.close()
    transport.write(b"too late")
    transport.close()
    assert pair.tcp.is_closed
    assert not pair.tcp.is_aborted
    pair.heard()
    assert pair.client.read() == b"221"
    with pytest.raises(ssl.SSLZeroReturnError):
        pair.client.read()
    pair.tcp.protocol.connection_lost(None)
    assert pair.session.told[3:] == ["lost: NoneType"]


async def test_a_bad_record(server_tls: ssl.SSLContext) -> None:
    """The client gets an alert, the session is told nothing but the end."""
    pair = Pair(server_tls)
    transport = await pair.shake_hands()
    assert pair.tcp.protocol is not None
    await asyncio.sleep(0)
    pair.tcp.protocol.data_received(b"\r\n.\r\n" * 10)
    assert transport.is_closing()
    transport.write(b"too late")
    pair.heard()
    with pytest.raises(ssl.SSLError, match="alert"):
        pair.client.read()
    await asyncio.sleep(0)
    assert pair.tcp.is_aborted
    pair.tcp.protocol.connection_lost(None)
    assert (pair.session.heard, pair.session.told) == ([], ["lost: SSLError"])


async def test_what_is_known(server_tls: ssl.SSLContext) -> None:
    """The cipher, and what TCP knows."""
    pair = Pair(server_tls)
    transport = await pair.shake_hands()
    assert transport.get_extra_info("cipher")[1] == "TLSv1.3"
    assert transport.get_extra_info("ssl_object").getpeercert() is None
    assert transport.get_extra_info("peername") == "the peername of TCP"


async def test_a_client_gone_before_the_session_knows(server_tls: ssl.SSLContext) -> None:
    """A connection that is lost when the handshake is just over is one that failed."""
    pair = Pair(server_tls)
    with pytest.raises(ConnectionResetError):
        await pair.shake_hands(b"EHLO", then_lost=True)
    assert pair.session.heard == []


async def test_the_clients_end_is_waited_for(server_tls: ssl.SSLContext) -> None:
    """A client that still sends when we close is not answered with a reset; what it says is nothing."""
    for ends in (True, False):
        pair = Pair(server_tls)
        transport = await pair.shake_hands()
        assert pair.tcp.protocol is not None
        transport.close()
        assert pair.tcp.is_ended
        assert not pair.tcp.is_closed
        pair.say(b"QUIT")
        await asyncio.sleep(0)
        if ends:
            assert not pair.tcp.protocol.eof_received()  # so TCP closes
        pair.tcp.protocol.connection_lost(None)
        assert (pair.session.heard, pair.session.told) == ([], ["lost: NoneType"])


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("turns", range(1, 6))
async def test_a_handshake_that_nobody_waits_for(turns: int, is_gone: bool, server_tls: ssl.SSLContext) -> None:
    """A server that stops while a connection is being accepted leaves no failure for which nobody asks."""
    loop, left = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _loop, context: left.append(context))
    accepted, client = socket.socketpair()
    accepted.setblocking(False)
    with client:
        if is_gone:
            client.close()
        task = asyncio.ensure_future(secure_accepted(accepted, Session(), server_tls, TIMEOUT))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        while accepted.fileno() >= 0:  # noqa: ASYNC110 - nobody tells of it
            await asyncio.sleep(0)
    with suppress(asyncio.CancelledError, ConnectionResetError):
        task.result()
    del task
    gc.collect()
    assert left == []
