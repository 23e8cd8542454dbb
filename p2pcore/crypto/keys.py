"""Ed25519 signing keys and the hybrid post-quantum HPKE keys that things are sealed to."""

import hashlib
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from p2pcore.errors import Malformed, SignatureRefused, Tampered

HPKE_ALGORITHM = "hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm"
HPKE_PRIVATE_SIZE = 96  # 64-octet ML-KEM-768 seed ‖ 32-octet X25519 key
HPKE_PUBLIC_SIZE = 1_216  # 1,184-octet ML-KEM-768 key ‖ 32-octet X25519 key
HPKE_OVERHEAD = 1_136  # encapsulated key (1,088 + 32) and AES-GCM's tag (16)
_MLKEM_SEED_SIZE = 64
_MLKEM_PUBLIC_SIZE = 1_184
_PARSED_KEYS = 1_000  # public keys of either kind kept ready for use: the same few sign or receive most of what comes


class SigningKey:
    """An Ed25519 private key (RFC 8032)."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @classmethod
    def generate(cls) -> "SigningKey":
        """Return a fresh random key."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_bytes(cls, octets: bytes) -> "SigningKey":
        """Return the key whose 32-octet seed is `octets`. Raises Malformed."""
        try:
            return cls(Ed25519PrivateKey.from_private_bytes(octets))
        except ValueError as error:
            raise Malformed(f"Ed25519 private key of {len(octets)} octets, not 32") from error

    @cached_property
    def private_bytes(self) -> bytes:
        """The 32-octet seed."""
        return self._private.private_bytes_raw()

    @cached_property
    def public_bytes(self) -> bytes:
        """The 32-octet public key."""
        return self._private.public_key().public_bytes_raw()

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the public key; a node's ID."""
        return hashlib.sha256(self.public_bytes).digest()

    def sign(self, data: bytes) -> bytes:
        """Return the 64-octet signature over `data`, which the caller has given a context of its own."""
        return self._private.sign(data)


def verify(public: bytes, signature: bytes, data: bytes) -> None:
    """Return if `signature` is the Ed25519 signature of `public` (32 octets) over `data`. Raises SignatureRefused."""
    try:
        _ed25519(public).verify(signature, data)
    except (InvalidSignature, ValueError) as error:
        raise SignatureRefused("Ed25519 signature does not verify") from error


@lru_cache(_PARSED_KEYS)
def _ed25519(public: bytes) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(public)


class HpkePublic:
    """A public MLKEM768_X25519 key as 1,216 octets."""

    def __init__(self, octets: bytes, public: hpke.MLKEM768X25519PublicKey) -> None:
        self.public_bytes = octets
        self._public = public

    @staticmethod
    @lru_cache(_PARSED_KEYS)
    def from_bytes(octets: bytes) -> "HpkePublic":
        """Return the key that the 1,216 octets are. Raises Malformed."""
        if len(octets) != HPKE_PUBLIC_SIZE:
            raise Malformed(f"HPKE public key of {len(octets)} octets, not {HPKE_PUBLIC_SIZE}")
        try:
            public = hpke.MLKEM768X25519PublicKey(
                mlkem.MLKEM768PublicKey.from_public_bytes(octets[:_MLKEM_PUBLIC_SIZE]),
                x25519.X25519PublicKey.from_public_bytes(octets[_MLKEM_PUBLIC_SIZE:]),
            )
        except ValueError as error:
            raise Malformed(f"HPKE public key: {error}") from error
        return HpkePublic(octets, public)

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the public key."""
        return hashlib.sha256(self.public_bytes).digest()

    def seal(self, info: bytes, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed to this key (RFC 9180 §6.1, base mode), HPKE_OVERHEAD octets longer."""
        try:
            return _suite().encrypt(plaintext, self._public, info)
        except ValueError as error:  # an all-zero X25519 share, RFC 9180 §7.1.4
            raise Malformed(f"HPKE public key: {error}") from error


class HpkeKey:
    """A private MLKEM768_X25519 key as 96 octets."""

    def __init__(self, octets: bytes) -> None:
        if len(octets) != HPKE_PRIVATE_SIZE:
            raise Malformed(f"HPKE private key of {len(octets)} octets, not {HPKE_PRIVATE_SIZE}")
        mlkem_key = mlkem.MLKEM768PrivateKey.from_seed_bytes(octets[:_MLKEM_SEED_SIZE])
        x25519_key = x25519.X25519PrivateKey.from_private_bytes(octets[_MLKEM_SEED_SIZE:])
        self._private = hpke.MLKEM768X25519PrivateKey(mlkem_key, x25519_key)
        self.private_bytes = octets
        self.public_bytes = mlkem_key.public_key().public_bytes_raw() + x25519_key.public_key().public_bytes_raw()
        self.fingerprint = hashlib.sha256(self.public_bytes).digest()

    @classmethod
    def generate(cls) -> "HpkeKey":
        """Return a fresh random key."""
        seed = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
        return cls(seed + x25519.X25519PrivateKey.generate().private_bytes_raw())

    @classmethod
    def from_bytes(cls, octets: bytes) -> "HpkeKey":
        """Return the key whose private form is the 96 octets. Raises Malformed."""
        return cls(octets)

    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """Return what was sealed to this key under `info`. Raises Tampered."""
        try:
            return _suite().decrypt(ciphertext, self._private, info)
        except (InvalidTag, ValueError) as error:
            raise Tampered("HPKE ciphertext does not open") from error


def _suite() -> hpke.Suite:
    return hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def seal_to(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Return `plaintext` sealed to the HPKE key `public` (1,216 octets) under `info`. Raises Malformed."""
    return HpkePublic.from_bytes(public).seal(info, plaintext)


def open_with(key: HpkeKey, info: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext that was sealed to `key` under `info`. Raises Tampered."""
    return key.open(info, ciphertext)
