"""Where a BODY[…] section lies in a message (RFC 3501 §6.4.5)."""

from collections.abc import Collection

from gateway.imap.fetch_items import Section
from gateway.mail.structure import Part


def locate(section: Section, root: Part, size: int) -> tuple[int, int] | None:
    """Offset and length of the section in a message of `size` octets; None if the message has no such section.

    For HEADER.FIELDS it is the whole header, to be cut by `choose_fields`. `partial` is not applied.
    """
    if not section.part:
        message = root
        if not section.text:
            return 0, size
    else:
        part = _find(root, section.part)
        if part is None:
            return None
        if not section.text:
            return part.body_offset, part.body_length
        if section.text == "MIME":
            return part.header_offset, part.header_length
        if part.type != "message" or not part.children:
            return None  # HEADER and TEXT are of messages only
        message = part.children[0]
    if section.text == "TEXT":
        return message.body_offset, message.body_length
    return message.header_offset, message.header_length


def locate_part(path: tuple[int, ...], root: Part, size: int) -> tuple[str, int, int] | None:
    """Transfer encoding, offset and length of a part's body; the whole message, as it is, for an empty path."""
    if not path:
        return "", 0, size
    part = _find(root, path)
    return None if part is None else (part.encoding, part.body_offset, part.body_length)


def _find(root: Part, path: Collection[int]) -> Part | None:
    parts = _body_parts(root)
    found = root
    for number in path:
        if number > len(parts):
            return None
        found = parts[number - 1]
        if found.type == "multipart":
            parts = found.children
        else:
            parts = _body_parts(found.children[0]) if found.children else ()
    return found


def _body_parts(message: Part) -> tuple[Part, ...]:
    """A message's parts: of one that is no multipart, the one part is its body (every message has part 1)."""
    return message.children if message.type == "multipart" else (message,)
