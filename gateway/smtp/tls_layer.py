"""TLS between a TCP connection and its session, whose client may end its own sending side and still read.

close_notify ends one direction (RFC 8446 §6.1). asyncio's TLS, and uvloop's, close both at once and drop what is
written afterwards: the reply to a content whose client had sent QUIT and close_notify behind it.

What is held: of what came, what TCP delivered at once, and not decrypted while the session has paused; of what is to
leave, nothing here. The session is paused and resumed as the TCP connection's buffer fills and empties.
"""

import asyncio
import socket
import ssl
from contextlib import suppress
from typing import Any, Final, cast

_RECORD: Final = 16 * 1024  # octets in one record at the most (RFC 8446 §5.1): a read gives no more
_PIECE: Final = 256 * 1024  # octets given to the session at once
_FAREWELL: Final = 5.0  # seconds that a client has for its own end after ours


async def secure(
    transport: asyncio.Transport, session: asyncio.Protocol, context: ssl.SSLContext, timeout: float
) -> asyncio.Transport:
    """Return `session`'s transport under TLS, once the handshake over `transport` is done, within `timeout` seconds.

    TLS takes every octet that `transport` delivers from the call on. `session` is given what the client sends under TLS
    after this has returned. On failure `transport` is aborted. Raises OSError (ssl.SSLError, ConnectionError,
    TimeoutError).
    """
    layer = TlsLayer(context, session)
    transport.set_protocol(layer)  # before the first await: see above
    layer.connection_made(transport)
    await layer.shake_hands(timeout)
    return layer


async def secure_accepted(
    accepted: socket.socket, session: asyncio.Protocol, context: ssl.SSLContext, timeout: float
) -> None:
    """Give `session` its connection under TLS, once the handshake over `accepted` is done, within `timeout` seconds.

    On failure the connection is aborted, and `session` does not hear of it. Raises OSError as `secure` does.
    """
    layer = TlsLayer(context)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: layer, accepted)
    await layer.shake_hands(timeout)
    layer.set_protocol(session)
    session.connection_made(layer)


class TlsLayer(asyncio.Protocol, asyncio.Transport):
    """The server's side of TLS: the protocol of the TCP connection, and the transport of the session."""

    def __init__(self, context: ssl.SSLContext, session: asyncio.Protocol | None = None) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._session = session or asyncio.Protocol()
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._handshake: asyncio.Future[None] = self._loop.create_future()
        self._is_paused = True  # until the handshake is done
        self._is_ended = False  # the client sends nothing more: its close_notify came, or the end of TCP
        self._is_end_known = False  # by the session
        self._is_closing = False
        self._parting: asyncio.TimerHandle | None = None
        self._failure: ssl.SSLError | None = None

    async def shake_hands(self, timeout: float) -> None:
        """Return when the handshake is done; then the session is given what comes. Raises OSError; has aborted then."""
        try:
            async with asyncio.timeout(timeout):
                await self._handshake
        except ssl.SSLError:
            self._abort_soon()
            raise
        except BaseException:
            self.abort()
            raise
        if self._is_closing:
            raise ConnectionResetError("client gone")
        self.resume_reading()

    # --- from TCP ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._is_closing or self._is_ended:
            return  # RFC 8446 §6.1: what is behind close_notify is ignored
        self._incoming.write(data)
        if not self._handshake.done():
            self._go_on_with_handshake()
        elif self._is_paused:
            self._tcp.pause_reading()
        else:
            self._deliver()

    def eof_received(self) -> bool:
        self._is_ended = True
        if not self._handshake.done():
            self._break_off(ConnectionResetError("client gone"))
        elif not self._is_paused:
            self._deliver()
        return not self._is_closing  # until then closing is for the session

    def connection_lost(self, error: Exception | None) -> None:
        self._is_closing = True
        if self._parting is not None:
            self._parting.cancel()
        if not self._handshake.done():
            self._break_off(error or ConnectionResetError("client gone"))
        # without a reference to the session the two need no garbage collector
        session, self._session = self._session, asyncio.Protocol()
        session.connection_lost(error or self._failure)

    def pause_writing(self) -> None:
        self._session.pause_writing()

    def resume_writing(self) -> None:
        self._session.resume_writing()

    def _go_on_with_handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._flush()  # the alert
            self._break_off(error)
        else:
            self._flush()
            self._handshake.set_result(None)

    def _break_off(self, error: Exception) -> None:
        """Have the handshake fail for whoever waits for it; nobody will where the listener ended before it began."""
        self._handshake.set_exception(error)
        self._handshake.exception()  # asked for: else the loop would report what nobody has come to ask for

    def _deliver(self) -> None:
        """Give the session what came, until that is all, or it pauses or closes."""
        while not (self._is_paused or self._is_closing):
            try:
                octets = self._decrypted()
            except ssl.SSLError as error:
                self._fail(error)
                return
            if octets:
                self._session.data_received(octets)
                continue
            if self._is_ended and not self._is_end_known:
                self._is_end_known = True
                if not self._session.eof_received():
                    self.close()
            return

    def _decrypted(self) -> bytes:
        """Return the next octets, b"" where no whole record is here or none will follow. Raises ssl.SSLError."""
        pieces: list[bytes] = []
        octets = 0
        with suppress(ssl.SSLWantReadError):  # only part of a record is here
            while octets < _PIECE and (self._incoming.pending or self._tls.pending()):
                piece = self._tls.read(_RECORD)
                if not piece:
                    self._is_ended = True  # close_notify
                    break
                pieces.append(piece)
                octets += len(piece)
        self._flush()  # TLS may have had to answer (RFC 8446 §4.6.3)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _flush(self) -> None:
        """Give TCP what TLS has to say."""
        if self._outgoing.pending and not self._tcp.is_closing():
            self._tcp.write(self._outgoing.read())

    def _fail(self, error: ssl.SSLError) -> None:
        """End a connection whose client broke the protocol."""
        self._failure = error
        self._flush()
        self._abort_soon()

    def _abort_soon(self) -> None:
        self._is_closing = True
        self._loop.call_soon(self._tcp.abort)  # uvloop writes at the end of a turn: so an alert leaves, if it can

    # --- from the session ---

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._session = cast(asyncio.Protocol, protocol)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what is known of the connection: "ssl_object", "cipher", and what TCP knows."""
        if name == "ssl_object":
            return self._tls
        if name == "cipher":
            return self._tls.cipher()
        return self._tcp.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not data or self._is_closing:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._fail(error)
        else:
            self._flush()

    def get_write_buffer_size(self) -> int:
        return self._tcp.get_write_buffer_size()

    def pause_reading(self) -> None:
        self._is_paused = True
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        """Go on; nothing is delivered before the caller has returned to the loop."""
        self._is_paused = False
        self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._deliver()
        if not (self._is_paused or self._is_closing or self._is_ended):
            self._tcp.resume_reading()

    def is_closing(self) -> bool:
        return self._is_closing or self._tcp.is_closing()

    def close(self) -> None:
        """Close when what was written, and close_notify, have left and the client has ended its side, or had its time.

        A close while it still sends (its close_notify, say) would be answered with a reset, which can overtake what it
        has not read yet.
        """
        if self._is_closing:
            return
        self._is_closing = True
        with suppress(ssl.SSLError):  # that the client's has not come
            self._tls.unwrap()
        self._flush()
        if self._is_ended or self._tcp.is_closing():
            self._tcp.close()
        else:
            self._tcp.write_eof()
            self._tcp.resume_reading()
            self._parting = self._loop.call_later(_FAREWELL, self._tcp.abort)

    def abort(self) -> None:
        self._is_closing = True
        self._tcp.abort()
