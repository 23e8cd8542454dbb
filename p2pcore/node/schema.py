"""The node's database: its tables, and opening it.

table              row means                                                    leaves
objects            an object statement; held = 0: known by its tombstones only,  expiry (+ TOMBSTONE_GRACE where
                   1: body in `bodies`, 2: body in the file `file`;              tombstoned), collection
                   `used`: when it was stored or last fetched (ms); held = 0
                   with a `file`: this was lost
bodies             octets of a small body, by objects.number                     last delete right, expiry
tombstones         a revealed secret of an object's delete right                 with its objects row
entries            an unacknowledged entry; number = cursor                      acknowledgement, expiry, collection
acknowledgements   the owner's signed statement; number = cursor, same sequence; expiry
                   `instance`: the agent that it names
marks              an entry that an acknowledgement names, also one that never   expiry of that acknowledgement
                   came; `acknowledgement`: of several the one that lives longest
inboxes            counts of an inbox's entries, and when its owner last read    last entry, where nobody has read
versions           the highest version of a certificate or domain record         a higher one, expiry
certificates       of a signer (DER)                                             with the last thing it signed
heads              the newest head of a domain                                   a newer one, expiry
meta               incarnation (16 octets), sequence (last number given), horizon (nonces.py)
"""

import os
from pathlib import Path

import apsw

SCHEMA_VERSION = 3

_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE objects (
    number INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, object_key BLOB NOT NULL, digest BLOB NOT NULL,
    size INTEGER NOT NULL, rights INTEGER NOT NULL, expires INTEGER NOT NULL, signer BLOB NOT NULL,
    signed BLOB NOT NULL, held INTEGER NOT NULL, file TEXT NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX objects_by_use ON objects (used) WHERE held > 0;
CREATE INDEX objects_by_key ON objects (object_key);
CREATE INDEX objects_by_expiry ON objects (expires);
CREATE TABLE bodies (object INTEGER PRIMARY KEY, octets BLOB NOT NULL);
CREATE TABLE tombstones (
    identity BLOB PRIMARY KEY, object INTEGER NOT NULL, secret BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX tombstones_by_object ON tombstones (object);
CREATE TABLE entries (
    number INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, inbox_key BLOB NOT NULL, octets INTEGER NOT NULL,
    expires INTEGER NOT NULL, signer BLOB NOT NULL, signed BLOB NOT NULL
);
CREATE INDEX entries_by_inbox ON entries (inbox_key, number);
CREATE INDEX entries_by_expiry ON entries (expires);
CREATE TABLE acknowledgements (
    number INTEGER PRIMARY KEY, identity BLOB NOT NULL UNIQUE, inbox_key BLOB NOT NULL, expires INTEGER NOT NULL,
    signer BLOB NOT NULL, signed BLOB NOT NULL, instance BLOB NOT NULL
);
CREATE INDEX acknowledgements_by_inbox ON acknowledgements (inbox_key, number);
CREATE INDEX acknowledgements_by_expiry ON acknowledgements (expires);
CREATE TABLE marks (
    entry BLOB NOT NULL, inbox_key BLOB NOT NULL, acknowledgement INTEGER NOT NULL, expires INTEGER NOT NULL,
    PRIMARY KEY (entry, inbox_key)
) WITHOUT ROWID;
CREATE INDEX marks_by_expiry ON marks (expires);
CREATE TABLE inboxes (
    inbox_key BLOB PRIMARY KEY, entries INTEGER NOT NULL, octets INTEGER NOT NULL, last_read INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE versions (
    kind TEXT NOT NULL, object_key BLOB NOT NULL, identity BLOB NOT NULL UNIQUE, epoch INTEGER NOT NULL,
    time INTEGER NOT NULL, digest BLOB NOT NULL, expires INTEGER NOT NULL, signer BLOB NOT NULL, signed BLOB NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (kind, object_key)
);
CREATE TABLE certificates (fingerprint BLOB PRIMARY KEY, der BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE heads (
    domain TEXT PRIMARY KEY, issued INTEGER NOT NULL, expires INTEGER NOT NULL, signer BLOB NOT NULL,
    signed BLOB NOT NULL
);
"""

_UPGRADES = {  # from this version to the next
    2: """
ALTER TABLE objects ADD COLUMN used INTEGER NOT NULL DEFAULT 0;
CREATE INDEX objects_by_use ON objects (used) WHERE held > 0;
ALTER TABLE acknowledgements ADD COLUMN instance BLOB NOT NULL DEFAULT x'';
""",
}


def open_writer(path: Path) -> apsw.Connection:
    """Return the writing connection, the database made (with a fresh incarnation), brought up to date, or checked.

    Raises apsw.Error where the file is no database, RuntimeError where its schema is another program's.
    """
    db = apsw.Connection(str(path))
    _configure(db)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")  # a commit is on disk when it returns
    # What is deleted here is ciphertext, and files are not overwritten either: zeros would be most of what a deletion
    # writes
    db.execute("PRAGMA secure_delete = OFF")
    version = _one(db, "PRAGMA user_version")
    if version == 0:
        with db:
            db.execute(_TABLES)
            db.execute("INSERT INTO meta VALUES ('incarnation', ?), ('sequence', 0), ('horizon', 0)", (os.urandom(16),))
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        return db
    while version in _UPGRADES:
        with db:
            db.execute(_UPGRADES[version])
            version += 1
            db.execute(f"PRAGMA user_version = {version}")
    if version != SCHEMA_VERSION:
        db.close()
        raise RuntimeError(f"{path}: schema version {version}, this program knows {SCHEMA_VERSION}")
    return db


def open_reader(path: Path) -> apsw.Connection:
    """Return a connection that cannot write."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    _configure(db)
    db.execute("PRAGMA query_only = ON")
    return db


def unused(db: apsw.Connection) -> int:
    """Return the octets of the database file that no row takes."""
    return _one(db, "PRAGMA freelist_count") * _one(db, "PRAGMA page_size")


def _configure(db: apsw.Connection) -> None:
    db.set_busy_timeout(10_000)
    db.execute("PRAGMA temp_store = MEMORY")
    db.execute("PRAGMA cache_size = -16384")  # KiB


def _one(db: apsw.Connection, sql: str) -> int:
    value = db.execute(sql).get
    assert isinstance(value, int)
    return value
