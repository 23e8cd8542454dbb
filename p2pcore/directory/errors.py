"""What the directory refuses beyond the common vocabulary; whatever is raised, the book is as it was before the call.

Failure
├── TemporaryFailure
│   ├── AuthorityLocked     the domain CA's key is not open in this process
│   └── BookUnusable        the book cannot be opened, read or written
├── PermanentFailure
│   ├── AddressTaken        the address is a user's or an alias already
│   ├── NameTaken           a machine of this name, key or endpoint is listed already
│   ├── NotListed           no such user, machine, alias or serial here
│   └── ReplicationRefused  k and w break k/2 < w <= k, or k is above the number of nodes listed
└── Refused
    └── InvitationRefused   the join request fits no open invitation
"""

from p2pcore.errors import PermanentFailure, Refused, TemporaryFailure


class AuthorityLocked(TemporaryFailure):
    """Unlock the CA (its passphrase) on this machine and repeat the call."""


class BookUnusable(TemporaryFailure):
    """The disk, the file or another process stands in the way; the text is SQLite's."""

    status = "4.3.0"


class AddressTaken(PermanentFailure):
    """Remove the user or alias first, or choose another address."""

    status = "5.1.4"  # RFC 3463 §3.2: destination mailbox address ambiguous


class NameTaken(PermanentFailure):
    """Revoke the machine first, or choose another name."""


class NotListed(PermanentFailure):
    """Nothing of this name is in the book."""

    http_status = 404


class ReplicationRefused(PermanentFailure):
    """The seed values or the operator ask for what the network cannot hold."""


class InvitationRefused(Refused):
    """Wrong, expired or used code, or a request for something else than was invited."""

    status = "5.7.8"  # RFC 3463 via RFC 4954 §6: authentication credentials invalid
    http_status = 403
