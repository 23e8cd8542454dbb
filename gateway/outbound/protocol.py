"""aiosmtplib's protocol for hosts that say more than it takes: 32 KiB, after which it takes nothing more.

RFC 5321 §4.2.1 bounds no number of lines, and the last has the same code as the first: of a longer reply the beginning
and the end are kept, and what is between is let go, up to MAX_REPLY_READ. What came together with a reply, behind it,
is let go too: nothing was asked yet that it could answer.

That is done in aiosmtplib's own buffer, although its name and the waiter's are private: it is emptied where TLS begins
(RFC 3207 §4.2), and another one before it would bring into TLS what came in clear.
"""

from aiosmtplib.protocol import SMTPProtocol

from gateway.outbound import params

_PIECE = 4 * 1024  # octets looked at together; with REPLY_HELD that is less than aiosmtplib's limit


class HostProtocol(SMTPProtocol):
    """A connection to a host of somebody else."""

    _let_go = 0  # octets of the reply that is coming

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _PIECE):
            if not self._buffer:
                self._let_go = 0
            super().data_received(data[start : start + _PIECE])
            if self._response_waiter is not None and self._response_waiter.done():
                self._buffer.clear()
                return
            if len(self._buffer) > params.REPLY_HELD and self._let_go < params.MAX_REPLY_READ:
                self._shorten()

    def _shorten(self) -> None:
        """Let go of the whole lines behind the first half of what may be held."""
        beginning = self._buffer.rfind(b"\n", 0, params.REPLY_HELD // 2) + 1
        end = self._buffer.rfind(b"\n") + 1
        self._let_go += end - beginning
        del self._buffer[beginning:end]
