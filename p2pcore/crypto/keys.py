"""Ed25519 signing keys and the hybrid post-quantum HPKE keys that things are sealed to."""

import hashlib
from functools import cached_property, lru_cache

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from p2pcore.crypto.hpke_suites import BY_PRIVATE_SIZE, BY_PUBLIC_SIZE, MLKEM768_X25519, HpkeSuite, Public
from p2pcore.errors import Malformed, SignatureRefused, Tampered
from p2pcore.records import HpkeAlgorithm

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
    """A public HPKE key of one of the suites known."""

    def __init__(self, octets: bytes, suite: HpkeSuite, public: Public) -> None:
        self.public_bytes = octets
        self._suite = suite
        self._public = public

    @staticmethod
    @lru_cache(_PARSED_KEYS)
    def from_bytes(octets: bytes) -> "HpkePublic":
        """Return the key that the octets are; their number tells the suite. Raises Malformed."""
        suite = BY_PUBLIC_SIZE.get(len(octets))
        if suite is None:
            raise Malformed(f"HPKE public key of {len(octets)} octets: of no algorithm that is known here")
        try:
            public = suite.read_public(octets)
        except ValueError as error:
            raise Malformed(f"HPKE public key: {error}") from error
        return HpkePublic(octets, suite, public)

    @property
    def algorithm(self) -> HpkeAlgorithm:
        """What is sealed to this key says that it was sealed with."""
        return self._suite.algorithm

    @cached_property
    def fingerprint(self) -> bytes:
        """SHA-256 of the public key."""
        return hashlib.sha256(self.public_bytes).digest()

    def seal(self, info: bytes, plaintext: bytes) -> bytes:
        """Return `plaintext` sealed to this key (RFC 9180 §6.1, base mode), the suite's overhead longer."""
        return self._suite.make().encrypt(plaintext, self._public, info)


class HpkeKey:
    """A private HPKE key of one of the suites known."""

    def __init__(self, octets: bytes) -> None:
        suite = BY_PRIVATE_SIZE.get(len(octets))
        if suite is None:
            raise Malformed(f"HPKE private key of {len(octets)} octets: of no algorithm that is known here")
        try:
            self._private, self.public_bytes = suite.read_private(octets)
        except ValueError as error:
            raise Malformed(f"HPKE private key: {error}") from error
        self._suite = suite
        self.private_bytes = octets
        self.fingerprint = hashlib.sha256(self.public_bytes).digest()

    @classmethod
    def generate(cls, suite: HpkeSuite = MLKEM768_X25519) -> "HpkeKey":
        """Return a fresh random key."""
        return cls(suite.generate())

    @classmethod
    def from_bytes(cls, octets: bytes) -> "HpkeKey":
        """Return the key whose private form the octets are; their number tells the suite. Raises Malformed."""
        return cls(octets)

    @property
    def algorithm(self) -> HpkeAlgorithm:
        """What this key opens."""
        return self._suite.algorithm

    def open(self, info: bytes, ciphertext: bytes) -> bytes:
        """Return what was sealed to this key under `info`. Raises Tampered."""
        try:
            return self._suite.make().decrypt(ciphertext, self._private, info)
        except (InvalidTag, ValueError) as error:
            raise Tampered("HPKE ciphertext does not open") from error


def seal_to(public: bytes, info: bytes, plaintext: bytes) -> bytes:
    """Return `plaintext` sealed to the HPKE key `public` under `info`. Raises Malformed."""
    return HpkePublic.from_bytes(public).seal(info, plaintext)


def open_with(key: HpkeKey, info: bytes, ciphertext: bytes) -> bytes:
    """Return the plaintext that was sealed to `key` under `info`. Raises Tampered."""
    return key.open(info, ciphertext)
