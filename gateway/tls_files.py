"""The certificate that mail programs see: PEM files that others replace at any time, as an ACME client does.

Each handshake looks at both files first (two calls of stat), so a new pair counts from the next one on, with no timer
and no signal. Reading it takes the event loop a few milliseconds, as a handshake does, once per change. It gets a
context of its own: one whose certificate has been loaded without its key could serve nobody.
"""

import ssl
from pathlib import Path
from typing import Self

import structlog

from p2pcore.crypto.tls import server_context
from p2pcore.errors import Malformed

log = structlog.get_logger("tls")

_Seen = tuple[tuple[int, ...], ...] | str


class TlsFiles(ssl.SSLContext):
    """The context of a server for mail clients, which shows what the files held when a handshake began.

    Files that cannot be used, half replaced perhaps, leave what they held before in use; it is logged once per change.
    For transports that call `wrap_bio`, as those of asyncio and uvloop do.
    """

    def __new__(cls, certificate: Path, key: Path) -> Self:
        return super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)

    def __init__(self, certificate: Path, key: Path) -> None:
        """Raises OSError, Malformed."""
        self._files = (certificate, key)
        self._seen = self._look()
        self._shown = server_context(certificate, key)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        seen = self._look()
        if seen != self._seen:
            self._seen = seen  # as it was before they are read: what changes meanwhile is a change once more
            self._read()
        return self._shown.wrap_bio(incoming, outgoing, server_side, server_hostname, session)

    def _look(self) -> _Seen:
        """Return what differs once a file has been replaced, written, or made readable; or why it cannot be told."""
        try:
            found = [path.stat() for path in self._files]
        except OSError as error:
            return str(error)
        return tuple((one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in found)

    def _read(self) -> None:
        certificate, key = self._files
        told = log.bind(certificate=str(certificate), key=str(key))
        try:
            self._shown = server_context(certificate, key)
        except (OSError, Malformed) as error:
            told.warning("TLS files changed and cannot be used, what they held before stays", error=str(error))
        else:
            told.info("TLS files changed, what they hold is in use")
