"""Secrets sealed under a passphrase: recovery kits and keys at rest.

Layout: the kind's first line ‖ Argon2id memory in KiB, passes, lanes (4 octets each, big-endian) ‖ salt (16) ‖
nonce (12) ‖ AES-256-GCM of the secret under the stretched passphrase; what precedes the ciphertext is its associated
data.
"""

import secrets
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pcore.crypto.passwords import SALT_SIZE, Stretching
from p2pcore.errors import Malformed, Tampered

_PARAMETERS = struct.Struct(f">III{SALT_SIZE}s")
_NONCE_SIZE = 12


def seal_under(kind: bytes, secret: bytes, passphrase: str) -> bytes:
    """Return `secret` under `passphrase`; the octets begin with `kind`. Takes about 0.1 s."""
    stretching = Stretching.fresh()
    head = kind + _PARAMETERS.pack(stretching.memory, stretching.passes, stretching.lanes, stretching.salt)
    head += secrets.token_bytes(_NONCE_SIZE)
    cipher = AESGCM(stretching.key(passphrase))
    return head + cipher.encrypt(head[-_NONCE_SIZE:], secret, head)


def open_under(kind: bytes, octets: bytes, passphrase: str, what: str) -> bytes:
    """Return the secret in `octets`. Raises Malformed (not of this kind), Tampered (wrong passphrase, or altered)."""
    head = octets[: len(kind) + _PARAMETERS.size + _NONCE_SIZE]
    if not octets.startswith(kind) or len(octets) == len(head):
        raise Malformed(f"not a {what}")
    memory, passes, lanes, salt = _PARAMETERS.unpack_from(head, len(kind))
    cipher = AESGCM(Stretching(salt, memory, passes, lanes).key(passphrase))
    try:
        return cipher.decrypt(head[-_NONCE_SIZE:], octets[len(head) :], head)
    except InvalidTag as error:
        raise Tampered(f"{what} does not open: wrong passphrase, or damaged") from error
