"""A raw IMAP client for measuring: it looks for nothing but the tagged response, so its own cost hides no server's."""

import socket
import time
from typing import Self

_READ = 1 << 20
_TIMEOUT = 600.0
_LONGEST_TAGGED = 4_096  # octets of a tagged response line


class Client:
    """One connection, logged in. Every method raises RuntimeError where the server does not say OK."""

    def __init__(self, endpoint: tuple[str, int], user: str, password: str) -> None:
        self._socket = socket.create_connection(endpoint, timeout=_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._number = 0
        self.first_octet = 0.0
        while not self._socket.recv(_READ).endswith(b"\r\n"):
            continue
        self.command(f'LOGIN "{user}" "{password}"')

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def command(self, text: str, *, keep: bool = True) -> bytes:
        """Return all responses to a command; only its last octets without `keep`. `first_octet`: when they began."""
        return self._exchange(text.encode("utf-8") + b"\r\n", keep)

    def append(self, mailbox: str, message: bytes) -> None:
        """Append a message in one go (RFC 7888)."""
        self._exchange(b"APPEND %s {%d+}\r\n%s\r\n" % (mailbox.encode("ascii"), len(message), message), True)

    def append_many(self, mailbox: str, messages: list[bytes]) -> None:
        """Append seen messages by one command (RFC 3502)."""
        literals = b"".join(b" (\\Seen) {%d+}\r\n%s" % (len(message), message) for message in messages)
        self._exchange(b"APPEND %s%s\r\n" % (mailbox.encode("ascii"), literals), True)

    def idle(self) -> None:
        """Go into IDLE and stay there."""
        self._socket.sendall(b"idle IDLE\r\n")
        while b"+ " not in self._socket.recv(_READ):
            continue

    def _exchange(self, command: bytes, keep: bool) -> bytes:
        self._number += 1
        tag = b"~t%d " % self._number
        self._socket.sendall(tag + command)
        chunks: list[bytes] = []
        tail = b""
        while True:
            data = self._socket.recv(_READ)
            if not data:
                raise RuntimeError("the server closed the connection")
            if not tail:
                self.first_octet = time.perf_counter()
            if keep:
                chunks.append(data)
            tail = (tail + data)[-_LONGEST_TAGGED:]
            if tail.endswith(b"\r\n"):
                last = tail[tail.rfind(b"\n", 0, -1) + 1 :]
                if last.startswith(tag):
                    break
        if not last.startswith(tag + b"OK"):
            raise RuntimeError(f"{command[:60]!r}: {last!r}")
        return b"".join(chunks) if keep else tail
