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

# Replication (§2.1: the k closest nodes; quorum w with k/2 < w <= k). What the paper's parameters (§6) come to, k being
# the one in force for what is written now, the largest since its issue for what is older:
#
#   operation            maxOps: how often it is done           maxConnections: how many nodes are asked at most
#   store, append-inbox  w times before success, then k times   2k: the next closest for each that fails or is full
#   fetch                once                                   2k, and the node that reported the entry
#   read-inbox           k times: the superset of all           k all the time, 2k once an hour
#   delete, acknowledge  wherever asked, w times at least       2k: older holders too (§2.2)
#   ask-inbox (RCPT)     w times                                k
#   publish              by a majority of VERSIONED_REPLICAS    twice VERSIONED_REPLICAS
#   resolve              by a majority of VERSIONED_REPLICAS    VERSIONED_REPLICAS
#   repair               k times                                k
#
VERSIONED_REPLICAS = 20  # certificates and domain records: always the 20 closest, whatever k is
MAX_K = 20  # one k-bucket; the paper expects 10 to 20 copies (§7)
MAX_CONNECTIONS_FACTOR = 2  # maxConnections (§6): at most this many times k peers per operation
WRITE_DEADLINE = 60 * SECOND  # waiting for quorum; RFC 5321 §4.5.3.2.6 gives clients 10 minutes after the dot
REQUEST_TIMEOUT = 10 * SECOND  # one small request to one node; larger ones get time by size
HEDGE_DELAY = 300  # a second replica is asked when the first has not answered by then
MIN_THROUGHPUT = 64 * 1024  # octets/s that a large transfer must reach, else the peer counts as unreachable

# Availability (§4): estimating p, and the k that status calls for
AVAILABILITY_TARGET = 0.9999  # p_t: the middle of Figure 2's range
AVAILABILITY_OPERATIONS = 2  # n: to read is to get the inbox and the body
UPTIME_INTERVAL = HOUR  # between samples of which nodes are up
UPTIME_FIRST = 5 * MINUTE  # after the start: by then the routing table is whole again
UPTIME_WINDOW = 7 * DAY  # samples kept, and how long a silent node is counted as down
UPTIME_NODES = 40  # nodes followed; more would cost lookups and tell little
UPTIME_SAMPLES = 24  # samples before an estimate is spoken of: nights and days are both in it

# Kademlia
ALPHA = 3  # concurrent requests of one lookup
BUCKET_SIZE = 20
SUBNET_CONTACTS = 2  # of one /24 or /48 in a bucket that contacts of other subnets want room in
DATAGRAM_LIMIT = 1_400  # octets: below the usual path MTU with room for headers
LOOKUP_DEADLINE = 5 * SECOND
LOOKUP_BREADTH = 8  # so many of the closest are asked for however few are wanted: a few liars must not be all of them
DOUBTFUL_SILENT = 5  # contacts of one answer, beyond twice those that live, whose silence makes the answer doubtful
PATIENCE_LEAST = 50  # after this or a usual round trip a silent peer is asked once more, and others beside it
PEER_TIMEOUT_FIRST = 500  # waiting for a peer while nothing is known of round trips; RFC 6298 §2.1 has 1 s
PEER_TIMEOUT_LEAST = 250  # below this a busy peer's pause looks like its death
PEER_TIMEOUT_MOST = 3 * SECOND
LATE_ANSWER = 5 * SECOND  # an answer may still come so long after its timeout and then shows that the peer lives
STRIKES = 3  # timeouts in a row, the wait doubling each time, after which a verified contact is evicted
STRIKES_UNVERIFIED = 2  # the same for a contact that has never answered
DEAD_BACKOFF_FIRST = 5 * SECOND  # a dead contact is not asked for so long; doubled each time up to the next line
DEAD_BACKOFF_LAST = 30 * MINUTE
DEAD_FORGOTTEN_AFTER = 12  # vain attempts in a row: some 4 hours
MAX_PEER_STATES = 10_000  # peers whose round trips and timeouts are remembered
MAX_DEAD = 200  # dead contacts that are asked again by themselves
TABLE_FRESH = MINUTE  # a small table answers lookups by itself so long after it was verified
WARM_REFRESH = 30 * SECOND  # verification of a small table while lookups are being asked for
WARM_AFTER_LOOKUP = 2 * MINUTE
IDLE_REFRESH = 10 * MINUTE  # verification of contacts not heard of while nobody asks for lookups
BUCKET_REFRESH = HOUR  # Kademlia, §2.3
BOOTSTRAP_RETRY_FIRST = SECOND  # doubled each time up to one of the next two lines
BOOTSTRAP_RETRY_LAST = 30 * SECOND  # while no contact is known
BOOTSTRAP_RETRY_CONNECTED = 5 * MINUTE  # for what has not answered while others have: heals a split network
CONTACTS_SAVED_EVERY = 10 * SECOND  # at most; the first change is saved at once
MAX_SAVED_CONTACTS = 200
MAX_OUTSTANDING = 4_096  # datagram requests under way
MAX_PING_BACKS = 64  # verifications of newcomers under way
PING_BACK_INTERVAL = 5 * SECOND  # per newcomer, so that a member cannot make a node ping without end
DATAGRAM_SKEW = 5 * MINUTE  # as REQUEST_SKEW, for requests and replies of the DHT
MAX_SEEN_REQUESTS = 100_000  # of admitted signers, remembered for 2 × DATAGRAM_SKEW
MAX_SOURCES = 10_000  # addresses whose rate is remembered
SOURCE_RATE = 500  # requests/s from one address, several members may share one
SOURCE_BURST = 1_000
INTRODUCTION_RATE = 20  # unknown certificates/s from one address: verifying one costs about 1 ms
INTRODUCTION_BURST = 100
INTRODUCTION_RATE_ALL = 200  # the same from everybody: a fifth of one core
INTRODUCTION_BURST_ALL = 1_000

# Lifetimes
OBJECT_LIFETIME = 180 * DAY  # signed expiry of bodies and entries
MAX_LIFETIME = 400 * DAY  # nothing is accepted with a later expiry
TOMBSTONE_GRACE = 2 * DAY  # tombstones and acknowledgements outlive what they speak of
DIRECT_SKEW = 10 * MINUTE  # a statement straight from its signer is at most this early
JUDGING_TOLERANCE = HOUR  # tolerance when a certificate's dates are compared with a statement's
NOT_BEFORE_SETBACK = DAY  # certificates start this long before they are issued
CLOCK_WARNING = 5 * MINUTE  # from the peers' median: said in status, a gateway answers 451
VERSION_AHEAD = 15 * MINUTE  # a version's time may be this far ahead of ours
RECORD_VALIDITY = 30 * DAY  # nextUpdate of a domain record
HEAD_INTERVAL = 5 * MINUTE
HEAD_LIFETIME = DAY  # an old head still tells how long the directory has been silent
PUBLISH_INTERVAL = DAY  # records and certificates are published again after this, changed or not
PUBLISH_RETRY_FIRST = 5 * SECOND  # after a publication without quorum; doubled each time up to the next line
PUBLISH_RETRY_LAST = HEAD_INTERVAL
INVITATION_LIFETIME = 7 * DAY
MAX_BOOTSTRAP = 20  # nodes listed in the domain record and in invitations: one k-bucket
DORMANT_AFTER = 60 * DAY  # an owner who has not read for so long: 450 4.2.1
DIRECTORY_LIFETIME = 90 * DAY
CERTIFICATE_LIFETIME = 400 * DAY
AUTHORITY_LIFETIME = 20 * 365 * DAY
STALE_CERTIFICATE = 2 * DAY  # a certificate found once stays good while its replicas cannot be reached
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

# Certificates and passphrases
MAX_ISSUED_CERTIFICATE = 6_000  # octets: in base64 it still fits one HTTP header line (8,190)
TRUST_CACHE = 10_000  # certificates kept verified in memory, some 4 kB each
ROOT_CACHE = 4_096  # Merkle roots whose signature has been verified
PASSPHRASE_MEMORY = 64 * 1024  # KiB for Argon2id: RFC 9106 §4, second recommended option (key files, kits)
PASSPHRASE_PASSES = 3
PASSPHRASE_LANES = 4
SCRAM_ITERATIONS = 60_000  # of PBKDF2; RFC 7677 §4 asks for 4,096 at least, and Cyrus SASL refuses more than 65,536
PASSWORD_MEMORY = 19 * 1024  # KiB for Argon2id: logins are frequent, so OWASP's lighter setting
PASSWORD_PASSES = 2
PASSWORD_LANES = 1
