"""The HPKE suites that this network knows (RFC 9180): a key's length tells its suite, what is sealed names it.

    suite            KEM              KDF           AEAD          private octets               public octets
    MLKEM768_X25519  MLKEM768_X25519  HKDF-SHA256   AES-256-GCM   64 (seed) ‖ 32               1,184 ‖ 32
    MLKEM1024_P384   MLKEM1024_P384   HKDF-SHA384   AES-256-GCM   64 (seed) ‖ 48 (scalar)      1,568 ‖ 97 (uncompressed)

Both are hybrids: an opener needs ML-KEM and the curve broken. New keys are of the first one. Both may be in use in one
domain at a time: whoever seals takes the suite of the recipient's key.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import ec, mlkem, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from p2pcore.records import HpkeAlgorithm

Private = hpke.MLKEM768X25519PrivateKey | hpke.MLKEM1024P384PrivateKey
Public = hpke.MLKEM768X25519PublicKey | hpke.MLKEM1024P384PublicKey

_SEED: Final = 64  # octets of an ML-KEM seed (FIPS 203: d ‖ z)
_P384_SCALAR: Final = 48
_ANY_SCALAR: Final = x25519.X25519PrivateKey.from_private_bytes(bytes(32))


@dataclass(frozen=True, slots=True)
class HpkeSuite:
    """One suite; sizes in octets. `overhead` is what a ciphertext is longer than its plaintext.

    `read_private` returns the key and its public octets; both readers raise ValueError.
    """

    algorithm: HpkeAlgorithm
    private_size: int
    public_size: int
    overhead: int
    make: Callable[[], hpke.Suite]
    generate: Callable[[], bytes]
    read_private: Callable[[bytes], tuple[Private, bytes]]
    read_public: Callable[[bytes], Public]


def _generate_768() -> bytes:
    seed = mlkem.MLKEM768PrivateKey.generate().private_bytes_raw()
    return seed + x25519.X25519PrivateKey.generate().private_bytes_raw()


def _private_768(octets: bytes) -> tuple[Private, bytes]:
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(octets[:_SEED])
    curve = x25519.X25519PrivateKey.from_private_bytes(octets[_SEED:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return hpke.MLKEM768X25519PrivateKey(lattice, curve), public


def _public_768(octets: bytes) -> Public:
    lattice = mlkem.MLKEM768PublicKey.from_public_bytes(octets[:1_184])
    curve = x25519.X25519PublicKey.from_public_bytes(octets[1_184:])
    _ANY_SCALAR.exchange(curve)  # ValueError where it is of low order: nobody could seal to it (RFC 7748 §6.1)
    return hpke.MLKEM768X25519PublicKey(lattice, curve)


def _generate_1024() -> bytes:
    seed = mlkem.MLKEM1024PrivateKey.generate().private_bytes_raw()
    return seed + ec.generate_private_key(ec.SECP384R1()).private_numbers().private_value.to_bytes(_P384_SCALAR, "big")


def _private_1024(octets: bytes) -> tuple[Private, bytes]:
    lattice = mlkem.MLKEM1024PrivateKey.from_seed_bytes(octets[:_SEED])
    curve = ec.derive_private_key(int.from_bytes(octets[_SEED:], "big"), ec.SECP384R1())
    point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return hpke.MLKEM1024P384PrivateKey(lattice, curve), lattice.public_key().public_bytes_raw() + point


def _public_1024(octets: bytes) -> Public:
    lattice = mlkem.MLKEM1024PublicKey.from_public_bytes(octets[:1_568])
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), octets[1_568:])
    return hpke.MLKEM1024P384PublicKey(lattice, point)


MLKEM768_X25519: Final = HpkeSuite(
    "hpke-mlkem768x25519-hkdf-sha256-aes-256-gcm",
    96,
    1_216,
    1_136,  # encapsulated key (1,088 + 32) and AES-GCM's tag (16)
    lambda: hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM),
    _generate_768,
    _private_768,
    _public_768,
)
MLKEM1024_P384: Final = HpkeSuite(
    "hpke-mlkem1024p384-hkdf-sha384-aes-256-gcm",
    112,
    1_665,
    1_681,  # encapsulated key (1,568 + 97) and AES-GCM's tag (16)
    lambda: hpke.Suite(hpke.KEM.MLKEM1024_P384, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM),
    _generate_1024,
    _private_1024,
    _public_1024,
)
SUITES: Final = (MLKEM768_X25519, MLKEM1024_P384)
BY_PRIVATE_SIZE: Final = {suite.private_size: suite for suite in SUITES}
BY_PUBLIC_SIZE: Final = {suite.public_size: suite for suite in SUITES}
