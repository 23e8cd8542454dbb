"""Every number of the SMTP server, with its source or its reason. Times are in milliseconds, sizes in octets."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE

# Lines and content
MAX_COMMAND_LINE = 4_096  # RFC 5321 §4.5.3.1.4 asks for 512; SMTPUTF8, long paths and parameters add to it
MAX_CONTENT_LINE = 64 * 1024  # RFC 5322 §2.1.1 says 998; longer lines occur and are taken unchanged
MAX_HEADER_SCAN = 1 << 20  # of a header section: it is looked at whole, and nobody's is longer
MAX_RECEIVED_FIELDS = 100  # RFC 5321 §6.3: "normally at least 100"
MAX_MESSAGE_SIZE = 64 << 20

# Submission
MEMORY_CONTENT = 1 << 20  # octets of one submitted content kept as they are; more go to a file in memory
MAX_AUTH_LINE = 12_288  # RFC 4954 §4
LOGIN_FAILURES = 5  # in one session; then it ends
FAILED_LOGINS = 30  # of one client within LOGIN_WINDOW; then its logins are not looked at
LOGIN_WINDOW = 15 * MINUTE
FAILED_LOGIN_DELAY = SECOND  # before the first refusal, doubled with each in the session

# Reading
COMMAND_BUFFER = 64 * 1024  # octets buffered from a client that is not sending content
CONTENT_BUFFER = 1 << 20  # octets buffered while content arrives; small buffers cost a wake-up per 2 KB
CONTENT_CHUNK = 256 * 1024  # octets handed to the scanner at once
COMMANDS_IN_A_ROW = 100  # pipelined commands run before other sessions get their turn

# Sealing
SEAL_CHUNK = 1 << 20  # one segment of a sealed body
INLINE_SEAL = 64 * 1024  # up to this it is quicker to seal on the event loop than to wake a thread
MEMORY_SEALED = 1 << 20  # sealed octets of one message that stay in memory; more go to an unlinked file

# Verification
VERIFY_DEADLINE = 10 * SECOND  # SPF, DKIM, DMARC and the client's name together
VERIFY_THREADS = 16  # threads that wait for SPF's DNS answers
VERIFY_CACHE = MINUTE  # what DNS said about a sender is believed for; shorter than TTLs are in practice
VERIFY_CACHED = 10_000  # senders, clients and domains each
MAX_SIGNATURES = 8  # DKIM signatures looked at; RFC 6376 §6.1 lets a verifier limit them
MAX_SIGNATURE = 16 * 1024  # octets of a signature field; a long list of names makes 2 KiB
DKIM_LEEWAY = 10 * 3_600  # seconds that a signer's clock may differ from ours
INLINE_VERIFY = 64 * 1024  # octets of header to be hashed on the event loop

# Time
COMMAND_TIMEOUT = 5 * MINUTE  # RFC 5321 §4.5.3.2.7
DATA_TIMEOUT = 3 * MINUTE  # between two blocks of content, RFC 5321 §4.5.3.2.5
CONTENT_TIMEOUT = 60 * MINUTE  # for all of one content: who drips octets does not hold a session for ever
FRUITLESS_TIMEOUT = 30 * MINUTE  # without a mail kept: NOOP and RSET do not hold a session for ever either
# The last resort: verification has its own deadline, and p2pcore waits 60 s for quorum (twice for a large body)
TRANSACTION_DEADLINE = 140 * SECOND
TLS_TIMEOUT = 60 * SECOND
GOODBYE_TIMEOUT = 5 * SECOND  # for a closed connection's last reply to leave
STOP_GRACE = 30 * SECOND  # running transactions may finish within this when the server stops

# Limits
CONNECTIONS = 1_000
CONNECTIONS_PER_CLIENT = 50
MESSAGES_PER_MINUTE = 600  # of one client
RECIPIENTS = 200  # RFC 5321 §4.5.3.1.8: at least 100
ERRORS = 20  # 5xx replies in one session
DEFERRALS = 1_000  # 4xx replies in one session since a mail was kept (RFC 5321 §4.5.3.1.10); more count as errors
UNKNOWN_RECIPIENTS = 300  # asked for by one client in an hour: a list of a million guesses takes it 4 months
REPORTS_PER_HOUR = 600  # on stored mail, to one domain; nobody who sends more asks for a report on each
MEMORY = 256 << 20  # content of all sessions together
MAX_CLIENTS_REMEMBERED = 100_000
