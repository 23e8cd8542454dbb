"""A message that SEARCH looks at: what its keys ask for is read, decoded and folded once, whatever their number."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from gateway.mail.mime_header import fields_named
from gateway.mail.structure import unpack_part
from gateway.mailbox.contents import OpenContent, Stored
from gateway.mailbox.database import Database
from gateway.mailbox.params import SEARCH_CHUNK
from gateway.mailbox.rows import uid_list
from gateway.mailbox.text import body_texts, folded, header_block, header_text, windows
from gateway.mailbox.worker import Steps

_EXAMINED: Final = (
    "SELECT uid, sent_day, structure, header_size, c.size, {file}, file_key, head, {rest}"
    " FROM messages JOIN contents c ON c.id = content_id"
    " WHERE mailbox_id = ? AND uid IN (SELECT value FROM json_each(?))"
)


class Examined:
    """One message. Use `examined`."""

    def __init__(self, sent_day: int | None, packed: bytes, header_size: int, content: OpenContent) -> None:
        self.sent_day = sent_day  # see contents.sent_day
        self._packed = packed
        self._header_size = header_size
        self._content = content
        self._header: str | None = None
        self._fields: dict[str, list[str]] = {}
        self._in_body: set[str] | None = None

    def field_has(self, field: str, needle: str) -> bool:
        """Whether a header field of this name contains the folded text."""
        values = self._fields.get(field)
        if values is None:
            named = fields_named(self._head(), field.encode("utf-8"))
            values = self._fields[field] = [folded(header_text(value)) for value in named]
        return any(needle in value for value in values)

    def header_has(self, needle: str) -> bool:
        """Whether the header contains the folded text."""
        if self._header is None:
            self._header = folded(header_block(self._head()))
        return needle in self._header

    def body_has(self, needle: str) -> bool | None:
        """Whether the body contains the folded text; None as long as it was not looked at."""
        return needle in self._in_body if self._in_body is not None else None

    def look_for(self, needles: Collection[str]) -> Steps[None]:
        """Find out which of the folded texts the body contains. Raises StoreDamaged."""
        self._in_body = set()
        missing = set(needles)
        longest = max(map(len, missing), default=0)
        for pieces in body_texts(unpack_part(self._packed), self._content.read):
            for window in windows(pieces, longest):
                for needle in tuple(missing):
                    if needle in window:
                        self._in_body.add(needle)
                        missing.discard(needle)
                    yield
                if not missing:
                    return

    def _head(self) -> bytes:
        return self._content.read(0, min(self._header_size, SEARCH_CHUNK))


@contextmanager
def examined(
    database: Database, mailbox_id: int, uids: Sequence[int], *, bodies: bool
) -> Iterator[list[tuple[int, Examined]]]:
    """Those of the messages that are there, by UID; inside, an expunge does not matter. Raises StoreDamaged.

    Without `bodies` only the header is read.
    """
    sql = _EXAMINED.format(**{name: name if bodies else "NULL" for name in ("file", "rest")})
    with ExitStack() as opened:
        found: list[tuple[int, Examined]] = []
        for uid, sent_day, packed, header_size, *stored in database.connection.execute(
            sql, (mailbox_id, uid_list(uids))
        ):
            content = OpenContent(database, Stored(*stored))
            if bodies:
                opened.callback(content.close)
            found.append((uid, Examined(sent_day, packed, header_size, content)))
        yield found
