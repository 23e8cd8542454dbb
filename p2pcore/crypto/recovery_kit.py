"""The recovery kit: a copy of a user's identity under a passphrase, as octets that the caller keeps.

It is an encoded records.Identity under a passphrase (see `under_passphrase`), beginning with "p2pmail kit 1\\n".
"""

from p2pcore.crypto.under_passphrase import Stretched
from p2pcore.records import Identity, decode, encode

_MAGIC = b"p2pmail kit 1\n"


def seal_kit(identity: Identity, passphrase: str) -> bytes:
    """Return a recovery kit with `identity` under `passphrase`. Takes about 0.1 s."""
    return Stretched(passphrase).seal(_MAGIC, encode(identity))


def open_kit(kit: bytes, passphrase: str) -> Identity:
    """Return the identity in a recovery kit. Raises Malformed (no kit), Tampered (wrong passphrase, or altered)."""
    return decode(Identity, Stretched(passphrase).open(_MAGIC, kit, "recovery kit"))
