"""passwords: Argon2id hashes and stretched passphrases."""

import pytest

from p2pcore.crypto.passwords import Stretching, hash_password, verify_password
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
