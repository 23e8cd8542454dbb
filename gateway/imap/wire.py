"""Sans-I/O framing of commands: octets in, whole commands (lines and literals) out (RFC 3501 §2.2.1, §4.3).

`CommandReader` is fed whatever arrives and asked for events. A literal is offered before its octets are taken, so
that its owner decides by command and size whether it is kept in memory, spooled elsewhere or refused; nothing is
buffered beyond the limits in params.py. It never raises on input: what cannot be read is an event as well.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from gateway.imap import params

_LITERAL_MARK = re.compile(rb"(~?)\{([0-9]{1,20})(\+?)\}\Z")  # RFC 3501 §4.3, RFC 7888 §3, RFC 3516 §4.4
_TAG = re.compile(rb"([!#$&',\-./0-9:;<=>?@A-Z\[\]^_`a-z|}~]{1,255})(?: |\Z)")  # RFC 3501 §9: tag
_COMMAND = re.compile(rb" (?:UID )?([A-Za-z]{1,32})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Literal:
    """A literal's octets, or `data` None and only its size if its octets were handed out as LiteralChunks."""

    size: int
    data: bytes | None
    binary: bool = False  # a literal8 (RFC 3516 §4.4), which may contain NUL
    nul: bool = False  # and does


Fragment = bytes | Literal


@dataclass(frozen=True, slots=True)
class RawCommand:
    """A command's pieces of line (without CRLF and literal marks) and the literals between them."""

    tag: str
    fragments: tuple[Fragment, ...]


@dataclass(frozen=True, slots=True)
class LiteralOffered:
    """A literal of `size` octets comes next; answer with `accept_literal` or `refuse_literal`."""

    tag: str
    command: str  # upper case, "" if there is none
    size: int
    held: int  # octets of this command's earlier literals that are in memory
    synchronising: bool  # the client waits for "+" (RFC 3501 §7.5)


@dataclass(frozen=True, slots=True)
class LiteralChunk:
    """Octets of a literal accepted with `spool=True`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """A command that will never parse, now read to its end. `tag` is "*" where there was none."""

    tag: str
    reason: str


Event = RawCommand | LiteralOffered | LiteralChunk | Rejected


class _Mode(Enum):
    LINE = auto()
    OFFERED = auto()
    LITERAL = auto()


class CommandReader:
    """Turns a stream of octets into events; see the module."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._scanned = 0
        self._mode = _Mode.LINE
        self._left = 0
        self._nul = False
        self._spool = False
        self._synchronising = False
        self._begin()

    def _begin(self) -> None:
        self._fragments: list[Fragment] = []
        self._pieces: list[bytes] = []
        self._tag = ""
        self._command = ""
        self._lines = 0
        self._held = 0
        self._literals = 0
        self._size = 0
        self._binary = False
        self._reason = ""

    @property
    def buffered(self) -> int:
        """Octets received and not yet part of an event."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_event(self) -> Event | None:
        """Return the next event, or None if more octets are needed."""
        while True:
            if self._mode is _Mode.OFFERED:
                raise AssertionError("a literal was offered and not answered")
            if self._mode is _Mode.LITERAL:
                chunk, done = self._take_literal()
                if chunk:
                    return LiteralChunk(chunk)
                if not done:
                    return None
                continue
            line = self._take_line()
            if line is None:
                return None
            event = self._end_line(line)
            if event is not None:
                return event

    def next_line(self) -> bytes | None:
        """Return the next line as it is (AUTHENTICATE's answers, IDLE's DONE), None if it is not whole yet.

        A line that is too long comes out as an empty one: neither use accepts that.
        """
        line = self._take_line()
        if line is not None and self._reason:
            line = b""
        if line is not None:
            self._begin()
        return line

    def accept_literal(self, *, spool: bool) -> None:
        """Take the offered literal: into memory, or out as LiteralChunks."""
        self._spool = spool
        self._start_literal()

    def refuse_literal(self, *, skip: bool) -> None:
        """Give up the command: at once, or (`skip`: its octets come anyway) after reading it to its end.

        After `skip` the end of the command is a Rejected event.
        """
        if not skip:
            self._mode = _Mode.LINE
            self._begin()
            return
        self._reason = "literal refused"
        self._spool = False
        self._start_literal()

    def _start_literal(self) -> None:
        self._mode = _Mode.LITERAL
        self._left = self._size
        self._nul = False
        self._pieces = []
        if not self._spool and not self._reason:
            self._held += self._size

    def _take_line(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._scanned)
        if end < 0:
            self._scanned = len(self._buffer)
            if self._lines + self._scanned > params.MAX_LINE:
                self._overlong()
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._scanned = 0
        if self._lines + len(line) > params.MAX_LINE:
            self._overlong(line)
        self._lines += len(line)
        return line

    def _overlong(self, line: bytes | None = None) -> None:
        """Remember what the reply needs, and drop the text; a literal mark at its very end still counts."""
        if not self._fragments and not self._tag:
            self._name_command(bytes(self._buffer[:512]) if line is None else line[:512])
        self._reason = f"the command is longer than {params.MAX_LINE} octets"
        if line is None:
            del self._buffer[:-64]
            self._scanned = len(self._buffer)

    def _name_command(self, start: bytes) -> None:
        tag = _TAG.match(start)
        if tag is None:
            return
        self._tag = tag[1].decode("ascii")
        name = _COMMAND.match(start, tag.end(1))
        self._command = name[1].decode("ascii").upper() if name else ""

    def _end_line(self, line: bytes) -> Event | None:
        if not self._fragments and not self._tag:
            self._name_command(line)
        mark = _LITERAL_MARK.search(line)
        if mark is None:
            return self._end_command(line)
        self._fragments.append(b"" if self._reason else line[: mark.start()])
        self._binary = bool(mark[1])
        self._size = int(mark[2])
        self._synchronising = not mark[3]
        self._literals += 1
        if self._literals > params.MAX_LITERALS:
            self._reason = f"more than {params.MAX_LITERALS} literals"
        if not self._reason:
            self._mode = _Mode.OFFERED
            return LiteralOffered(self._tag or "*", self._command, self._size, self._held, self._synchronising)
        if self._synchronising:  # the client waits for our answer: the command ends here
            return self._reject()
        self._spool = False
        self._start_literal()
        return None

    def _end_command(self, line: bytes) -> Event:
        if self._reason:
            return self._reject()
        if not self._tag:
            self._reason = "no tag" if line else "empty line"
            return self._reject()
        command = RawCommand(self._tag, (*self._fragments, line))
        self._begin()
        return command

    def _reject(self) -> Rejected:
        rejected = Rejected(self._tag or "*", self._reason)
        self._mode = _Mode.LINE
        self._begin()
        return rejected

    def _take_literal(self) -> tuple[bytes, bool]:
        """Take what is there of the current literal; returns octets for the spool and whether it is complete."""
        take = min(self._left, len(self._buffer))
        piece = bytes(self._buffer[:take])
        del self._buffer[:take]
        self._left -= take
        if b"\0" in piece and not self._reason:
            self._nul = True
            if not self._binary:  # RFC 3501 §9: CHAR8 = %x01-ff
                self._reason = "a literal contains NUL"
        keep = not self._reason and not self._spool
        if keep and piece:
            self._pieces.append(piece)
        if self._left == 0:
            data = b"".join(self._pieces) if keep else None
            self._fragments.append(Literal(self._size, data, self._binary, self._nul))
            self._pieces = []
            self._mode = _Mode.LINE
        spooled = piece if self._spool and not self._reason else b""
        return spooled, self._left == 0
