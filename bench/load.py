"""Sends mail as outside MTAs would: many sessions at once for throughput, one message at a time for latency."""

import asyncio
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from email.utils import format_datetime, localtime, make_msgid
from typing import BinaryIO

from bench.idle import IdleReader

SENDER = "outside@sender.example"
SMTP_SOURCE = shutil.which("smtp-source") or shutil.which("smtp-source", path="/usr/sbin")
_LINE = b"p2pmail bench " * 5 + b"\r\n"
_PATIENCE = 60.0  # seconds until one message is announced


@dataclass(frozen=True, slots=True)
class Load:
    """`messages` of `size` octets (beside the header) in `sessions` connections at a time, one message on each."""

    messages: int
    size: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from connecting to the 250 after the dot, and to the announcement in IDLE."""

    accepted: float
    announced: float


def generator() -> str:
    """Return which program makes the load."""
    return (
        "smtp-source" if SMTP_SOURCE else "Python (install postfix for smtp-source: it leaves more CPU to the server)"
    )


def send(load: Load, endpoint: tuple[str, int], recipient: str) -> float:
    """Send everything; return seconds until the last 250. Raises RuntimeError where one message was not taken."""
    begin = time.monotonic()
    if SMTP_SOURCE:
        _run_smtp_source(SMTP_SOURCE, load, endpoint, recipient)
    else:
        asyncio.run(_send_all(load, endpoint, recipient))
    return time.monotonic() - begin


def probe(count: int, size: int, endpoint: tuple[str, int], recipient: str, reader: IdleReader) -> list[Latency]:
    """Send `count` messages, each after the one before was announced to `reader`. Raises RuntimeError, TimeoutError."""
    found = []
    for _ in range(count):
        expected = reader.count + 1
        content = message(recipient, size)
        begin = time.monotonic()
        with socket.create_connection(endpoint, timeout=60) as connection, connection.makefile("rb") as replies:
            _expect(replies, b"220")
            for command in _commands(recipient):
                connection.sendall(command)
                _expect(replies, b"354" if command == b"DATA\r\n" else b"250")
            connection.sendall(content)
            _expect(replies, b"250")
            accepted = time.monotonic() - begin
            connection.sendall(b"QUIT\r\n")
        announced = reader.wait_for(expected, _PATIENCE) - begin
        found.append(Latency(accepted, announced))
    return found


def message(recipient: str, size: int) -> bytes:
    """Return a message with a body of about `size` octets, and the final dot."""
    header = (
        f"From: <{SENDER}>\r\nTo: <{recipient}>\r\nSubject: bench\r\n"
        f"Date: {format_datetime(localtime())}\r\nMessage-ID: {make_msgid(domain='sender.example')}\r\n\r\n"
    )
    return header.encode() + _LINE * (size // len(_LINE)) + b".\r\n"


def _run_smtp_source(program: str, load: Load, endpoint: tuple[str, int], recipient: str) -> None:
    command = [program, "-s", str(load.sessions), "-m", str(load.messages), "-l", str(load.size)]
    command += ["-M", "mta.sender.example", "-f", SENDER, "-t", recipient, f"inet:{endpoint[0]}:{endpoint[1]}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")


async def _send_all(load: Load, endpoint: tuple[str, int], recipient: str) -> None:
    remaining = iter(range(load.messages))

    async def session() -> None:
        for _ in remaining:
            await _send_one(endpoint, recipient, load.size)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(load.sessions):
            tasks.create_task(session())


async def _send_one(endpoint: tuple[str, int], recipient: str, size: int) -> None:
    reader, writer = await asyncio.open_connection(*endpoint)
    try:
        await _expect_soon(reader, b"220")
        for command in _commands(recipient):
            writer.write(command)
            await _expect_soon(reader, b"354" if command == b"DATA\r\n" else b"250")
        writer.write(message(recipient, size))
        await _expect_soon(reader, b"250")
        writer.write(b"QUIT\r\n")
    finally:
        writer.close()
        await writer.wait_closed()


def _commands(recipient: str) -> list[bytes]:
    lines = ["EHLO mta.sender.example", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{recipient}>", "DATA"]
    return [f"{line}\r\n".encode() for line in lines]


def _expect(replies: BinaryIO, code: bytes) -> None:
    while (line := replies.readline())[3:4] == b"-":
        continue
    _check(line, code)


async def _expect_soon(reader: asyncio.StreamReader, code: bytes) -> None:
    while (line := await reader.readline())[3:4] == b"-":
        continue
    _check(line, code)


def _check(line: bytes, code: bytes) -> None:
    if not line.startswith(code):
        raise RuntimeError(f"expected {code.decode()}, got {line!r}")
