"""passwords: Argon2id hashes and stretched passphrases."""

import pytest

from p2pcore.crypto.passwords import ScramVerifier, Stretching, hash_for_login, hash_password, verify_password
from p2pcore.errors import Malformed


def test_hash_and_verify() -> None:
    """Only the password itself verifies, and two hashes of it differ by their salt."""
    phc = hash_password("correct horse")
    assert phc.startswith("$argon2id$v=19$")
    assert verify_password(phc, "correct horse")
    assert not verify_password(phc, "correct horsE")
    assert not verify_password(phc, "")
    assert hash_password("correct horse") != phc


def test_composed_and_decomposed_are_one_password() -> None:
    """Keyboards differ in how they compose letters (RFC 8265 §4.2.2)."""
    assert verify_password(hash_password("Mu\u0308nchen"), "M\u00fcnchen")


@pytest.mark.parametrize("phc", ["", "plain", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$AA$AA", "$2b$12$abc"])
def test_what_is_no_hash_verifies_nothing(phc: str) -> None:
    """A damaged or foreign hash refuses every password."""
    assert not verify_password(phc, "")


def test_stretching_depends_on_everything() -> None:
    """The same passphrase and salt give the same key; another of either, another."""
    stretching = Stretching(bytes(16), 64, 1, 1)
    assert stretching.key("pass") == stretching.key("pass")
    assert len(stretching.key("pass")) == 32
    assert stretching.key("Pass") != stretching.key("pass")
    assert Stretching(bytes(15) + b"\x01", 64, 1, 1).key("pass") != stretching.key("pass")


@pytest.mark.parametrize(
    "stretching",
    [
        Stretching(bytes(16), 1 << 30, 1, 1),
        Stretching(bytes(16), 64, 0, 1),
        Stretching(bytes(16), 64, 1_000, 1),
        Stretching(bytes(16), 64, 1, 0),
        Stretching(bytes(16), 64, 1, 64),
        Stretching(bytes(4), 64, 1, 1),
    ],
)
def test_stretching_out_of_bounds(stretching: Stretching) -> None:
    """Parameters from a file that would exhaust memory or time, or mean nothing, are Malformed."""
    with pytest.raises(Malformed):
        stretching.key("pass")


def test_verifier_is_of_its_password() -> None:
    """A verifier comes back from its text form; another salt or password makes another."""
    verifier = ScramVerifier.of("pencil", b"0123456789abcdef", 4_096)
    assert ScramVerifier.parse(verifier.encoded) == verifier
    assert ScramVerifier.of("Pencil", b"0123456789abcdef", 4_096).stored_key != verifier.stored_key
    assert ScramVerifier.of("pencil", b"fedcba9876543210", 4_096).stored_key != verifier.stored_key


def test_verifier_is_of_the_prepared_password() -> None:
    """Spellings that SASLprep makes one are one password (RFC 4013 §3)."""
    salt = bytes(16)
    assert ScramVerifier.of("I\u00adX \u2168", salt, 1) == ScramVerifier.of("IX\u00a0IX", salt, 1)


def test_decoy_has_a_steady_salt() -> None:
    """Whoever asks twice for a name that is not there sees the same salt, and no proof fits."""
    first, second = ScramVerifier.decoy("eve", b"secret"), ScramVerifier.decoy("eve", b"secret")
    assert (first.salt, first.iterations) == (second.salt, second.iterations)
    assert ScramVerifier.decoy("mallory", b"secret").salt != first.salt
    assert first.server_signature(b"messages", bytes(32)) is None


@pytest.mark.parametrize("text", ["", "$$", "SCRAM-SHA-1$1:AAAA$AAAA:AAAA", "SCRAM-SHA-256$x:AAAA$AAAA:AAAA"])
def test_what_is_no_verifier(text: str) -> None:
    """Text that is no verifier is Malformed."""
    with pytest.raises(Malformed):
        ScramVerifier.parse(text)


def test_two_lines_are_kept_of_a_login_password() -> None:
    """The hash and the verifier are of the same password."""
    phc, encoded = hash_for_login("correct horse").splitlines()
    assert verify_password(phc, "correct horse")
    verifier = ScramVerifier.parse(encoded)
    assert ScramVerifier.of("correct horse", verifier.salt, verifier.iterations) == verifier
