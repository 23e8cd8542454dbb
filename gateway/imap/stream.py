"""One TCP connection as a byte stream with limits both ways; the only place that knows asyncio transports.

Written instead of using asyncio's StreamReader because STARTTLS must know what has arrived in clear before it
(RFC 3501 §6.2.1; a command injected there would be taken for one that came under TLS).
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import cast

from gateway.imap import params


class Stream(asyncio.Protocol):
    """Reads come in order and are held back above INPUT_HIGH_WATER; `drain` waits for a slow client."""

    def __init__(self, on_connection: "Callable[[Stream], None]") -> None:
        """`on_connection` hears of the client, after the handshake where TLS is implicit."""
        self._on_connection = on_connection
        self._transport: asyncio.Transport | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._readable: asyncio.Future[None] | None = None
        self._deadline = 0.0  # of the read that waits
        self._alarm: asyncio.TimerHandle | None = None  # for that deadline, or an earlier one that moved
        self._alarm_at = 0.0
        self._writable = asyncio.Event()
        self._writable.set()
        self._closed = asyncio.Event()
        self.tls = False
        self.peer = ""

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        first = self._transport is None
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(params.OUTPUT_HIGH_WATER)
        if not first:
            return
        self.tls = transport.get_extra_info("ssl_object") is not None
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        self._on_connection(self)

    def data_received(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > params.INPUT_HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        self._ended = True
        self._wake()
        return not self.tls  # answer what was asked before the client's end; TLS has no half-closed state

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._closed.set()
        self._writable.set()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    # ---- the session's side

    @property
    def pending(self) -> int:
        """Octets that arrived and were not read."""
        return self._size

    async def read(self, deadline: float) -> bytes:
        """What has arrived, waiting for something; b"" at the end. Cancelling loses nothing.

        Raises TimeoutError if nothing comes before `deadline`, in the loop's time.
        """
        while not self._chunks:
            if self._ended:
                return b""
            self._deadline = deadline
            if self._alarm is None or self._alarm_at > deadline:
                self._set_alarm()
            self._readable = asyncio.get_running_loop().create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    def _set_alarm(self) -> None:
        """One timer for many reads: deadlines nearly always move on, and a timer for each costs more than a read."""
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = self._deadline
        self._alarm = asyncio.get_running_loop().call_at(self._deadline, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        if self._readable is None or self._readable.done():
            return  # the next read that waits sets it
        if asyncio.get_running_loop().time() < self._deadline:
            self._set_alarm()
        else:
            self._readable.set_exception(TimeoutError("the client says nothing"))

    def write(self, data: bytes) -> None:
        """Queue octets. Raises ConnectionResetError when the client has gone."""
        if self._transport is None or self._closed.is_set():
            raise ConnectionResetError("the client has gone")
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken enough. Raises ConnectionResetError if it is gone or takes nothing."""
        if not self._writable.is_set():
            try:
                async with asyncio.timeout(params.WRITE_TIMEOUT):
                    await self._writable.wait()
            except TimeoutError:
                self.abort()
                raise ConnectionResetError("the client takes nothing") from None
        if self._closed.is_set():
            raise ConnectionResetError("the client has gone")

    def hold(self) -> None:
        """Take nothing more from the client until `start_tls`."""
        assert self._transport is not None
        self._transport.pause_reading()

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Become a TLS stream; nothing may be pending. Raises OSError (ssl.SSLError, a lost connection) on failure."""
        assert self._transport is not None
        assert not self._chunks, "octets received in clear must not cross into TLS"
        self.tls = True
        try:
            transport = await asyncio.get_running_loop().start_tls(
                self._transport,
                self,
                context,
                server_side=True,
                ssl_handshake_timeout=params.TLS_HANDSHAKE_TIMEOUT,
                ssl_shutdown_timeout=params.STOP_GRACE,
            )
        except BaseException:
            self._closed.set()  # asyncio tells us nothing more about this connection
            self._transport.abort()
            raise
        if transport is None:
            raise ConnectionResetError("the client has gone")
        self._transport = transport

    async def close(self) -> None:
        """Send what is queued, close, and wait for that for at most STOP_GRACE."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(params.STOP_GRACE):
                await self._closed.wait()
        except TimeoutError:
            self.abort()

    def close_soon(self) -> None:
        """Send what is queued and close, without waiting."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()
