"""A message's octets: filed with everything that FETCH will ask for, read by range, freed with the last copy.

The first octets (the header) always stand in the row; what follows stands there too up to `params.CONTENT_IN_ROW`,
else in a sealed file. A content file of the caller is mapped, never loaded.
"""

import json
import mmap
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Final, NamedTuple

from gateway.mail.chosen_fields import USUAL_FIELDS, choose_fields
from gateway.mail.structure import Content, pack_part, parse
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import TooLarge
from gateway.mailbox.params import CONTENT_IN_ROW, HEAD_IN_ROW, MAX_MESSAGE
from gateway.mailbox.sealed import SealedFile

MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY = re.compile(rb"(?:^|[\s,)])(\d{1,2})\s+([A-Za-z]{3})[a-z]*\.?\s+(\d{2,4})(?!\d)")


class Stored(NamedTuple):
    """What of a content row is needed to read octets."""

    size: int
    file: str | None
    file_key: bytes | None
    head: bytes
    rest: bytes | None


def insert(
    transaction: Transaction, content: bytes | Path, trace: bytes = b"", limit: int | None = MAX_MESSAGE
) -> tuple[int, int]:
    """File trace + content, with one reference; gives (content ID, size in octets). Raises TooLarge above `limit`.

    A large content is sealed and fsynced when this returns; the transaction syncs the directory before it commits.
    """
    with _opened(content) as octets:
        size = len(trace) + len(octets)
        if limit is not None and size > limit:
            raise TooLarge(f"the message has {size} octets; the limit is {limit}")
        structure = parse(octets, trace)
        in_head = max(min(structure.header_size, HEAD_IN_ROW) - len(trace), 0)
        head = trace + octets[:in_head]
        rest, file, file_key = None, None, None
        if len(octets) - in_head <= CONTENT_IN_ROW:
            rest = octets[in_head:]
        else:
            with memoryview(octets) as view, view[in_head:] as remainder:
                file, file_key = transaction.database.files.write(remainder)
            transaction.written.append(file)
    transaction.connection.execute(
        "INSERT INTO contents (refs, size, header_size, sent_day, envelope, body, bodystructure, structure,"
        " file, file_key, head, rest) VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            size,
            structure.header_size,
            sent_day(structure.date),
            structure.envelope,
            structure.body,
            structure.bodystructure,
            pack_part(structure.root),
            file,
            file_key,
            head,
            rest,
        ),
    )
    content_id = transaction.connection.last_insert_rowid()
    if structure.header_size <= len(head):
        fields = choose_fields(head[: structure.header_size], USUAL_FIELDS, exclude=False)
        transaction.connection.execute("INSERT INTO usual_fields VALUES (?, ?)", (content_id, fields))
    return content_id, size


@contextmanager
def _opened(content: bytes | Path) -> Iterator[Content]:
    if isinstance(content, bytes):
        yield content
        return
    with open(content, "rb") as file:
        size = file.seek(0, 2)
        if size <= CONTENT_IN_ROW:
            file.seek(0)
            yield file.read()
            return
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            yield mapped
        finally:
            with suppress(BufferError):  # an error on its way holds a part of it, and the mapping goes with that
                mapped.close()


class OpenContent:
    """A message's octets, to be read until it is closed, whether the message is expunged meanwhile or not."""

    def __init__(self, database: Database, stored: Stored) -> None:
        """Whoever makes it closes it. Raises StoreDamaged."""
        self._stored = stored
        self._file: SealedFile | None = None
        if stored.file is not None:
            assert stored.file_key is not None
            self._file = database.files.open(stored.file, stored.file_key, stored.size - len(stored.head))

    def read(self, offset: int, length: int | None) -> bytes:
        """Octets of the whole message from `offset`; fewer than `length` (None: all) only where it ends.

        The octets exist once: a caller that cannot have 50 MB in memory asks for ranges.
        """
        stored = self._stored
        end = stored.size if length is None else min(offset + length, stored.size)
        in_head = len(stored.head)
        if end <= in_head:
            return stored.head[offset:end]
        start = max(offset - in_head, 0)
        if stored.rest is not None:
            return stored.head[offset:] + stored.rest[start : end - in_head]
        assert self._file is not None
        buffer = BytesIO()
        buffer.write(stored.head[offset:])
        buffer.writelines(self._file.pieces(start, end - in_head - start))
        return buffer.getvalue()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def read(database: Database, stored: Stored, offset: int, length: int | None) -> bytes:
    """As OpenContent.read, where the file is opened only if octets of it are wanted."""
    if length is not None and offset + length <= len(stored.head):
        return stored.head[offset : offset + length]
    with closing(OpenContent(database, stored)) as content:
        return content.read(offset, length)


def share(transaction: Transaction, content_ids: Iterable[int]) -> None:
    """Count one more copy of each."""
    transaction.connection.executemany(
        "UPDATE contents SET refs = refs + 1 WHERE id = ?", ((content_id,) for content_id in content_ids)
    )


def release(transaction: Transaction, content_ids: Iterable[int]) -> None:
    """Count one copy less of each; the last one frees row and file."""
    connection, released = transaction.connection, list(content_ids)
    connection.executemany("UPDATE contents SET refs = refs - 1 WHERE id = ?", ((number,) for number in released))
    unheld = "contents WHERE id IN (SELECT value FROM json_each(?)) AND refs = 0"
    listed = (json.dumps(released),)
    transaction.freed += [
        file
        for (file,) in connection.execute(f"SELECT file FROM {unheld} AND file NOT NULL", listed)  # noqa: S608
    ]
    # One statement for all: the full-text index writes out what it holds at the end of each that fires its trigger.
    connection.execute(f"DELETE FROM {unheld}", listed)  # noqa: S608


def sent_day(value: bytes | None) -> int | None:
    """The day of a Date field as written, as a proleptic Gregorian ordinal; None where it has none."""
    match = _DAY.search(value) if value is not None else None
    if match is None:
        return None
    month = match[2].decode("ascii").lower()
    year = int(match[3])
    if len(match[3]) < 4:  # RFC 5322 §4.3
        year += 2000 if year < 50 else 1900
    try:
        return date(year, MONTHS.index(month) + 1, int(match[1])).toordinal()
    except ValueError:
        return None
