"""keys: Ed25519 and hybrid HPKE keys, from and to octets."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.crypto.hpke_suites import BY_PUBLIC_SIZE, MLKEM768_X25519, MLKEM1024_P384, SUITES, HpkeSuite
from p2pcore.crypto.keys import (
    HpkeKey,
    HpkePublic,
    SigningKey,
    open_with,
    seal_to,
    verify,
)
from p2pcore.errors import Malformed, SignatureRefused, Tampered


def test_signing_key_survives_its_octets() -> None:
    """A key restored from its 32 octets has the same public key, and its fingerprint is SHA-256 of that."""
    key = SigningKey.generate()
    again = SigningKey.from_bytes(key.private_bytes)
    assert again.public_bytes == key.public_bytes
    assert again.fingerprint == hashlib.sha256(key.public_bytes).digest()


def test_rfc_8032_vector() -> None:
    """RFC 8032 §7.1, test 2."""
    key = SigningKey.from_bytes(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public_bytes.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_verify_refuses() -> None:
    """Another signature, other data, another key and what is no key are all refused alike."""
    key = SigningKey.generate()
    signature = key.sign(b"data")
    verify(key.public_bytes, signature, b"data")
    for public, given_signature, data in (
        (key.public_bytes, signature[:-1] + bytes([signature[-1] ^ 1]), b"data"),
        (key.public_bytes, signature, b"Data"),
        (SigningKey.generate().public_bytes, signature, b"data"),
        (b"short", signature, b"data"),
        (key.public_bytes, b"short", b"data"),
    ):
        with pytest.raises(SignatureRefused):
            verify(public, given_signature, data)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_signing_key_of_another_size(size: int) -> None:
    """A private key has 32 octets."""
    with pytest.raises(Malformed):
        SigningKey.from_bytes(bytes(size))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.algorithm)
def test_hpke_round_trip_and_overhead(suite: HpkeSuite) -> None:
    """What is sealed to a key opens with it under the same info, and is longer by the suite's overhead."""
    key = HpkeKey.generate(suite)
    assert (len(key.private_bytes), len(key.public_bytes)) == (suite.private_size, suite.public_size)
    sealed = seal_to(key.public_bytes, b"info", b"plaintext")
    assert len(sealed) == len(b"plaintext") + suite.overhead
    assert open_with(HpkeKey.from_bytes(key.private_bytes), b"info", sealed) == b"plaintext"


def test_new_hpke_keys_are_of_the_first_suite() -> None:
    """Others are taken where somebody has them."""
    assert HpkeKey.generate().algorithm == MLKEM768_X25519.algorithm


def test_suites_do_not_open_each_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ciphertext of one suite is no ciphertext of another."""
    one, other = HpkeKey.generate(MLKEM768_X25519), HpkeKey.generate(MLKEM1024_P384)
    for sealed_to, opened_by in ((one, other), (other, one)):
        with pytest.raises(Tampered):
            opened_by.open(b"info", seal_to(sealed_to.public_bytes, b"info", b"plaintext"))


@pytest.mark.parametrize("size", [0, 32, 65, 1_184, 1_217, 1_664, 5_000])
def test_hpke_keys_of_no_suite(size: int) -> None:
    """A key of an algorithm that is not known here is refused, and the failure says that this is why."""
    assert size not in BY_PUBLIC_SIZE
    for make in (HpkePublic.from_bytes, HpkeKey.from_bytes):
        with pytest.raises(Malformed, match="of no algorithm that is known here"):
            make(bytes(size))


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.algorithm)
def test_hpke_fingerprints_agree(suite: HpkeSuite) -> None:
    """Both halves of a key are known by SHA-256 of the public octets."""
    key = HpkeKey.generate(suite)
    assert HpkePublic.from_bytes(key.public_bytes).fingerprint == key.fingerprint
    assert key.fingerprint == hashlib.sha256(key.public_bytes).digest()


def test_hpke_refuses() -> None:
    """Another info, another key, a changed, cut or empty ciphertext do not open."""
    key = HpkeKey.generate()
    sealed = seal_to(key.public_bytes, b"info", b"plaintext")
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for opener, info, ciphertext in (
        (key, b"other", sealed),
        (HpkeKey.generate(), b"info", sealed),
        (key, b"info", changed),
        (key, b"info", sealed[:-1]),
        (key, b"info", b""),
    ):
        with pytest.raises(Tampered):
            open_with(opener, info, ciphertext)


@pytest.mark.parametrize("public", [b"", bytes(1_215), bytes(1_216), b"\xff" * 1_216], ids=["0", "1215", "zeros", "ff"])
def test_bad_hpke_public_keys(public: bytes) -> None:
    """Octets that are no key are Malformed when they are read, before a certificate is made of them."""
    with pytest.raises(Malformed):
        HpkePublic.from_bytes(public)


LOW_ORDER = [
    *(value.to_bytes(32, "little") for value in (0, 1, 2**255 - 20, 2**255 - 19, 2**255 - 18)),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
]


@pytest.mark.parametrize("share", LOW_ORDER, ids=bytes.hex)
def test_an_hpke_public_key_of_low_order(share: bytes) -> None:
    """What contributes nothing (RFC 7748 §6.1) is Malformed too: nobody can seal to it (RFC 9180 §7.1.4)."""
    lattice = HpkeKey.generate().public_bytes[:1_184]
    with pytest.raises(Malformed):
        HpkePublic.from_bytes(lattice + share)


@pytest.mark.parametrize("size", [0, 95, 97])
def test_bad_hpke_private_keys(size: int) -> None:
    """A private HPKE key has 96 octets."""
    with pytest.raises(Malformed):
        HpkeKey.from_bytes(bytes(size))


@given(st.binary(max_size=1_300))
def test_arbitrary_ciphertexts(ciphertext: bytes) -> None:
    """Invariant: opening arbitrary octets raises Tampered, nothing else."""
    key = HpkeKey.from_bytes(bytes(range(96)))
    with pytest.raises(Tampered):
        key.open(b"", ciphertext)


def test_parsed_public_keys_are_kept_ready() -> None:
    """A recipient's key is parsed once; one that is refused is refused again."""
    octets = HpkeKey.generate().public_bytes
    assert HpkePublic.from_bytes(octets) is HpkePublic.from_bytes(bytes(bytearray(octets)))
    for _ in range(2):
        with pytest.raises(Malformed):
            HpkePublic.from_bytes(octets[:-1])
