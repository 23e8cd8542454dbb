"""A client that takes nothing for granted: it sends octets and gives back responses, literals included."""

import asyncio
import re
from dataclasses import dataclass, field

_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")
_TIMEOUT = 20.0


@dataclass(slots=True)
class Client:
    """One connection; `responses` of a command are whole, a literal is in them as it came."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    greeting: bytes = b""
    _number: int = field(default=0)

    @classmethod
    async def connect(cls, port: int) -> "Client":
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
        client = cls(reader, writer)
        client.greeting = await client.response()
        return client

    async def response(self) -> bytes:
        """The next response without its CRLF; b"" if the server has closed."""
        pieces: list[bytes] = []
        while True:
            try:
                line = await asyncio.wait_for(self.reader.readline(), _TIMEOUT)
            except ConnectionError:
                return b""
            pieces.append(line)
            literal = _LITERAL.search(line)
            if literal is None:
                return b"".join(pieces).removesuffix(b"\r\n")
            pieces.append(await asyncio.wait_for(self.reader.readexactly(int(literal[1])), _TIMEOUT))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def command(self, text: str | bytes) -> tuple[list[bytes], bytes]:
        """Send one command; returns its untagged responses and the tagged one without its tag."""
        self._number += 1
        tag = b"t%d" % self._number
        self.send(tag + b" " + (text.encode("utf-8") if isinstance(text, str) else text) + b"\r\n")
        return await self.until(tag)

    async def until(self, tag: bytes) -> tuple[list[bytes], bytes]:
        """Responses up to the tagged one."""
        untagged: list[bytes] = []
        while True:
            response = await self.response()
            if response.startswith(tag + b" "):
                return untagged, response[len(tag) + 1 :]
            if not response:
                raise ConnectionResetError(f"closed; so far: {untagged}")
            untagged.append(response)

    async def ok(self, text: str | bytes) -> list[bytes]:
        """The untagged responses of a command that must succeed."""
        untagged, tagged = await self.command(text)
        assert tagged.startswith(b"OK"), (text, tagged)
        return untagged

    async def append(self, mailbox: str, message: bytes, flags: str = "") -> int:
        """APPEND with a non-synchronising literal; returns the UID."""
        prefix = f"APPEND {mailbox} {flags + ' ' if flags else ''}{{{len(message)}+}}\r\n".encode("ascii")
        _, tagged = await self.command(prefix + message)
        match = re.match(rb"OK \[APPENDUID \d+ (\d+)\]", tagged)
        assert match is not None, tagged
        return int(match[1])

    def close(self) -> None:
        self.writer.close()
