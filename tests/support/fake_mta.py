"""A remote MTA for tests that does what it is told: refuse, put off, hang up at any point, be slow, offer STARTTLS."""

import asyncio
import re
import ssl
from dataclasses import dataclass, field
from typing import Literal

DropPoint = Literal["connect", "EHLO", "MAIL", "RCPT", "DATA", "content", "dot"]
_ADDRESS = re.compile(r"<(.*?)>")


@dataclass
class Taken:
    """One message that got its final 250, or would have (`drop_at` = "dot")."""

    reverse_path: str
    forward_paths: list[str]
    content: bytes
    mail: str
    rcpts: list[str]
    tls: bool
    connection: int


@dataclass
class FakeMta:
    """Settings may be changed while it runs; replies are lines without CRLF.

    `refusals`: command or address → reply, used instead of the 250 ("EHLO", "MAIL", "DATA", "dot", an address);
    `once`: the same, each used one time only. `drop_at`: where it hangs up; `drops` times, None: always. `hold`: the
    reply to the dot waits for this event. `early`: reply given after the first octets of content, then it hangs up.
    """

    extensions: list[str] = field(default_factory=lambda: ["PIPELINING", "8BITMIME", "SMTPUTF8", "SIZE 1000000"])
    greeting: str = "220 remote.example ESMTP"
    refusals: dict[str, str] = field(default_factory=dict)
    once: dict[str, str] = field(default_factory=dict)
    drop_at: DropPoint | None = None
    drops: int | None = None
    hold: asyncio.Event | None = None
    early: str = ""
    tls: ssl.SSLContext | None = None
    recipients_limit: int = 1_000
    taken: list[Taken] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    connections: int = 0
    most_at_once: int = 0
    port: int = 0
    at_dot: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        """Listen; with `tls` from the first octet."""
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}
        self._server = await asyncio.start_server(self._accept, host, port, limit=1 << 24, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        open_now = dict(self._open)
        for task in open_now.values():
            task.cancel()
        await asyncio.gather(*open_now.values(), return_exceptions=True)
        for writer in open_now:  # a task that had not begun closes nothing
            writer.transport.abort()
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open[writer] = asyncio.create_task(self._serve(reader, writer, self.connections), name="fake mta")
        self.most_at_once = max(self.most_at_once, len(self._open))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        try:
            if not self._drops("connect"):
                await _Session(self, reader, writer, connection).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass  # stream servers report a cancelled handler as an error
        finally:
            del self._open[writer]
            writer.transport.abort()

    def _drops(self, point: str) -> bool:
        if self.drop_at != point or self.drops == 0:
            return False
        if self.drops is not None:
            self.drops -= 1
        return True

    def _reply(self, what: str, otherwise: str) -> str:
        return self.once.pop(what, None) or self.refusals.get(what, otherwise)


class _Session:
    def __init__(
        self, mta: FakeMta, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int
    ) -> None:
        self._mta = mta
        self._reader = reader
        self._writer = writer
        self._connection = connection
        self._tls = False
        self._reset()

    def _reset(self) -> None:
        self._mail = ""
        self._rcpts: list[str] = []

    async def run(self) -> None:
        mta = self._mta
        self._say(mta.greeting)
        while line := await self._reader.readline():
            command = line.decode("utf-8", "surrogateescape").rstrip("\r\n")
            mta.commands.append(command)
            verb = command.split(" ")[0].split(":")[0].upper()
            if verb in ("EHLO", "MAIL", "RCPT", "DATA") and mta._drops(verb):
                return
            if verb == "STARTTLS" and mta.tls is not None:
                self._say("220 go ahead")
                await self._writer.drain()
                await self._writer.start_tls(mta.tls)
                self._tls = True
                self._reset()
            elif verb == "DATA":
                if not await self._data():
                    return
            elif verb == "QUIT":
                self._say("221 bye")
                return
            else:
                self._say(self._answer(verb, command))
            await self._writer.drain()

    def _answer(self, verb: str, command: str) -> str:
        mta = self._mta
        if verb in ("EHLO", "HELO"):
            offered = [*mta.extensions, *(["STARTTLS"] if mta.tls and not self._tls else [])]
            lines = ["remote.example", *offered] if verb == "EHLO" else ["remote.example"]
            greeting = "\r\n".join(f"250-{line}" for line in lines[:-1])
            return mta._reply(verb, "\r\n".join(filter(None, [greeting, f"250 {lines[-1]}"])))
        if verb == "MAIL":
            self._reset()
            reply = mta._reply("MAIL", "250 2.1.0 ok")
            self._mail = command if reply.startswith("2") else ""
            return reply
        if verb == "RCPT":
            found = _ADDRESS.search(command)
            reply = mta._reply(found[1] if found else "", "250 2.1.5 ok")
            if len(self._rcpts) >= mta.recipients_limit:
                reply = "452 4.5.3 too many recipients"
            if reply.startswith("2"):
                self._rcpts.append(command)
            return reply
        if verb == "STARTTLS":
            return mta._reply("STARTTLS", "454 4.7.0 no TLS here")
        if verb == "AUTH":
            return mta._reply("AUTH", "235 2.7.0 welcome")
        if verb == "RSET":
            self._reset()
        return "250 2.0.0 ok"

    async def _data(self) -> bool:
        mta = self._mta
        refusal = mta._reply("DATA", "354 go ahead" if self._rcpts else "503 5.5.1 no recipients")
        self._say(refusal)
        if not refusal.startswith("354"):
            return True
        lines: list[bytes] = []
        while (line := await self._reader.readline()) != b".\r\n":
            if not line or mta._drops("content"):
                return False
            if mta.early:
                self._say(mta.early)
                await self._writer.drain()
                self._writer.write_eof()
                await self._reader.read()
                return False
            lines.append(line.removeprefix(b"."))
        mta.at_dot.set()
        reply = mta._reply("dot", "250 2.0.0 taken")
        if reply.startswith("2"):
            mta.taken.append(self._taken(b"".join(lines)))
        if mta.hold is not None:
            await mta.hold.wait()
        if mta._drops("dot"):
            return False
        self._say(reply)
        self._reset()
        return True

    def _taken(self, content: bytes) -> Taken:
        paths = [found[1] for rcpt in self._rcpts if (found := _ADDRESS.search(rcpt))]
        sender = _ADDRESS.search(self._mail)
        return Taken(sender[1] if sender else "", paths, content, self._mail, self._rcpts, self._tls, self._connection)

    def _say(self, reply: str) -> None:
        self._writer.write(reply.encode() + b"\r\n")
