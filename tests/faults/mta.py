"""Whoever sends, an MTA or a reader: keeps the message until a host says 250 to the dot (RFC 5321 §4.5.4.1)."""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from p2pcore.endpoint import Endpoint

SENDER = "outside@sender.example"
_HELO = "mta.sender.example"
RETRY = 300.0  # seconds until it tries again when no host took the message
COMMAND, DATA, BLOCK, DOT = 300.0, 120.0, 180.0, 600.0  # RFC 5321 §4.5.3.2
_TRIES = 12
_PIECE = 256 << 10


class NotTaken(Exception):
    """A reply that is no success; `permanent`: 5yz."""

    def __init__(self, reply: str) -> None:
        super().__init__(reply)
        self.permanent = reply.startswith("5")


@dataclass
class Mta:
    """Sends to the first of `hosts`, then to the others, and again later; with a `login` (name, password) as a reader.

    `replies`: how each attempt ended. `unanswered`: attempts whose dot got no reply, so the host may have the message.
    """

    hosts: Sequence[Endpoint]
    sender: str = SENDER
    login: tuple[str, str] | None = None
    taken: bool = False
    unanswered: int = 0
    replies: list[str] = field(default_factory=list)

    async def deliver(self, content: bytes, *recipients: str) -> None:
        """Try until a host takes the message (`taken`), refuses it for good, or none has ever taken it."""
        for attempt in range(_TRIES):
            try:
                reply = await self._attempt(self.hosts[attempt % len(self.hosts)], content, recipients)
                self.replies.append(reply)
                self.taken = True
                return
            except NotTaken as refusal:
                self.replies.append(str(refusal))
                if refusal.permanent:
                    return
            except (OSError, EOFError) as failure:
                self.replies.append(f"{type(failure).__name__}: {failure}")
            if attempt % len(self.hosts) == len(self.hosts) - 1:
                await asyncio.sleep(RETRY)

    async def _attempt(self, host: Endpoint, content: bytes, recipients: Sequence[str]) -> str:
        async with asyncio.timeout(COMMAND):
            reader, writer = await asyncio.open_connection(host.host, host.port)
        try:
            session = _Session(reader, writer)
            await session.expect("220", COMMAND)
            await session.say(f"EHLO {_HELO}", "250", COMMAND)
            if self.login is not None:
                secret = base64.b64encode("\0".join(("", *self.login)).encode()).decode()
                await session.say(f"AUTH PLAIN {secret}", "235", COMMAND)
            await session.say(f"MAIL FROM:<{self.sender}> BODY=8BITMIME SIZE={len(content)}", "250", COMMAND)
            for recipient in recipients:
                await session.say(f"RCPT TO:<{recipient}>", "250", COMMAND)
            await session.say("DATA", "354", DATA)
            await session.content(content)
            try:
                return await session.expect("250", DOT)
            except (OSError, EOFError):
                self.unanswered += 1
                raise
        finally:
            writer.transport.abort()


@dataclass
class _Session:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def say(self, command: str, code: str, patience: float) -> str:
        self.writer.write(command.encode() + b"\r\n")
        return await self.expect(code, patience)

    async def expect(self, code: str, patience: float) -> str:
        """Return the reply's last line. Raises NotTaken, EOFError, TimeoutError (an OSError), OSError."""
        async with asyncio.timeout(patience):
            while True:
                line = (await self.reader.readline()).decode()
                if not line.endswith("\n"):
                    raise EOFError("connection lost")
                if line[3:4] != "-":
                    break
        if not line.startswith(code):
            raise NotTaken(line.strip())
        return line.strip()

    async def content(self, octets: bytes) -> None:
        """Send a content and its dot."""
        stuffed = (b"\r\n" + octets).replace(b"\r\n.", b"\r\n..")[2:] + b".\r\n"
        for start in range(0, len(stuffed), _PIECE):
            self.writer.write(stuffed[start : start + _PIECE])
            async with asyncio.timeout(BLOCK):
                await self.writer.drain()
