"""Whether a store is what it should be: SQLite's structure, counters, references, UIDs, modseqs, every content.

Reads only. A content's digests are the authentication tags of its sealed segments, or of the database's pages.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import apsw

from gateway.mail.structure import Structure, pack_part, parse
from gateway.mailbox import contents
from gateway.mailbox.contents import Stored
from gateway.mailbox.database import Database
from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.schema import UIDVALIDITY_SETTING

CHECK_SLICE: Final = 32  # contents read by one turn of the store's thread
MOST: Final = 1_000  # problems named of one kind; more say nothing new

_COUNTED: Final = """
SELECT b.id, b.name, b.uidnext, b.highest_modseq, b.messages, b.unseen, b.deleted, b.size,
    count(m.uid), coalesce(sum(instr(' ' || m.flags || ' ', ' \\Seen ') = 0), 0),
    coalesce(sum(instr(' ' || m.flags || ' ', ' \\Deleted ') > 0), 0), coalesce(sum(m.size), 0),
    coalesce(max(m.uid), 0), coalesce(max(m.modseq), 0)
FROM mailboxes b LEFT JOIN messages m ON m.mailbox_id = b.id GROUP BY b.id ORDER BY b.name
"""
_CONTENTS: Final = (
    "SELECT id, envelope, body, bodystructure, structure, header_size, size, file, file_key, head, rest"
    " FROM contents WHERE id > ? ORDER BY id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Counted:
    """One mailbox: its stored counters, and what counting its rows gives."""

    id: int
    name: str
    uidnext: int
    highest_modseq: int
    stored: tuple[int, int, int, int]  # messages, unseen, deleted, octets
    rows: tuple[int, int, int, int]
    last_uid: int
    last_modseq: int


def counted(database: Database) -> Iterator[Counted]:
    """Every mailbox, counted."""
    for number, name, uidnext, modseq, *rest in database.connection.execute(_COUNTED):
        yield Counted(number, name, uidnext, modseq, tuple(rest[:4]), tuple(rest[4:8]), rest[8], rest[9])


def structure(database: Database) -> list[str]:
    """Problems of the database as a whole; each is a sentence."""
    connection = database.connection
    try:
        said = [str(line) for (line,) in connection.execute(f"PRAGMA integrity_check({MOST})")]
        problems = [f"database: {line}" for line in said if line != "ok"]
        problems += _rows(database)
    except (apsw.CorruptError, apsw.NotADBError) as error:
        return [f"database: {error}"]
    return problems


def _rows(database: Database) -> list[str]:
    connection, problems = database.connection, list[str]()
    ((last,),) = connection.execute("SELECT value FROM settings WHERE name = ?", (UIDVALIDITY_SETTING,))
    for (name,) in connection.execute("SELECT name FROM mailboxes WHERE uidvalidity > ?", (int.from_bytes(last),)):
        problems.append(f"{name}: its UIDVALIDITY may be given again")
    for one in counted(database):
        if one.stored != one.rows:
            problems.append(f"{one.name}: counters say {one.stored}, the messages are {one.rows}")
        if one.uidnext <= one.last_uid:
            problems.append(f"{one.name}: UIDNEXT {one.uidnext}, and there is a message with UID {one.last_uid}")
        if one.highest_modseq < one.last_modseq:
            problems.append(f"{one.name}: HIGHESTMODSEQ {one.highest_modseq}, a message has {one.last_modseq}")
    for content_id, refs, found in references(database):
        problems.append(f"content {content_id}: counted in {refs} mailboxes, held by {found}")
    for (count,) in connection.execute(
        "SELECT count(*) FROM messages WHERE content_id NOT IN (SELECT id FROM contents)"
    ):
        if count:
            problems.append(f"{count} messages have no content at all")
    return problems


def references(database: Database) -> list[tuple[int, int, int]]:
    """(content ID, stored references, messages that hold it) where the two differ."""
    return list(
        database.connection.execute(
            "SELECT c.id, refs, count(m.uid) AS found FROM contents c LEFT JOIN messages m ON m.content_id = c.id"
            " GROUP BY c.id HAVING refs <> found LIMIT ?",
            (MOST,),
        )
    )


@dataclass(frozen=True, slots=True)
class ContentProblem:
    """What is wrong with a content; `again` is what its stored structure should be, None where it is unreadable."""

    content_id: int
    text: str
    again: Structure | None


def content_slice(database: Database, after: int) -> tuple[list[ContentProblem], int, int]:
    """Read the next contents whole; gives what is wrong, the last number read (0: there are no more) and how many."""
    problems, last, count = [], 0, 0
    for content_id, envelope, body, bodystructure, packed, header_size, *stored in list(
        database.connection.execute(_CONTENTS, (after, CHECK_SLICE))
    ):
        last, count = content_id, count + 1
        row = Stored(*stored)
        where = _where(database, content_id)
        try:
            octets = contents.read(database, row, 0, None)
        except StoreDamaged as error:
            problems.append(ContentProblem(content_id, f"{where}: {error}", None))
            continue
        if len(octets) != row.size:
            text = f"{where}: {len(octets)} octets are kept, {row.size} were filed"
            problems.append(ContentProblem(content_id, text, None))
            continue
        again = parse(octets)
        made = (again.envelope, again.body, again.bodystructure, pack_part(again.root), again.header_size)
        if made != (envelope, body, bodystructure, packed, header_size):
            problems.append(ContentProblem(content_id, f"{where}: what FETCH tells is not its content's", again))
    return problems, last, count


def _where(database: Database, content_id: int) -> str:
    held = database.connection.execute(
        "SELECT name, uid FROM messages m JOIN mailboxes b ON b.id = mailbox_id WHERE content_id = ? LIMIT 3",
        (content_id,),
    )
    return f"content {content_id} ({', '.join(f'{name} {uid}' for name, uid in held) or 'in no mailbox'})"


def count(database: Database) -> int:
    """Number of contents."""
    ((number,),) = database.connection.execute("SELECT count(*) FROM contents")
    return int(number)
