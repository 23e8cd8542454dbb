"""The full-text index: filled behind the mail's back, and asked which messages may hold a text.

It holds the trigrams of what a scan would look at, folded in the same way, so a message without all trigrams of a
needle is not looked at. It never says that a message matches: that is the scan's to decide.

| state of a content                 | reached by                       | SEARCH                              |
|------------------------------------|----------------------------------|-------------------------------------|
| in `unindexed`                     | the commit that filed it         | looks at it                         |
| in `texts`                         | the job, one commit per slice    | looks at it if it has the trigrams  |
| in `texts` and `partly_indexed`    | the same, longer than the cap    | looks at it                         |

A crash leaves each content in one of these; the next start goes on with `unindexed`.
"""

from collections.abc import Iterator, Set
from typing import Final

from gateway.mail.structure import unpack_part
from gateway.mailbox import contents
from gateway.mailbox.contents import Stored
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.params import (
    INDEX_SLICE,
    INDEX_SLICE_TEXT,
    INDEXED_TEXT,
    SEARCH_CANDIDATES,
    SEARCH_CHUNK,
    SEARCH_FOUND,
)
from gateway.mailbox.search import And, Body, Header, Not, Or, SearchKey, Text, Uids
from gateway.mailbox.text import ReadRange, body_texts, folded, folded_pieces, header_block
from gateway.mailbox.worker import Steps

GRAM = 3  # characters of a trigram; a shorter needle is not in the index
MOST_GRAMS = 40  # of a needle that are asked for: enough to tell, and a bound on the expression

_FOUND: Final = (
    "SELECT id, uid FROM (SELECT rowid AS id FROM texts WHERE texts MATCH ? AND rowid > ? ORDER BY rowid LIMIT ?)"
    " LEFT JOIN messages ON content_id = id AND mailbox_id = ?"
)


def index_slice(transaction: Transaction) -> bool:
    """Index some contents, the newest first; whether there are more."""
    waiting = list(
        transaction.connection.execute(
            "SELECT c.id, c.header_size, c.structure, c.size, c.file, c.file_key, c.head, c.rest"
            # by themselves first: a join would pass over all that is indexed already
            " FROM contents c WHERE c.id IN (SELECT content_id FROM unindexed ORDER BY content_id DESC LIMIT ?)"
            " ORDER BY c.id DESC",
            (INDEX_SLICE,),
        )
    )
    characters = 0
    for content_id, header_size, packed, *stored in waiting:
        characters += _index(transaction, content_id, header_size, packed, Stored(*stored))
        if characters > INDEX_SLICE_TEXT:
            break
    return bool(list(transaction.connection.execute("SELECT 1 FROM unindexed LIMIT 1")))


def _index(transaction: Transaction, content_id: int, header_size: int, packed: bytes, stored: Stored) -> int:
    """Index one content; gives the characters that it took. What cannot be read stays for the scan to complain of."""
    connection = transaction.connection

    def read(offset: int, length: int) -> bytes:
        return contents.read(transaction.database, stored, offset, length)

    header, body, whole = "", "", True
    try:
        header = folded(header_block(read(0, min(header_size, SEARCH_CHUNK))))
        pieces, room = [], INDEXED_TEXT
        for piece in _body_pieces(packed, read):
            pieces.append(piece[:room])
            room -= len(piece)
            if room < 0:
                whole = False
                break
        body = "".join(pieces)
    except StoreDamaged:
        whole = False
    connection.execute(
        "INSERT INTO texts (rowid, header, body) VALUES (?, ?, ?)", (content_id, _text(header), _text(body))
    )
    connection.execute("DELETE FROM unindexed WHERE content_id = ?", (content_id,))
    if not whole:
        connection.execute("INSERT INTO partly_indexed VALUES (?)", (content_id,))
    return len(header) + len(body)


def _body_pieces(packed: bytes, read: ReadRange) -> Iterator[str]:
    for text in body_texts(unpack_part(packed), read):
        yield from folded_pieces(text)
        yield "\n"


class Candidates:
    """Which messages of a mailbox may match each text key of a query, of those that were there at its beginning."""

    def __init__(self, database: Database, mailbox_id: int) -> None:
        """Nothing is known before `ask`."""
        self._database = database
        self._mailbox_id = mailbox_id
        self._always: Set[int] = frozenset()  # the index does not tell of these
        self._may: dict[SearchKey, Set[int]] = {}

    def ask(self, query: SearchKey) -> Steps[None]:
        """Ask the index for every key in `query` that it knows about."""
        keys = dict.fromkeys(text_keys(query))
        if keys:
            self._always = self._not_indexed()  # first: what is indexed from now on is in both
            yield
        room = SEARCH_CANDIDATES
        for key in keys:
            condition = _condition(key)
            if condition is not None:
                found = yield from self._found(condition, room)
                if found is not None:
                    self._may[key] = found
                    room -= len(found)
                yield

    def excludes(self, key: SearchKey, uid: int) -> bool:
        """Whether this message certainly does not match this key."""
        may = self._may.get(key)
        return may is not None and uid not in may and uid not in self._always

    def required(self, query: SearchKey) -> Set[int] | None:
        """UIDs among which every match is; None where all must be looked at."""
        match query:
            case And(keys):
                found: Set[int] | None = None
                for each in map(self.required, keys):
                    if each is not None:
                        found = each if found is None else found & each
                return found
            case Uids(uids):
                return uids
            case Header() | Text() | Body():
                may = self._may.get(query)
                return may | self._always if may is not None else None
        return None

    def _not_indexed(self) -> Set[int]:
        rows = self._database.connection.execute(
            "SELECT uid FROM messages WHERE content_id IN"
            " (SELECT content_id FROM unindexed UNION ALL SELECT content_id FROM partly_indexed) AND mailbox_id = ?",
            (self._mailbox_id,),
        )
        return frozenset(uid for (uid,) in rows)

    def _found(self, condition: str, room: int) -> Steps[Set[int] | None]:
        """UIDs of the contents in the index that meet the condition; None if they are more than `room`."""
        found: set[int] = set()
        last = 0
        while True:
            rows = list(self._database.connection.execute(_FOUND, (condition, last, SEARCH_FOUND, self._mailbox_id)))
            found.update(uid for _, uid in rows if uid is not None)
            if len(found) > room:
                return None
            if len(rows) < SEARCH_FOUND:
                return found
            last = max(content_id for content_id, _ in rows)
            yield


def text_keys(query: SearchKey) -> Iterator[Header | Text | Body]:
    """All keys in `query` that ask for a text."""
    match query:
        case And(keys):
            for key in keys:
                yield from text_keys(key)
        case Or(a, b):
            yield from text_keys(a)
            yield from text_keys(b)
        case Not(key):
            yield from text_keys(key)
        case Header() | Text() | Body():
            yield query


def _condition(key: Header | Text | Body) -> str | None:
    """The key in FTS5's words: all its trigrams, in the column that it speaks of; None where it has none."""
    needle = folded(key.text)
    if len(needle) < GRAM or _text(needle) != needle:
        return None
    grams = sorted({needle[start : start + GRAM] for start in range(len(needle) - GRAM + 1)})
    condition = " AND ".join('"{}"'.format(gram.replace('"', '""')) for gram in grams[:MOST_GRAMS])
    match key:
        case Header():
            return f"header : ({condition})"
        case Body():
            return f"body : ({condition})"
    return f"header : ({condition}) OR body : ({condition})"


def _text(text: str) -> str:
    """What SQLite can take as text: no NUL, which would end it, and no half of a surrogate pair."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode("utf-8")
