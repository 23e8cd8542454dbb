"""A message's header section and its Message-ID, however the message is held."""

from pathlib import Path

from gateway.mail.mime_header import fields_named

FROM_READ = 8 << 10  # octets of all From fields whose authors are looked at; nobody's are longer
HEADER_READ = 256 << 10  # octets of a message searched for the end of its header; nobody's header is longer


def header_of(content: bytes | Path) -> bytes | None:
    """Return the header without the empty line that ends it; None where HEADER_READ octets have no end.

    Raises OSError.
    """
    if not isinstance(content, bytes):
        with content.open("rb") as file:
            content = file.read(HEADER_READ + 1)
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n", 0, HEADER_READ + 1)
    if end >= 0:
        return content[: end + 2]
    return content + b"\r\n" if len(content) <= HEADER_READ else None


def message_id(header: bytes | None) -> bytes:
    """Return the first Message-ID of a header, b"" where it has none or is none itself (None)."""
    values = fields_named(header, b"message-id") if header is not None else []
    return values[0].strip() if values else b""
