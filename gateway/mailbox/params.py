"""Every number of the mail store, with its source or reason."""

from typing import Final

KIB: Final = 1024
DAY: Final = 86_400  # seconds

CONTENT_IN_ROW: Final = 64 * KIB
"""Octets after the header up to which content lives in its row; above, in a sealed file."""

HEAD_IN_ROW: Final = 256 * KIB
"""Octets of header kept in the row whatever the size, so that header reads never open a file."""

WRITE_CHUNK: Final = KIB * KIB
"""Octets handed to the sealer at a time: it gives as many back in one piece."""

MAX_MESSAGE: Final = 256 * KIB * KIB
"""Octets of one message; far above any SMTP limit, and a bound on what one call may write."""

MAX_NAME: Final = 512
"""Octets of a mailbox name in UTF-8, all levels together: it must fit an IMAP line as modified UTF-7."""

MAX_KEYWORDS: Final = 128
"""Flags of one message: clients use a handful, and every snapshot carries them."""

MAX_KEYWORD: Final = 255
"""Octets of one keyword."""

DUPLICATE_WINDOW: Final = 7 * DAY
"""Two receptions with one SHA-256 of duplicate.1 this close are one message (docs/flow.md §8)."""

SEEN_LIFETIME: Final = 402 * DAY
"""How long an entry's identity is remembered: the longest expiry (400 days) and two days (docs/formats.md §4)."""

WATCH_LIMIT: Final = 10_000
"""Changes that a session may leave untaken before it must take a snapshot again."""

EXPUNGED_RUNS: Final = 10_000
"""Runs of expunged UIDs remembered for a mailbox, some 300 KB; beyond it clients that were away longer hear more."""

TURN: Final = 0.01
"""Seconds of the store's thread after which a long SEARCH lets other calls go first: twice what Python gives a thread
at a time."""

SEARCH_SLICE: Final = 64
"""Messages that a SEARCH reads at once."""

SEARCH_OCTETS: Final = KIB * KIB
"""Octets of messages that it reads at once; a larger message by itself."""

SEARCH_FOUND: Final = 16 * KIB
"""Contents that it takes from the full-text index at once, some 20 ms."""

SEARCH_CANDIDATES: Final = 1_000_000
"""UIDs that it keeps from the index for all its keys, some 70 MB; keys beyond that are looked for in every message."""

SEARCH_CHUNK: Final = 256 * KIB
"""Encoded octets of a text part decoded at a time."""

SEARCH_HELD: Final = 64 * KIB
"""Octets that a charset's decoder may hold back: UTF-7 does with a shifted run, and reads it anew with each piece."""

FOLDED_RUN: Final = 4 * KIB
"""Characters without an ASCII one among them, after which text is folded piece by piece all the same."""

INDEXED_TEXT: Final = 256 * KIB
"""Characters of one message that go into the full-text index; what is beyond is looked at whenever it may matter."""

INDEX_SLICE: Final = 32
"""Messages indexed by one turn of the store's thread."""

INDEX_SLICE_TEXT: Final = 512 * KIB
"""Characters after which such a turn ends early: some 50 ms."""

INDEX_GATHER: Final = 1.0
"""Seconds without new mail before indexing begins: a message takes longer to index than to deliver."""

INDEX_LATEST: Final = 60.0
"""Seconds after which it begins all the same, however much mail comes."""

INDEX_PATIENCE: Final = 0.25
"""Seconds at most that a turn of indexing waits for a busy store: it falls behind then, but never stops."""

INDEX_REST: Final = 0.05
"""Seconds without a call after which a turn of indexing holds up nobody's command."""

PAGE_CACHE: Final = 32 * KIB * KIB
"""Octets of the database kept in clear in memory: reading a page anew means decrypting it, some 5 µs."""

SNAPSHOT_MAILBOXES: Final = 16
"""Mailboxes whose rows are kept at most; readers switch between a few."""

SNAPSHOT_MESSAGES: Final = 200_000
"""Messages in them together: some 200 octets each, which open sessions share."""

RECENT_OCTETS: Final = 16 * KIB * KIB
"""Octets of messages read last that are kept: some thousand usual ones, or a few dozen large ones."""

RECENT_FEW: Final = 16
"""Messages whose structures are asked for together, up to which they are kept."""

GROUP_WRITES: Final = 64
"""Calls whose writes are one commit at most."""

GROUP_TIME: Final = 0.02
"""Seconds after which a group takes in no further write: some commits' worth, which its first call waits for."""
