"""The tables of an account's database, layout by layout. What each one's state means after a crash is in store.py."""

from typing import Final

SCHEMA_VERSION: Final = 5

SCHEMA: Final = """
CREATE TABLE mailboxes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    special_use TEXT,
    uidvalidity INTEGER NOT NULL,
    uidnext INTEGER NOT NULL DEFAULT 1,
    highest_modseq INTEGER NOT NULL DEFAULT 1,
    messages INTEGER NOT NULL DEFAULT 0,
    unseen INTEGER NOT NULL DEFAULT 0,
    deleted INTEGER NOT NULL DEFAULT 0,
    size INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE subscriptions (name TEXT PRIMARY KEY) WITHOUT ROWID;
-- A message's octets, shared by all its copies: head || (rest, or the sealed file).
CREATE TABLE contents (
    id INTEGER PRIMARY KEY,
    refs INTEGER NOT NULL,
    size INTEGER NOT NULL,
    header_size INTEGER NOT NULL,
    sent_day INTEGER,            -- proleptic Gregorian ordinal of the Date field
    envelope BLOB NOT NULL,
    body BLOB NOT NULL,
    bodystructure BLOB NOT NULL,
    structure BLOB NOT NULL,
    file TEXT,
    file_key BLOB,
    head BLOB NOT NULL,
    rest BLOB
);
CREATE TABLE messages (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id),
    uid INTEGER NOT NULL,
    modseq INTEGER NOT NULL,
    flags TEXT NOT NULL,
    internal_date INTEGER NOT NULL,
    zone INTEGER NOT NULL,
    size INTEGER NOT NULL,
    content_id INTEGER NOT NULL REFERENCES contents (id),
    PRIMARY KEY (mailbox_id, uid)
) WITHOUT ROWID;
CREATE TABLE seen (entry_id BLOB PRIMARY KEY, filed INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX seen_filed ON seen (filed);
CREATE TABLE duplicates (
    hash BLOB NOT NULL, received INTEGER NOT NULL, filed INTEGER NOT NULL, PRIMARY KEY (hash, received)
) WITHOUT ROWID;
CREATE INDEX duplicates_filed ON duplicates (filed);
CREATE TABLE cleanup (id INTEGER PRIMARY KEY AUTOINCREMENT, task BLOB NOT NULL);
CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""

SCHEMA_2: Final = """
-- What SEARCH finds candidates with (indexing.py); the rows are those of contents.
CREATE VIRTUAL TABLE texts USING fts5(
    header, body, content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1'
);
CREATE TABLE unindexed (content_id INTEGER PRIMARY KEY);
CREATE TABLE partly_indexed (content_id INTEGER PRIMARY KEY);
INSERT INTO unindexed SELECT id FROM contents;
CREATE TRIGGER content_added AFTER INSERT ON contents BEGIN
    INSERT INTO unindexed VALUES (new.id);
END;
-- Numbers of contents are used again, so nothing may outlive them.
CREATE TRIGGER content_gone AFTER DELETE ON contents BEGIN
    DELETE FROM texts WHERE rowid = old.id;
    DELETE FROM unindexed WHERE content_id = old.id;
    DELETE FROM partly_indexed WHERE content_id = old.id;
    UPDATE missing SET content_id = NULL WHERE content_id = old.id;
END;
ALTER TABLE cleanup ADD COLUMN entry_id BLOB;                   -- NULL: of a store of layout 1
ALTER TABLE cleanup ADD COLUMN due INTEGER NOT NULL DEFAULT 0;  -- Unix ms; not tried before
ALTER TABLE cleanup ADD COLUMN octets INTEGER NOT NULL DEFAULT 0;  -- of the sealed body that waits in the network
CREATE INDEX cleanup_entry ON cleanup (entry_id);
CREATE INDEX cleanup_due ON cleanup (due);
INSERT INTO settings SELECT 'agent.outbox', CAST('released' AS BLOB)
    WHERE EXISTS (SELECT 1 FROM settings WHERE name = 'agent.instance');
-- Entries whose body was not found yet (missing.py).
CREATE TABLE missing (
    entry_id BLOB PRIMARY KEY,
    since INTEGER NOT NULL,      -- Unix ms, when it was first looked for in vain
    expires INTEGER NOT NULL,    -- Unix ms, of the entry
    shown INTEGER NOT NULL,      -- whether a placeholder was filed
    content_id INTEGER           -- of the placeholder, while there is one
) WITHOUT ROWID;
"""

SCHEMA_3: Final = """
-- UIDs that are gone, in runs, by the modseq under which they went (expunged.py).
CREATE TABLE expunged (
    mailbox_id INTEGER NOT NULL REFERENCES mailboxes (id) ON DELETE CASCADE,
    modseq INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (mailbox_id, modseq, first)
) WITHOUT ROWID;
ALTER TABLE mailboxes ADD COLUMN expunged_floor INTEGER NOT NULL DEFAULT 0;  -- modseq up to which some are forgotten
UPDATE mailboxes SET expunged_floor = highest_modseq;
"""

SCHEMA_4: Final = """
-- From a content to its messages: what SEARCH's index finds, and what a content's end must not leave behind.
CREATE INDEX messages_content ON messages (content_id);
-- The fields that most readers ask for of every message, close together; a content of before may have none here.
CREATE TABLE usual_fields (content_id INTEGER PRIMARY KEY, fields BLOB NOT NULL);
CREATE TRIGGER content_without_fields AFTER DELETE ON contents BEGIN
    DELETE FROM usual_fields WHERE content_id = old.id;
END;
-- The full-text index puts its pieces together less often, which is most of the work of filling it.
INSERT INTO texts (texts, rank) VALUES ('automerge', 16);
"""

SCHEMA_5: Final = """
-- From this many pieces on it puts all of them together at once, which took seconds; before, some with each commit.
INSERT INTO texts (texts, rank) VALUES ('crisismerge', 32);
"""

UPGRADES: Final = {1: SCHEMA_2, 2: SCHEMA_3, 3: SCHEMA_4, 4: SCHEMA_5}
"""By layout, what makes the next one of it."""

FIRST_MAILBOXES: Final = (
    ("INBOX", None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Archive", "\\Archive"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
)
UIDVALIDITY_SETTING: Final = "store.uidvalidity"
