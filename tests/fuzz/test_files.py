"""Readers of keys and files: a damaged disk or a hostile kit is named, never met as a defect."""

import contextlib
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2pcore.crypto.hpke_suites import BY_PRIVATE_SIZE, BY_PUBLIC_SIZE
from p2pcore.crypto.key_files import KeyFiles
from p2pcore.crypto.keys import HpkeKey, HpkePublic, SigningKey
from p2pcore.crypto.passwords import ScramVerifier
from p2pcore.crypto.recovery_kit import open_kit
from p2pcore.errors import CertificateRefused, Malformed, Tampered
from p2pcore.mail.injection import Injection
from p2pcore.mail.record_file import load_record
from p2pcore.records import Batch, Identity, Record, decode, encode
from tests.support.identities import World
from tests.support.record_values import values

SAME_FILE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # each example writes it anew


@cache
def world() -> World:
    return World()


@SAME_FILE
@given(st.binary(max_size=200), st.integers(0, 400))
def test_identities(tmp_path: Path, octets: bytes, place: int) -> None:
    """Invariant: a file is an identity that is encoded and read as the same again, or Malformed."""
    genuine = encode(world().user("alice").identity) if place % 50 == 0 else encode(world().directory().identity)
    path = tmp_path / "identity"
    for content in (octets, genuine[:place] + octets + genuine[place + len(octets) :]):
        path.write_bytes(content)
        with contextlib.suppress(Malformed):
            identity = KeyFiles().read_identity(path)
            assert decode(Identity, encode(identity)) == identity


@SAME_FILE
@given(values(Batch) | st.binary(max_size=100))
def test_records_of_the_domain(tmp_path: Path, content: Record | bytes) -> None:
    """Invariant: what lies where the domain's record is kept is a published version, Malformed or refused."""
    (tmp_path / "domain-record").write_bytes(content if isinstance(content, bytes) else encode(content))
    with contextlib.suppress(Malformed, CertificateRefused):
        assert load_record(tmp_path, world().trust()) is not None


@given(st.binary(max_size=120), st.booleans())
def test_kits(octets: bytes, named: bool) -> None:
    """Invariant: arbitrary octets as a recovery kit are Malformed or Tampered, and cost no memory that they ask for."""
    with pytest.raises((Malformed, Tampered)):
        open_kit((b"p2pmail kit 1\n" if named else b"") + octets, "passphrase")


@given(st.binary(max_size=100), st.binary(max_size=40))
def test_queued_statements(octets: bytes, body: bytes) -> None:
    """Invariant: octets kept beside a queued body are its statements, or Malformed."""
    with contextlib.suppress(Malformed):
        injection = Injection.restore(octets, body)
        assert Injection.restore(injection.encode(), body) == injection


@given(st.sampled_from(sorted(BY_PUBLIC_SIZE)), st.binary(min_size=1, max_size=64), st.integers(-1, 1))
def test_public_keys(size: int, seed: bytes, more: int) -> None:
    """Invariant: octets as an HPKE public key are Malformed, or a key with those octets that seals or is Malformed."""
    octets = (seed * (size // len(seed) + 1))[: size + more]
    with contextlib.suppress(Malformed):
        key = HpkePublic.from_bytes(octets)
        assert key.public_bytes == octets
        assert len(key.seal(b"info", b"x")) > 1_000


@given(st.sampled_from(sorted(BY_PRIVATE_SIZE)), st.binary(min_size=1, max_size=64), st.integers(-1, 1))
def test_private_keys(size: int, seed: bytes, more: int) -> None:
    """Invariant: octets as an HPKE private key are Malformed, or a key that opens what is sealed to it."""
    octets = (seed * (size // len(seed) + 1))[: size + more]
    with contextlib.suppress(Malformed):
        key = HpkeKey.from_bytes(octets)
        assert key.open(b"info", HpkePublic.from_bytes(key.public_bytes).seal(b"info", b"x")) == b"x"


@given(st.binary(max_size=40) | st.binary(min_size=32, max_size=32))
def test_signing_keys(octets: bytes) -> None:
    """Invariant: octets as a private signing key are Malformed, or the key that has those octets."""
    with contextlib.suppress(Malformed):
        key = SigningKey.from_bytes(octets)
        assert key.private_bytes == octets
        assert len(key.sign(b"x")) == 64


@given(
    st.text(max_size=40) | st.from_regex(r"SCRAM-SHA-256\$[0-9]{0,9}:[A-Za-z=]{0,9}\$[A-Za-z=]{0,44}:[A-Za-z=]{0,44}")
)
def test_verifiers(text: str) -> None:
    """Invariant: a text is a SCRAM verifier that is written and read as the same again, or Malformed."""
    with contextlib.suppress(Malformed):
        verifier = ScramVerifier.parse(text)
        assert ScramVerifier.parse(verifier.encoded) == verifier
