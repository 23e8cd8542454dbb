"""Every number of the IMAP server, with its source or its reason. Times are in seconds, sizes in octets."""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20

# Input
MAX_LINE = 64 * KIB  # all lines of one command together; RFC 7162 §4 asks for at least 8,192
MAX_LITERALS = 256  # in one command
MEMORY_LITERALS = 256 * KIB  # of one command, kept in memory; larger ones are refused or spooled
SPOOL_ABOVE = 64 * KIB  # an APPEND literal above this goes to an unlinked temporary file while it arrives
MAX_SPOOLS = 64  # such files of one command (MULTIAPPEND); each is an open descriptor
APPEND_TOTAL = 256 * MIB  # octets in them, or one message of the configured size if that is more
PREAUTH_LITERALS = 4 * KIB  # before login: a name and a password
DISCARD_LIMIT = 256 * MIB  # a refused non-synchronising literal is read and dropped up to this, else BYE
INPUT_HIGH_WATER = 256 * KIB  # a client that pipelines more than this waits
COMMANDS_IN_A_ROW = 16  # of one client, before the others have their turn
MAX_DEPTH = 32  # nested parentheses of one command (SEARCH keys); real clients stay below 5

# Output
FLUSH_ABOVE = 128 * KIB  # responses are gathered up to this before they are written
OUTPUT_HIGH_WATER = 256 * KIB  # written and not yet taken by the client, before the session waits
BODY_PIECE = 256 * KIB  # a larger body leaves in pieces of this size, each waiting for the one before
FETCH_BATCH = 256  # messages whose precomputed structures are held at once
FETCH_FIRST = 16  # of them in the first batch
FETCH_PLANS = 64  # lists of items that are remembered; readers ask for a few again and again
FETCH_REMEMBERED = 1 * KIB  # a longer list is not
FETCH_OCTETS = 1 * MIB  # of small messages read at once
FETCH_STRUCTURED = 32 * MIB  # of messages whose precomputed structures are held at once: some are five times as long
NUMBERS_AT_ONCE = 4_096  # of a SEARCH response; a long one leaves in pieces
WRITE_TIMEOUT = 300.0  # a client that takes nothing for so long is cut off

# Patience
LOGIN_FAILURES = 3  # failed logins before BYE
MAX_BAD = 25  # BAD commands without an OK between them before BYE: not an IMAP client
STOP_GRACE = 5.0  # commands under way may finish for so long when the server stops
TLS_HANDSHAKE_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class ImapLimits:
    """What an administrator may set. `message_size` is the largest APPEND (RFC 7889)."""

    connections: int = 1_000  # of the whole server
    connections_per_account: int = 40  # Thunderbird opens 5, several clients may run
    message_size: int = 64 * MIB  # what the SMTP side takes by default
    login_timeout: float = 60.0  # from connect to a successful login
    autologout: float = 1_800.0  # RFC 3501 §5.4: at least 30 minutes
    failed_login_delay: float = 1.0  # doubles with every failure of the same connection
