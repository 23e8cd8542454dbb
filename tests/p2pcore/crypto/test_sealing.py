"""sealing: bodies sealed and opened in one pass, and what does not open."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcore import params
from p2pcore.crypto import sealing
from p2pcore.crypto.sealing import BodyOpener, BodySealer, open_body, padme, sealed_size
from p2pcore.errors import Tampered

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "sealing.json").read_text())
KEY = bytes(range(32))
HEADER = 1 + len(b"\x93\xa6body.1\xabaes-256-gcm\xce\x00\x10\x00\x00")
MIB = params.SEGMENT_SIZE


def content_of(size: int) -> bytes:
    return (b"0123456789abcdef" * (size // 16 + 1))[:size]


def seal(content: bytes, key: bytes | None = None) -> tuple[BodySealer, bytes]:
    sealer = BodySealer(key)
    pieces = sealer.update(content)
    return sealer, b"".join(pieces + sealer.finish())


@pytest.mark.parametrize("vector", VECTORS["bodies"], ids=lambda vector: str(vector["content_size"]))
def test_vectors(vector: dict[str, object]) -> None:
    """A body under a fixed session key is sealed the same for ever, and a frozen one opens."""
    content = content_of(int(str(vector["content_size"])))
    sealer, sealed = seal(content, bytes.fromhex(str(vector["session_key"])))
    assert sealer.digest.hex() == vector["digest"]
    assert sealer.sealed_size == vector["sealed_size"]
    if "sealed" in vector:
        assert sealed.hex() == vector["sealed"]
        frozen = bytes.fromhex(str(vector["sealed"]))
        assert open_body(sealer.session_key, len(content), frozen) == content


@pytest.mark.parametrize("vector", VECTORS["padme"], ids=lambda vector: str(vector[0]))
def test_padme_vectors(vector: tuple[int, int]) -> None:
    """Frozen Padmé sizes."""
    assert padme(vector[0]) == vector[1]


@given(st.integers(0, 2**40))
def test_padme(size: int) -> None:
    """Invariant: padme(size) is a fixed point, not below size, and at most 12 % above it."""
    padded = padme(size)
    assert padded >= size
    assert padme(padded) == padded
    assert padded - size <= 0.12 * size


@given(st.integers(2, 2**40))
def test_padme_is_the_papers(size: int) -> None:
    """Invariant: the last E - S bits are zero, with E = floor(log2 size), S = floor(log2 E) + 1."""
    exponent = size.bit_length() - 1
    zeros = exponent - (exponent.bit_length())
    assert padme(size) % (1 << zeros) == 0
    assert padme(size) - size < 1 << zeros


@pytest.mark.parametrize("size", [0, 1, 100, 8_000, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5])
def test_round_trip(size: int) -> None:
    """What is sealed opens; sizes and digest are those of the sealed octets."""
    content = content_of(size)
    sealer, sealed = seal(content)
    assert sealer.content_size == size
    assert sealer.sealed_size == len(sealed) == sealed_size(size)
    assert sealer.digest == hashlib.sha256(sealed).digest()
    assert open_body(sealer.session_key, size, sealed) == content


def test_session_keys_are_fresh() -> None:
    """Every body has a session key of its own, of 256 bits."""
    one, other = BodySealer(), BodySealer()
    assert len(one.session_key) == 32
    assert one.session_key != other.session_key


def test_padding_may_fill_segments_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding that crosses a segment's end is sealed in pieces, and opens."""
    monkeypatch.setattr(params, "SEGMENT_SIZE", 4_096)
    content = content_of(1_000_001)
    assert padme(len(content)) - len(content) > 3 * 4_096
    sealer = BodySealer()
    pieces = sealer.update(content)
    last = sealer.finish()
    assert max(len(piece) for piece in pieces + last) == 4_096 + 16
    assert open_body(sealer.session_key, len(content), b"".join(pieces + last)) == content


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 40_000), st.lists(st.integers(0, 9_000), max_size=12), st.lists(st.integers(1, 9_000), max_size=12)
)
def test_chunking_does_not_matter(size: int, cuts: list[int], reads: list[int]) -> None:
    """Invariant: however content arrives and however sealed octets are read, both sides are the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(params, "SEGMENT_SIZE", 4_096)
        content = content_of(size)
        _, expected = seal(content, KEY)
        sealer = BodySealer(KEY)
        pieces, start = [], 0
        for cut in [*cuts, size]:
            pieces += sealer.update(memoryview(content)[start : start + cut])
            start += cut
        sealed = b"".join(pieces + sealer.finish())
        assert sealed == expected
        opener, opened, start = BodyOpener(KEY, size), [], 0
        for read in [*reads, len(sealed)]:
            opened += opener.update(sealed[start : start + read])
            start += read
        assert b"".join(opened + opener.finish()) == content


def test_octet_by_octet() -> None:
    """A body that arrives one octet at a time opens."""
    content = content_of(300)
    sealer, sealed = seal(content)
    opener = BodyOpener(sealer.session_key, len(content))
    opened = [piece for octet in sealed for piece in opener.update(bytes([octet]))]
    assert b"".join(opened + opener.finish()) == content


def test_memory_is_bounded() -> None:
    """Sealing and opening hold back one segment at most: everything before it has been returned."""
    sealer = BodySealer()
    given_so_far = 0
    for _chunk in range(40):
        given_so_far += 100_000
        sealer.update(bytes(100_000))
        assert given_so_far - sealer.sealed_size <= MIB
        assert len(sealer._segments._pending) <= MIB


@pytest.fixture(scope="module")
def long_body() -> tuple[bytes, bytes]:
    sealer, sealed = seal(content_of(2 * MIB + 1_000))
    return sealer.session_key, sealed


def damage(sealed: bytes) -> dict[str, bytes]:
    whole = MIB + 16
    head, first = sealed[:HEADER], sealed[HEADER : HEADER + whole]
    second, rest = sealed[HEADER + whole : HEADER + 2 * whole], sealed[HEADER + 2 * whole :]
    changed = bytearray(sealed)
    changed[-1] ^= 1
    header_changed = bytearray(sealed)
    header_changed[HEADER - 3] ^= 0x20
    return {
        "last octet changed": bytes(changed),
        "header changed": bytes(header_changed),
        "last octet missing": sealed[:-1],
        "last segment missing": head + first + second,
        "two segments missing": head + first,
        "only the header": head,
        "nothing": b"",
        "part of the header": head[:5],
        "first segment missing": head + second + rest,
        "segments exchanged": head + second + first + rest,
        "segment repeated": head + first + first + second + rest,
        "octets added": sealed + b"\x00",
        "segment added": sealed + rest,
        "not a header": b"\xff" * len(sealed),
    }


@pytest.mark.parametrize("name", damage(b"x" * (HEADER + 2 * (MIB + 16) + 50)))
def test_damaged_bodies(long_body: tuple[bytes, bytes], name: str) -> None:
    """Truncation, reordering, repetition, addition and any change are Tampered."""
    session_key, sealed = long_body
    with pytest.raises(Tampered):
        open_body(session_key, 2 * MIB + 1_000, damage(sealed)[name])


def test_splicing() -> None:
    """A segment of another body, in the same place, does not open."""
    one, sealed = seal(content_of(MIB + 1_000))
    _, other = seal(content_of(MIB + 1_000))
    cut = HEADER + MIB + 16
    with pytest.raises(Tampered):
        open_body(one.session_key, MIB + 1_000, sealed[:cut] + other[cut:])


@pytest.mark.parametrize("claimed", [0, 999, 2_000])
def test_another_content_size(claimed: int) -> None:
    """A content size that would cut content off, or that has another Padmé size, is Tampered."""
    sealer, sealed = seal(b"\x01" * 1_000)
    with pytest.raises(Tampered):
        open_body(sealer.session_key, claimed, sealed)


def test_padding_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    """Padding that holds anything but zero octets is Tampered, although it is sealed with the right key."""
    content = content_of(1_000)
    padding = padme(1_000) - 1_000
    assert padding
    monkeypatch.setattr(sealing, "padme", lambda size: size)
    sealer, sealed = seal(content + b"\x00" * (padding - 1) + b"\x01")
    monkeypatch.undo()
    with pytest.raises(Tampered, match="padding"):
        open_body(sealer.session_key, 1_000, sealed)


def test_padding_is_as_long_as_padme_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """More or fewer zero octets than Padmé's are Tampered."""
    for extra in (0, padme(1_000) - 1_000 + 1):
        monkeypatch.setattr(sealing, "padme", lambda size: size)
        sealer, sealed = seal(content_of(1_000) + bytes(extra))
        monkeypatch.undo()
        with pytest.raises(Tampered):
            open_body(sealer.session_key, 1_000, sealed)


def test_used_after_the_end() -> None:
    """Sealers and openers end once; the digest exists only then."""
    sealer = BodySealer()
    with pytest.raises(ValueError, match="not sealed"):
        _ = sealer.digest
    sealed = b"".join(sealer.update(b"x") + sealer.finish())
    opener = BodyOpener(sealer.session_key, 1)
    opener.update(sealed)
    opener.finish()
    for used in (sealer, opener):
        with pytest.raises(ValueError, match=r"sealed|finished"):
            used.update(b"x")
        with pytest.raises(ValueError, match=r"sealed|finished"):
            used.finish()


@given(st.binary(max_size=300), st.integers(0, 1_000))
def test_arbitrary_octets(octets: bytes, size: int) -> None:
    """Invariant: arbitrary octets as a body are Tampered, nothing else."""
    with pytest.raises(Tampered):
        open_body(KEY, size, octets)
