"""What people type: login passwords, kept as Argon2id hashes, and passphrases, stretched to keys (RFC 9106)."""

import secrets
import unicodedata
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from p2pcore import params
from p2pcore.errors import Malformed

SALT_SIZE = 16  # octets, RFC 9106 §3.1
HASH_SIZE = 32
_MAX_MEMORY = 4 << 20  # KiB: a file that asks for more than 4 GiB is not ours
_MAX_PASSES = 100
_MAX_LANES = 64


@dataclass(frozen=True, slots=True)
class Stretching:
    """Parameters of one passphrase's stretching; they are kept beside what it protects."""

    salt: bytes
    memory: int  # KiB
    passes: int
    lanes: int

    @classmethod
    def fresh(cls) -> "Stretching":
        """Return today's parameters with a random salt."""
        return cls(
            secrets.token_bytes(SALT_SIZE), params.PASSPHRASE_MEMORY, params.PASSPHRASE_PASSES, params.PASSPHRASE_LANES
        )

    def key(self, passphrase: str) -> bytes:
        """Return the 32-octet key of `passphrase`. Takes about 0.1 s. Raises Malformed."""
        bounded = 8 <= self.memory <= _MAX_MEMORY and 1 <= self.passes <= _MAX_PASSES and 1 <= self.lanes <= _MAX_LANES
        if not bounded or len(self.salt) < SALT_SIZE or self.memory < 8 * self.lanes:
            raise Malformed("Argon2id parameters out of bounds")
        argon = Argon2id(
            salt=self.salt, length=HASH_SIZE, iterations=self.passes, lanes=self.lanes, memory_cost=self.memory
        )
        return argon.derive(prepare(passphrase))


def prepare(password: str) -> bytes:
    """Return the octets of `password` that count: UTF-8 of NFC, so that keyboards agree (RFC 8265 §4.2.2)."""
    return unicodedata.normalize("NFC", password).encode("utf-8", "surrogatepass")


def hash_password(password: str) -> str:
    """Return the PHC string of an Argon2id hash of `password` under a random salt. Takes about 20 ms."""
    argon = Argon2id(
        salt=secrets.token_bytes(SALT_SIZE),
        length=HASH_SIZE,
        iterations=params.PASSWORD_PASSES,
        lanes=params.PASSWORD_LANES,
        memory_cost=params.PASSWORD_MEMORY,
    )
    return argon.derive_phc_encoded(prepare(password))


def verify_password(phc: str, password: str) -> bool:
    """Return whether `password` is the one that `phc` was made from; compared in constant time."""
    try:
        Argon2id.verify_phc_encoded(prepare(password), phc)
    except (InvalidKey, ValueError):  # another password; octets that are no hash at all
        return False
    return True
