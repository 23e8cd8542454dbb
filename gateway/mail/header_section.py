"""A message's header section and its Message-ID, however the message is held."""

from pathlib import Path

from gateway.mail.mime_header import all_fields

HEADER_READ = 256 << 10  # octets of a message searched for the end of its header; nobody's header is longer


def header_of(content: bytes | Path) -> bytes | None:
    """Return the header without the empty line that ends it; None where HEADER_READ octets have no end.

    Raises OSError.
    """
    if isinstance(content, bytes):
        start = content[: HEADER_READ + 1]
    else:
        with content.open("rb") as file:
            start = file.read(HEADER_READ + 1)
    if start.startswith(b"\r\n"):
        return b""
    header, end, _ = start.partition(b"\r\n\r\n")
    if not end and len(start) > HEADER_READ:
        return None
    return header + b"\r\n"


def message_id(header: bytes | None) -> bytes:
    """Return the first Message-ID of a header, b"" where it has none or is none itself (None)."""
    fields = all_fields(header) if header is not None else ()
    return next((value.strip() for name, value in fields if name.lower() == b"message-id"), b"")
