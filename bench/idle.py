"""A mail reader that waits in IMAP IDLE and notes when each message was announced (RFC 2177)."""

import contextlib
import re
import socket
import threading
import time

_EXISTS = re.compile(rb"\* (\d+) EXISTS", re.IGNORECASE)


class IdleReader:
    """Logs in, selects INBOX and stays in IDLE in a thread of its own until `close`."""

    def __init__(self, endpoint: tuple[str, int], user: str, password: str) -> None:
        """Raises OSError, and RuntimeError where the server says anything but OK."""
        self._socket = socket.create_connection(endpoint, timeout=60)
        self._file = self._socket.makefile("rb")
        self._changed = threading.Condition()
        self._count = 0
        self._announced: list[tuple[int, float]] = []
        self._ended = False
        self._read_line()
        self._command("a", f'LOGIN "{user}" "{password}"')
        self._command("b", "SELECT INBOX")
        self._socket.sendall(b"c IDLE\r\n")
        while not self._read_line().startswith(b"+"):
            continue
        self._socket.settimeout(None)
        self._thread = threading.Thread(target=self._listen, name="idle", daemon=True)
        self._thread.start()

    @property
    def count(self) -> int:
        """How many messages INBOX has, as announced."""
        return self._count

    def wait_for(self, count: int, patience: float) -> float:
        """Return when (time.monotonic) INBOX was said to have `count` messages.

        Raises TimeoutError where nothing is announced for `patience` seconds.
        """
        with self._changed:
            news = True
            while news and self._count < count and not self._ended:
                news = self._changed.wait(patience)
            if self._count < count:
                raise TimeoutError(f"INBOX has {self._count} messages, not {count}, and no more came")
            return next(moment for exists, moment in self._announced if exists >= count)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._file.close()
        self._socket.close()

    def _listen(self) -> None:
        try:
            while line := self._file.readline():
                self._note(line)
        except OSError:
            pass  # closed by us, or the server went: `wait_for` says what is missing
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _note(self, line: bytes) -> None:
        if match := _EXISTS.match(line):
            with self._changed:
                self._count = int(match[1])
                self._announced.append((self._count, time.monotonic()))
                self._changed.notify_all()

    def _read_line(self) -> bytes:
        line = self._file.readline()
        if not line:
            raise RuntimeError("IMAP server closed the connection")
        self._note(line)
        return line

    def _command(self, tag: str, command: str) -> None:
        self._socket.sendall(f"{tag} {command}\r\n".encode())
        while not (line := self._read_line()).startswith(f"{tag} ".encode()):
            continue
        if not line.startswith(f"{tag} OK".encode()):
            raise RuntimeError(f"{command.split()[0]}: {line!r}")
