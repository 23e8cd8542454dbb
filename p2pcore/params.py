"""Every number of the peer-to-peer side, with its source or its reason. Times are in milliseconds."""

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# Identifiers and keys
KEY_SIZE = 32  # octets: SHA-256, the 256-bit space of p2pMail's node IDs
MAX_ADDRESS = 254  # RFC 5321 §4.5.3.1.3 (256 octets with the angle brackets)
MAX_LOCAL_PART = 64  # RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 255  # RFC 5321 §4.5.3.1.2

# Replication (§2.1: the k closest nodes; quorum w with k/2 < w <= k)
VERSIONED_REPLICAS = 20  # certificates and domain records: always the 20 closest, whatever k is
MAX_K = 20  # one k-bucket; the paper expects 10 to 20 copies (§7)
MAX_CONNECTIONS_FACTOR = 2  # maxConnections (§6): at most this many times k peers per operation
WRITE_DEADLINE = 60 * SECOND  # waiting for quorum; RFC 5321 §4.5.3.2.6 gives clients 10 minutes after the dot
REQUEST_TIMEOUT = 10 * SECOND  # one small request to one node; larger ones get time by size
HEDGE_DELAY = 300  # a second replica is asked when the first has not answered by then
MIN_THROUGHPUT = 64 * 1024  # octets/s that a large transfer must reach, else the peer counts as unreachable

# Kademlia
ALPHA = 3  # concurrent requests of one lookup
BUCKET_SIZE = 20
DATAGRAM_LIMIT = 1_400  # octets: below the usual path MTU with room for headers
LOOKUP_DEADLINE = 5 * SECOND

# Lifetimes
OBJECT_LIFETIME = 180 * DAY  # signed expiry of bodies and entries
MAX_LIFETIME = 400 * DAY  # nothing is accepted with a later expiry
TOMBSTONE_GRACE = 2 * DAY  # tombstones and acknowledgements outlive what they speak of
DIRECT_SKEW = 10 * MINUTE  # a statement straight from its signer is at most this old or early
JUDGING_TOLERANCE = HOUR  # tolerance when a certificate's dates are compared with a statement's
NOT_BEFORE_SETBACK = DAY  # certificates start this long before they are issued
CLOCK_WARNING = 5 * MINUTE  # from the peers' median: said in status, a gateway answers 451
VERSION_AHEAD = 15 * MINUTE  # a version's time may be this far ahead of ours
RECORD_VALIDITY = 30 * DAY  # nextUpdate of a domain record
HEAD_INTERVAL = 5 * MINUTE
DORMANT_AFTER = 60 * DAY  # an owner who has not read for so long: 450 4.2.1
DIRECTORY_LIFETIME = 90 * DAY
CERTIFICATE_LIFETIME = 400 * DAY
AUTHORITY_LIFETIME = 20 * 365 * DAY
EXPIRED_USER_RECEIVES = 90 * DAY  # an expired user certificate is still sealed to for so long

# Sizes (octets)
SEGMENT_SIZE = 1 << 20  # of sealed bodies
INLINE_BODY = 1 << 20  # sealed bodies up to this travel inside a batch, larger ones in a PUT of their own
MAX_BODY = 96 << 20  # sealed; a 64 MiB message and its padding fit
MAX_NOTIFICATION = 64 << 10  # sealed
NOTIFICATION_CLASSES = (2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 56 << 10)  # padded plaintext sizes
MAX_CERTIFICATE = 8 << 10
MAX_DOMAIN_RECORD = 4 << 20
MAX_BATCH = 8 << 20
MAX_BATCH_OPERATIONS = 1_000
MAX_DELETE_RIGHTS = 1_000  # recipients of one body
MAX_ACKNOWLEDGED = 1_000  # entries named by one acknowledgement
MAX_MERKLE_LEAVES = 1 << 20

# Inboxes, per node
INBOX_MAX_ENTRIES = 50_000
INBOX_MAX_OCTETS = 256 << 20
PAGE_ENTRIES = 500  # entries in one read-inbox answer
PAGE_OCTETS = 4 << 20
WATCH_WAIT = 30 * SECOND  # a long poll is answered after this at the latest
RCPT_CACHE = 30 * SECOND  # how long an inbox's status is believed

# Transport signatures (RFC 9421)
REQUEST_SKEW = 5 * MINUTE
MAX_NONCES = 1_000_000  # remembered per node for 2 × REQUEST_SKEW
