"""Secrets sealed under a passphrase: recovery kits and keys at rest.

Layout: the kind's first line ‖ Argon2id memory in KiB, passes, lanes (4 octets each, big-endian) ‖ salt (16) ‖
nonce (12) ‖ AES-256-GCM of the secret under the stretched passphrase; what precedes the ciphertext is its associated
data.
"""

import secrets
import struct
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from p2pcore.crypto.passwords import SALT_SIZE, Stretching
from p2pcore.errors import Malformed, Tampered

_PARAMETERS = struct.Struct(f">III{SALT_SIZE}s")
_NONCE_SIZE = 12


class Stretched:
    """A passphrase and the keys made of it so far: each takes about 0.1 s and 64 MiB, once. For threads as well.

    All that one object seals has the same salt, so that one stretching opens it all again.
    """

    def __init__(self, passphrase: str) -> None:
        self._passphrase = passphrase
        self._keys: dict[Stretching, bytes] = {}
        self._own: Stretching | None = None
        self._lock = threading.Lock()

    def seal(self, kind: bytes, secret: bytes) -> bytes:
        """Return `secret` under the passphrase; the octets begin with `kind`."""
        own = self._ours()
        head = kind + _PARAMETERS.pack(own.memory, own.passes, own.lanes, own.salt) + secrets.token_bytes(_NONCE_SIZE)
        return head + self._cipher(own).encrypt(head[-_NONCE_SIZE:], secret, head)

    def open(self, kind: bytes, octets: bytes, what: str) -> bytes:
        """Return the secret in `octets`. Raises Malformed (not of this kind), Tampered (wrong passphrase, altered)."""
        head = octets[: len(kind) + _PARAMETERS.size + _NONCE_SIZE]
        if not octets.startswith(kind) or len(octets) == len(head):
            raise Malformed(f"not a {what}")
        memory, passes, lanes, salt = _PARAMETERS.unpack_from(head, len(kind))
        stretching = Stretching(salt, memory, passes, lanes)
        try:
            return self._cipher(stretching).decrypt(head[-_NONCE_SIZE:], octets[len(head) :], head)
        except InvalidTag as error:
            raise Tampered(f"{what} does not open: wrong passphrase, or damaged") from error

    def _ours(self) -> Stretching:
        with self._lock:
            if self._own is None:
                self._own = next(iter(self._keys), None) or Stretching.fresh()
            return self._own

    def _cipher(self, stretching: Stretching) -> AESGCM:
        with self._lock:
            if stretching not in self._keys:
                self._keys[stretching] = stretching.key(self._passphrase)
            return AESGCM(self._keys[stretching])
