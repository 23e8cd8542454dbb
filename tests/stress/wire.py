"""A client's end of an IMAP connection, written from RFC 9051 §9 alone: octets in, responses as plain values out."""

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

Value = bytes | None | list["Value"]

_LITERAL = re.compile(rb"~?\{(\d+)\}\r\n\Z")
_STATUS = ("OK", "NO", "BAD", "BYE", "PREAUTH")


class Lost(Exception):
    """The connection is gone."""


class NotImap(Exception):
    """The server said something that no rule of the grammar makes."""


@dataclass(frozen=True, slots=True)
class Response:
    """One response. `name` is in upper case; a status response has `code` and `text`, the others have `values`."""

    tag: str
    name: str
    number: int = 0  # of `* 3 EXISTS`
    values: list[Value] = field(default_factory=list)
    code: list[Value] = field(default_factory=list)
    text: bytes = b""

    def coded(self, name: str) -> list[Value] | None:
        """The arguments of the response code of this name, if that is the code."""
        if self.code and isinstance(self.code[0], bytes) and self.code[0].upper() == name.encode("ascii"):
            return self.code[1:]
        return None


class Connection(asyncio.Protocol):
    """Octets as they came, until they are taken as whole responses."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._news = asyncio.Event()
        self._lost = False
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(cls, port: int) -> "Connection":
        try:
            _, connection = await asyncio.get_running_loop().create_connection(cls, "127.0.0.1", port)
        except OSError as error:
            raise Lost(str(error)) from error
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._news.set()

    def send(self, octets: bytes) -> None:
        if self._lost or self._transport is None:
            raise Lost("closed")
        self._transport.write(octets)

    def close(self) -> None:
        """Send what is queued and go."""
        if self._transport is not None:
            self._transport.close()

    def waiting(self) -> Response | None:
        """The next response if it is here already."""
        size = _whole(self._buffer)
        if size is None:
            return None
        octets = bytes(self._buffer[:size])
        del self._buffer[:size]
        return parse(octets)

    async def response(self, patience: float) -> Response | None:
        """The next response; None if none comes within `patience` seconds. Raises Lost."""
        while (response := self.waiting()) is None:
            if self._lost:
                raise Lost("closed by the server")
            self._news.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._news.wait()
            except TimeoutError:
                return None
        return response


def _whole(buffer: bytearray) -> int | None:
    """The length of the first response in the buffer, None if it is not all there."""
    place = 0
    while True:
        end = buffer.find(b"\n", place)
        if end < 0:
            return None
        literal = _LITERAL.search(buffer[max(place, end - 24) : end + 1])
        if literal is None:
            return end + 1
        place = end + 1 + int(literal[1])
        if place > len(buffer):
            return None


def parse(octets: bytes) -> Response:
    """A whole response. Raises NotImap."""
    if not octets.endswith(b"\r\n"):
        raise NotImap(f"no CRLF at the end of {octets!r}")
    cursor = _Cursor(octets[:-2])
    if cursor.peek() == b"+":
        return Response("+", "+", text=octets[1:-2])
    tag = cursor.atom().decode("ascii")
    cursor.space()
    word = cursor.atom().decode("ascii").upper()
    number = 0
    if word.isdigit():
        number = int(word)
        cursor.space()
        word = cursor.atom().decode("ascii").upper()
    if word in _STATUS:
        cursor.space()
        code = cursor.code() if cursor.peek() == b"[" else []
        return Response(tag, word, code=code, text=cursor.rest())
    values: list[Value] = []
    while not cursor.at_end:
        cursor.space()
        if not cursor.at_end:  # `* SEARCH ` of a server that found nothing
            values.append(cursor.value())
    return Response(tag, word, number, values)


class _Cursor:
    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._place = 0
        self._in_code = False

    @property
    def at_end(self) -> bool:
        return self._place >= len(self._octets)

    def peek(self) -> bytes:
        return self._octets[self._place : self._place + 1]

    def rest(self) -> bytes:
        return self._octets[self._place :].strip()

    def space(self) -> None:
        if self.peek() != b" ":
            raise NotImap(f"no space at {self._place} of {self._octets!r}")
        self._place += 1

    def atom(self) -> bytes:
        start = self._place
        while not self.at_end:
            here = self.peek()
            if here in b' ()"' or (here == b"]" and self._in_code):
                break
            if here == b"[" and not self._in_code:  # BODY[HEADER.FIELDS (SUBJECT)]
                self._place = self._octets.index(b"]", self._place)
            self._place += 1
        if start == self._place:
            raise NotImap(f"nothing at {start} of {self._octets!r}")
        return self._octets[start : self._place]

    def value(self) -> Value:
        here = self.peek()
        if here == b"(":
            return self._list()
        if here == b'"':
            return self._quoted()
        if here == b"{" or self._octets[self._place : self._place + 2] == b"~{":
            return self._literal()
        atom = self.atom()
        return None if atom.upper() == b"NIL" else atom

    def _list(self) -> list[Value]:
        self._place += 1
        values: list[Value] = []
        while self.peek() != b")":
            if values and self.peek() != b"(":  # bodies of a multipart follow each other without a space
                self.space()
            if self.at_end:
                raise NotImap(f"a list without end: {self._octets!r}")
            values.append(self.value())
        self._place += 1
        return values

    def _quoted(self) -> bytes:
        match = re.compile(rb'"((?:[^"\\\r\n]|\\["\\])*)"').match(self._octets, self._place)
        if match is None:
            raise NotImap(f"no quoted string at {self._place} of {self._octets!r}")
        self._place = match.end()
        return re.sub(rb"\\(.)", rb"\1", match[1])

    def _literal(self) -> bytes:
        match = re.compile(rb"~?\{(\d+)\}\r\n").match(self._octets, self._place)
        if match is None:
            raise NotImap(f"no literal at {self._place} of {self._octets!r}")
        self._place = match.end() + int(match[1])
        return self._octets[match.end() : self._place]

    def code(self) -> list[Value]:
        self._place += 1
        self._in_code = True
        values: list[Value] = [self.value()]
        while self.peek() == b" ":
            self.space()
            values.append(self.value())
        self._in_code = False
        if self.peek() != b"]":
            raise NotImap(f"a response code without end: {self._octets!r}")
        self._place += 1
        return values


def word(value: Value) -> bytes:
    """A value that must be an atom or a string. Raises NotImap."""
    if not isinstance(value, bytes):
        raise NotImap(f"not a word: {value!r}")
    return value


def words(value: Value) -> list[bytes]:
    """A value that must be a list of words. Raises NotImap."""
    if not isinstance(value, list):
        raise NotImap(f"not a list: {value!r}")
    return [word(each) for each in value]


def number(value: Value) -> int:
    """A value that must be a number. Raises NotImap."""
    digits = word(value)
    if not digits.isdigit():
        raise NotImap(f"not a number: {value!r}")
    return int(digits)


def numbers(value: Value) -> list[int]:
    """The numbers of a set without "*", in the order in which it names them. Raises NotImap."""
    found: list[int] = []
    for piece in word(value).split(b","):
        first, _, last = piece.partition(b":")
        low, high = number(first), number(last or first)
        found += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return found


def pairs(value: Value) -> dict[str, Value]:
    """`(NAME value NAME value)` as a mapping; names in upper case. Raises NotImap."""
    if not isinstance(value, list) or len(value) % 2:
        raise NotImap(f"not names and values: {value!r}")
    return {word(name).decode("ascii").upper(): each for name, each in zip(value[::2], value[1::2], strict=True)}


def set_of(numbers: Iterable[int]) -> str:
    """Numbers as a sequence set, runs as ranges."""
    runs: list[list[int]] = []
    for each in sorted(set(numbers)):
        if runs and each == runs[-1][1] + 1:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in runs)
