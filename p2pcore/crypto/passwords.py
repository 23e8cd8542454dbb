"""What people type: login passwords and passphrases.

Passwords are kept as Argon2id hashes (RFC 9106), with a verifier for SCRAM beside it (RFC 5802, RFC 7677); passphrases
are stretched to keys.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
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


@dataclass(frozen=True, slots=True)
class ScramVerifier:
    """What SCRAM-SHA-256 needs of a password (RFC 5802 §3). Whoever has it can try passwords, and act as the server."""

    iterations: int
    salt: bytes
    stored_key: bytes
    server_key: bytes

    @classmethod
    def of(cls, password: str, salt: bytes, iterations: int = params.SCRAM_ITERATIONS) -> "ScramVerifier":
        """Return the verifier of `password`. Takes about 30 ms."""
        salted = hashlib.pbkdf2_hmac("sha256", _saslprep(password), salt, iterations)
        stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        return cls(iterations, salt, stored_key, hmac.digest(salted, b"Server Key", "sha256"))

    @classmethod
    def decoy(cls, user: str, secret: bytes) -> "ScramVerifier":
        """Return a verifier that fits no password; the same for one `user`, so that asking twice tells nothing."""
        salt = hmac.digest(secret, b"salt" + prepare(user), "sha256")[:SALT_SIZE]
        return cls(params.SCRAM_ITERATIONS, salt, secrets.token_bytes(HASH_SIZE), secrets.token_bytes(HASH_SIZE))

    @classmethod
    def parse(cls, text: str) -> "ScramVerifier":
        """Read `encoded`. Raises Malformed."""
        try:
            scheme, strength, keys = text.split("$")
            iterations, salt = strength.split(":")
            stored_key, server_key = (base64.b64decode(key, validate=True) for key in keys.split(":"))
            verifier = cls(int(iterations), base64.b64decode(salt, validate=True), stored_key, server_key)
        except (ValueError, binascii.Error) as error:
            raise Malformed("not a SCRAM verifier") from error
        if scheme != "SCRAM-SHA-256" or {len(stored_key), len(server_key)} != {HASH_SIZE} or verifier.iterations < 1:
            raise Malformed("not a SCRAM verifier")
        return verifier

    @property
    def encoded(self) -> str:
        """The verifier in the form of RFC 5803 §3."""
        salt, stored, server = (
            base64.b64encode(part).decode("ascii") for part in (self.salt, self.stored_key, self.server_key)
        )
        return f"SCRAM-SHA-256${self.iterations}:{salt}${stored}:{server}"

    def server_signature(self, messages: bytes, proof: bytes) -> bytes | None:
        """Return the server's own proof if `proof` is the client's for this exchange (RFC 5802 §3), else None."""
        if len(proof) != HASH_SIZE:
            return None
        signature = hmac.digest(self.stored_key, messages, "sha256")
        client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self.stored_key):
            return None
        return hmac.digest(self.server_key, messages, "sha256")


def _saslprep(password: str) -> bytes:
    """The mapping and normalisation of RFC 4013 §2.1, §2.2, as clients do it before they hash."""
    kept = (character for character in password if not stringprep.in_table_b1(character))
    spaced = "".join(" " if stringprep.in_table_c12(character) else character for character in kept)
    return unicodedata.normalize("NFKC", spaced).encode("utf-8", "surrogatepass")


def hash_for_login(password: str) -> str:
    """Return the two lines that are kept of a login password: its Argon2id hash and its SCRAM verifier."""
    verifier = ScramVerifier.of(password, secrets.token_bytes(SALT_SIZE))
    return f"{hash_password(password)}\n{verifier.encoded}\n"
