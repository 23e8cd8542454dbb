"""Runs protocol transcripts: what the client says (`C:`) and what the server must answer (`S:`), line by line.

    # a comment; blank lines are skipped
    C: a LOGIN alice secret              sent with CRLF
    C|: a LOGIN {5+}\\r\\nal              sent as it is, with Python's escapes and no CRLF
    S: a OK /.*/                         one whole line; /…/ is a regular expression, "//" a slash
    S: * OK [UIDNEXT /(?P<next>\\d+)/] /.*/
    C: b FETCH ${next} FLAGS             what a named group captured, in C: and S: lines
    S~: * 2 EXISTS                       lines marked ~ that follow each other may come in any order
    C2: …  S2: …                         further connections, opened at their first line
    C: <STARTTLS>                        the client begins its TLS handshake here
    C: <CLOSE>                           the client closes
    S: <CLOSED>                          the server has closed
    S: <250>                             a whole SMTP reply with this code, of however many lines

Lines sent in a row leave without waiting for answers (pipelining). Every S: line must come; nothing else may.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

_STEP = re.compile(r"(?P<side>[CS])(?P<name>\w*)(?P<mark>[|~]?):(?: (?P<text>.*))?\Z")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a transcript."""

    line: int
    side: str
    name: str
    mark: str
    text: str


@dataclass(slots=True)
class Peer:
    """The client's end of one connection; `start_tls` upgrades it in place."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    start_tls: Callable[[], Awaitable[None]]


Connect = Callable[[str], Awaitable[Peer]]


def parse(text: str) -> list[Step]:
    """A transcript's steps. Raises ValueError with the number of a line that is none."""
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _STEP.match(line)
        if match is None:
            raise ValueError(f"line {number} is neither C:, S: nor a comment: {line}")
        steps.append(Step(number, match["side"], match["name"], match["mark"], match["text"] or ""))
    return steps


@dataclass(slots=True)
class Dialog:
    """A transcript on its way. `connect(name)` opens the connection that lines such as C2: name ("" for C:)."""

    path: Path
    connect: Connect
    captured: dict[str, str] = field(default_factory=dict)
    _peers: dict[str, Peer] = field(default_factory=dict)
    _log: list[str] = field(default_factory=list)

    async def run(self) -> None:
        """Run to the end; raises AssertionError with place, expectation and the conversation so far."""
        steps = parse(self.path.read_text(encoding="utf-8"))
        try:
            while steps:
                batch = self._next_batch(steps)
                if batch[0].side == "C":
                    await self._say(batch[0])
                else:
                    await self._hear(batch)
            await self._nothing_left()
        finally:
            for peer in self._peers.values():
                peer.writer.close()

    @staticmethod
    def _next_batch(steps: list[Step]) -> list[Step]:
        batch = [steps.pop(0)]
        while batch[0].mark == "~" and steps and steps[0].mark == "~" and steps[0].name == batch[0].name:
            batch.append(steps.pop(0))
        return batch

    async def _peer(self, name: str) -> Peer:
        if name not in self._peers:
            self._peers[name] = await self.connect(name)
        return self._peers[name]

    async def _say(self, step: Step) -> None:
        peer = await self._peer(step.name)
        text = self._substitute(step.text)
        self._log.append(f"C{step.name}: {text}")
        if text == "<STARTTLS>":
            await asyncio.wait_for(peer.start_tls(), _TIMEOUT)
        elif text == "<CLOSE>":
            peer.writer.close()
        else:
            data = text.encode("utf-8") + b"\r\n"
            if step.mark == "|":
                data = text.encode("latin-1", "backslashreplace").decode("unicode-escape").encode("latin-1")
            peer.writer.write(data)
            await asyncio.wait_for(peer.writer.drain(), _TIMEOUT)

    async def _hear(self, batch: list[Step]) -> None:
        waiting = list(batch)
        peer = await self._peer(batch[0].name)
        if code := re.fullmatch(r"<([0-9]{3})>", batch[0].text):
            await self._hear_reply(peer, batch[0], code[1])
            return
        while waiting:
            line = await self._read_line(peer, waiting[0])
            self._log.append(f"S{batch[0].name}: {line}")
            for step in waiting:
                match = re.fullmatch(self._pattern(step.text), line, re.DOTALL)
                if match is not None:
                    self.captured.update(match.groupdict())
                    waiting.remove(step)
                    break
            else:
                self._fail(waiting[0], f"the server said: {line}")

    async def _hear_reply(self, peer: Peer, step: Step, code: str) -> None:
        line = f"{code}-"
        while line.startswith(f"{code}-"):
            line = await self._read_line(peer, step)
            self._log.append(f"S{step.name}: {line}")
        if not line.startswith(f"{code} "):
            self._fail(step, f"the server said: {line}")

    async def _read_line(self, peer: Peer, step: Step) -> str:
        try:
            raw = await asyncio.wait_for(peer.reader.readline(), _TIMEOUT)
        except TimeoutError:
            self._fail(step, "the server said nothing")
        except ConnectionError:
            raw = b""
        if not raw:
            return "<CLOSED>"
        if not raw.endswith(b"\r\n"):
            self._fail(step, f"no CRLF after: {raw!r}")
        return raw[:-2].decode("utf-8", "backslashreplace")

    async def _nothing_left(self) -> None:
        for name, peer in self._peers.items():
            if peer.writer.is_closing():
                continue
            try:
                extra = await asyncio.wait_for(peer.reader.readline(), 0.01)
            except (TimeoutError, ConnectionError):
                continue
            assert not extra, f"{self.path.name}: after the last line, connection {name or 'C'} got {extra!r}"

    def _substitute(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self.captured[match[1]], text)

    def _pattern(self, text: str) -> str:
        """The regular expression of an S: line."""
        pieces: list[str] = []
        for place, piece in enumerate(re.split(r"(?<!/)/(?!/)", text)):
            if place % 2:
                pieces.append(f"(?:{piece.replace('//', '/')})")
            else:
                pieces.append(re.escape(self._substitute(piece.replace("//", "/"))))
        return "".join(pieces)

    def _fail(self, step: Step, what: str) -> None:
        conversation = "\n    ".join(self._log[-15:])
        raise AssertionError(f"{self.path.name}:{step.line}: expected {step.text!r}; {what}\n    {conversation}")
