"""Every number of outgoing delivery, with its source or its reason. Times are in milliseconds."""

from typing import Final

from p2pcore.params import DAY, HOUR, MINUTE, SECOND

# Schedule (RFC 5321 §4.5.4.1)
RETRY_FIRST: Final = 5 * MINUTE  # greylisting usually opens after that
RETRY_LAST: Final = 4 * HOUR
RETRY_JITTER: Final = 0.1  # part of an interval, so that what failed together does not come back together
DELAYED_AFTER: Final = 2 * HOUR  # then the sender hears that it is delayed
GIVE_UP_AFTER: Final = 5 * DAY  # RFC 5321 §4.5.4.1: at least 4 to 5 days
SUBMISSION_KEPT: Final = 30 * DAY  # after the outcome, so that a repeated submission is known
SENDINGS_KEPT: Final = DAY  # what the limit on a user's recipients in a day looks back on
REPORT_RETRY: Final = MINUTE  # a report that could not be stored; doubled each time up to RETRY_LAST
NODES_PAUSE: Final = 10 * SECOND  # between tries where node after node comes back
RECORD_RETRY: Final = 10 * SECOND  # an outcome that could not be written down; it is kept in memory meanwhile

# SMTP, as a client (RFC 5321 §4.5.3.2)
CONNECT_TIMEOUT: Final = 30 * SECOND  # TCP; the operating system's own is minutes
COMMAND_TIMEOUT: Final = 5 * MINUTE  # greeting, EHLO, MAIL, RCPT
DATA_TIMEOUT: Final = 2 * MINUTE  # the reply to DATA
BLOCK_TIMEOUT: Final = 3 * MINUTE  # one block of content
FINAL_TIMEOUT: Final = 10 * MINUTE  # the reply after the dot
QUIT_TIMEOUT: Final = 5 * SECOND  # nothing depends on it
BLOCK: Final = 256 * 1024  # octets of content written at once

# Bounds
MAX_HOSTS: Final = 10  # MX hosts looked at
MAX_ENDPOINTS: Final = 10  # endpoints dialled in one attempt, over all hosts
HOST_ENDPOINTS: Final = 4  # of one host, where there are others (RFC 5321 §5.1: two at least)
MAX_TRANSACTION_RECIPIENTS: Final = 100  # RFC 5321 §4.5.3.1.8: what every server takes
MAX_TRANSACTIONS: Final = 100  # messages over one connection, then a new one
DESTINATION_CONNECTIONS: Final = 5  # at once to one destination
CONNECTIONS: Final = 100  # at once to all destinations
REPORT_CONNECTIONS: Final = 20  # of them for reports to strangers, whose hosts strangers choose
OPENING: Final = 10 * MINUTE  # then no further host of a domain is dialled; two that say nothing take that long
SILENT: Final = 30 * MINUTE  # how long an endpoint that took no connection is dialled after the others of its domain
MAX_SILENT: Final = 10_000  # endpoints of which that is remembered
DESTINATION_PAUSE: Final = MINUTE  # no new connection after all its hosts failed; doubled each time
DESTINATION_PAUSE_LAST: Final = 16 * MINUTE  # how old the word on a recipient who is given up can be
MAX_PAUSES: Final = 10_000  # destinations whose pause is remembered
MAX_UNDER_WAY: Final = 1_000  # deliveries begun at once
DOMAIN_UNDER_WAY: Final = 100  # of them to one domain, so that one that answers slowly leaves room to the others
STRANGERS_UNDER_WAY: Final = 50  # of them with a null reverse-path, reports to strangers; half of a domain's share
REPORTS_UNDER_WAY: Final = 20  # reports made, and again reports stored, at once
RETRY_AT_ONCE: Final = 1_000  # recipients that an administrator's retry makes due in one transaction: some 15 ms
LISTED: Final = 1_000  # items that an administrator is shown
LISTED_RECIPIENTS: Final = 20_000  # recipients of them, all together
CLOCK_CHECK: Final = 10 * MINUTE  # the longest wait by timer: a clock that was set does not hold the queue up
MEMORY: Final = 256 << 20  # octets of content in clear at once; one message may exceed it alone
SMALL: Final = 1 << 20  # octets of a message that never waits for memory behind larger ones
SMALL_MEMORY: Final = 64 << 20  # of MEMORY, for those alone
REPLY_HELD: Final = 16 << 10  # octets of a reply in memory: more than any host says in answer to EHLO
MAX_REPLY_READ: Final = 1 << 20  # octets of a reply, then it is none
MAX_REPLY: Final = 1_000  # characters of a reply that are kept
