"""Content from the wire, judged octet by octet: after DATA its end is found and the dot-stuffing undone (RFC 5321
§4.1.1.4, §4.5.2), in BDAT chunks every octet counts and none is special (RFC 3030 §2); pure.

After DATA only <CRLF>.<CRLF> ends the content. A CR or LF that is not part of a CRLF is content, ends nothing, and
makes the whole content refused once it has been read: whoever reads such octets differently cannot be made to see a
second message in it (SMTP smuggling).
"""

import io
import re

from gateway.smtp import params, replies
from gateway.smtp.replies import Reply

_END = b"\r\n.\r\n"
_DOT_LINE = re.compile(rb"\r\n\.")  # looks for it twice as fast as bytes.find
_PREFIXES = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # longest first


class Scanner:
    """What both ways of sending share: the content's size and what it may not hold.

    `fault` is the first reason to refuse the content, or None; what follows a fault is only counted.
    """

    def __init__(self, max_size: int) -> None:
        self._max_size = max_size
        self._line_octets = 0
        self.size = 0
        self.fault: Reply | None = None

    def _judge(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.fault is not None:
            return
        if self.size > self._max_size:
            self.fault = replies.too_large(self._max_size)
            return
        ends = _line_ends(piece)
        if b"\0" in piece:
            self.fault = replies.NUL_IN_CONTENT
        elif "\r" in ends:
            self.fault = replies.BARE_CR
        elif "\n" in ends:
            self.fault = replies.BARE_LF
        elif self._has_long_line(piece):
            self.fault = replies.CONTENT_LINE_TOO_LONG

    def _has_long_line(self, piece: bytes) -> bool:
        """Return whether a line exceeds MAX_CONTENT_LINE; looks once per 64 KiB, not once per line."""
        start = 0
        while True:
            window = start + params.MAX_CONTENT_LINE - self._line_octets + 2
            if window >= len(piece):
                last = piece.rfind(b"\n", start)
                self._line_octets = len(piece) - last - 1 if last >= 0 else self._line_octets + len(piece) - start
                return False
            last = piece.rfind(b"\n", start, window)
            if last < 0:
                return True
            start, self._line_octets = last + 1, 0


class ContentScanner(Scanner):
    """Turns what the client sends after DATA into the content, piece by piece; its end is scanned for in any case."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self._held = b"\r\n"  # the start of the content is the start of a line
        self._virtual = 2  # octets of _held that nobody sent
        self.ended = False

    def feed(self, octets: bytes) -> tuple[bytes, bytes]:
        """Return the content found in `octets`, and what follows its end (b"" unless `ended`).

        A piece never ends between CR and LF.
        """
        work = self._held + octets if self._held else octets
        dot = _DOT_LINE.search(work)
        end = work.find(_END, dot.start()) if dot else -1
        if end >= 0:
            self.ended = True
            piece, rest = work[: end + 2], work[end + len(_END) :]
            self._held = b""
        else:
            held = next((prefix for prefix in _PREFIXES if work.endswith(prefix)), b"")
            piece, rest = work[: len(work) - len(held)], b""
            self._held = held
        if dot:
            piece = piece.replace(b"\r\n.", b"\r\n")
        if self._virtual and piece:
            # only now, so that a dot on the very first line is undone like any other
            piece = piece[self._virtual :]
            self._virtual = 0
        self._judge(piece)
        return (b"" if self.fault else piece), rest


class ChunkScanner(Scanner):
    """Passes on what the client sends in chunks: a dot is a dot, and only LAST ends the content."""

    def __init__(self, max_size: int) -> None:
        super().__init__(max_size)
        self._held = b""
        self.ends_line = True

    def feed(self, octets: bytes) -> bytes:
        """Return the content in `octets`, which may end anywhere; a piece returned never ends between CR and LF."""
        work = self._held + octets if self._held else octets
        self._held = b"\r" if work.endswith(b"\r") else b""
        piece = work[:-1] if self._held else work
        if piece:
            self.ends_line = piece.endswith(b"\n")
        self._judge(piece)
        return b"" if self.fault else piece

    def finish(self) -> None:
        """Judge the end of the last chunk: the content's last line may lack its CRLF, but not the half of it."""
        if self._held:
            self._judge(self._held)
        elif self.fault is None and self._line_octets > params.MAX_CONTENT_LINE:
            self.fault = replies.CONTENT_LINE_TOO_LONG


def _line_ends(piece: bytes) -> tuple[str, ...]:
    """Return which of CR LF, CR alone and LF alone occur, in one pass: counting each takes four times as long."""
    decoder = io.IncrementalNewlineDecoder(None, translate=False)
    decoder.decode(piece.decode("latin-1"), final=True)
    found = decoder.newlines
    return found if isinstance(found, tuple) else (found,) if found else ()


class HeaderScanner:
    """Keeps the header section of the content that passes by, up to MAX_HEADER_SCAN octets (then it `is_cut`)."""

    _BEFORE = b"\r\n"  # nobody sent it: so every field, and the end, stands behind a line's end
    _END = b"\r\n\r\n"
    _MESSAGE_ID = re.compile(rb"\nmessage-id[ \t]*:[ \t]*(?:\r\n[ \t]++)*+([^\r\n]*)", re.IGNORECASE)
    _RECEIVED = re.compile(rb"\nreceived[ \t]*:", re.IGNORECASE)  # "(?:\A|\n)…" takes twenty times as long

    def __init__(self) -> None:
        self._octets = bytearray(self._BEFORE)
        self.is_complete = False
        self.is_cut = False

    def feed(self, piece: bytes) -> bytes:
        """Take the next piece of content; return what of it is body."""
        if self.is_complete:
            return piece
        before = len(self._octets)
        most = len(self._BEFORE) + params.MAX_HEADER_SCAN
        self._octets += piece[: most - before]
        found = self._octets.find(self._END, max(0, before - 3))
        if found >= 0:
            end = found + len(self._END)
            del self._octets[end:]
            self.is_complete = True
            return piece[end - before :]
        if len(self._octets) >= most:
            self.is_complete = self.is_cut = True
        return b""

    @property
    def size(self) -> int:
        """Octets held."""
        return len(self._octets)

    @property
    def octets(self) -> bytes:
        """The header section, with the empty line that ends it where there is one."""
        return bytes(self._octets[len(self._BEFORE) :])

    @property
    def begins_folded(self) -> bool:
        """Whether its first line continues whatever is put above it (RFC 5322 §2.2.3)."""
        return self._octets.startswith((b" ", b"\t"), len(self._BEFORE))

    def message_id(self) -> bytes:
        """Return the first Message-ID as far as it stands on one line, b"" without one."""
        found = self._MESSAGE_ID.search(self._octets)
        return found[1].strip() if found else b""

    def received_fields(self) -> int:
        """Return how many Received fields the header holds (RFC 5321 §6.3)."""
        return len(self._RECEIVED.findall(self._octets))
