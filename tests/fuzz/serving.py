"""Line servers (SMTP, IMAP) under fire: one event loop, a stream of octets in, everything that was said back out."""

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import pytest

PATIENCE = 60.0  # seconds; far more than any server here takes to notice the end of a connection


async def said_to(port: int, octets: bytes) -> bytes:
    """Send `octets` and the end of the stream; return all that the server says until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(PATIENCE):
            listening = asyncio.create_task(_read(reader), name="listening")
            with contextlib.suppress(ConnectionError):  # the server may have had enough
                writer.write(octets)
                await writer.drain()
                writer.write_eof()
            return await listening
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> bytes:
    received = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65_536):
            received += piece
    return bytes(received)


@contextlib.contextmanager
def nothing_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No defect is met meanwhile: whatever a client says is answered by rule."""
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
