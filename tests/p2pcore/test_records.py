"""records: every layout encodes and decodes to itself, and is frozen by tests/vectors/records.json."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import records
from p2pcore.errors import Malformed
from p2pcore.records import Record, SealedNotification, SingleNotification, decode, decode_either, encode
from tests.support.record_values import fixed, kinds, readable, values

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "records.json").read_text())
BY_TAG = {kind.__struct_config__.tag: kind for kind in kinds()}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_record_is_frozen(kind: type[Record]) -> None:
    """Every record has a vector (`python -m tests.vectors.freeze` adds it)."""
    assert kind.__struct_config__.tag in VECTORS["records"]


@pytest.mark.parametrize("tag", VECTORS["records"])
def test_encodings_are_frozen(tag: str) -> None:
    """A frozen encoding is read as the fields beside it and written again as it was."""
    vector = VECTORS["records"][tag]
    record = decode(BY_TAG[tag], bytes.fromhex(vector["encoding"]))
    assert readable(record) == vector["fields"]
    assert encode(record).hex() == vector["encoding"]


@pytest.mark.parametrize("vector", VECTORS["identities"], ids=lambda vector: vector["record"])
def test_identities_are_frozen(vector: dict[str, str]) -> None:
    """An identity is the Merkle leaf SHA-256(0x00 ‖ encoding); a deletion's is that of its right."""
    octets = bytes.fromhex(VECTORS["records"][vector["record"]]["encoding"])
    assert records.identity(decode(BY_TAG[vector["record"]], octets)).hex() == vector["identity"]


def test_identity_of_a_statement() -> None:
    """A statement's identity does not depend on any signature."""
    statement = fixed(records.EntryStatement)
    assert records.identity(statement) == hashlib.sha256(b"\x00" + encode(statement)).digest()


def test_tags_are_unique() -> None:
    """No two records share a tag, so none is ever read as another."""
    assert len(BY_TAG) == len(kinds())


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_decode_returns_what_was_encoded(kind: type[Record]) -> None:
    """Invariant: decode(encode(x)) == x, and the encoding is canonical."""

    @given(values(kind))
    def holds(record: Record) -> None:
        octets = encode(record)
        assert decode(kind, octets) == record
        assert encode(decode(kind, octets)) == octets

    holds()


@given(st.sampled_from(kinds()), st.binary(max_size=200))
def test_arbitrary_octets(kind: type[Record], octets: bytes) -> None:
    """Invariant: arbitrary octets are a record or Malformed, nothing else."""
    try:
        record = decode(kind, octets)
    except Malformed:
        return
    assert decode(kind, encode(record)) == record


@given(st.sampled_from([*map(encode, map(fixed, kinds())), b""]), st.binary(max_size=8))
def test_arbitrary_octets_of_either_layout(octets: bytes, more: bytes) -> None:
    """Invariant: what is read in two layouts is of one of them or Malformed, nothing else."""
    try:
        record = decode_either(SealedNotification, SingleNotification, octets + more)
    except Malformed:
        assert more or not octets.startswith((b"\x93\xa8sealed.2", b"\x94\xa8sealed.1"))
        return
    assert encode(record) == octets


@given(st.data())
def test_damaged_encodings(data: st.DataObject) -> None:
    """Invariant: an encoding with octets cut, changed or added is a record or Malformed, nothing else."""
    kind = data.draw(st.sampled_from(kinds()))
    octets = bytearray(encode(fixed(kind)))
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
    try:
        record = decode(kind, bytes(octets))
    except Malformed:
        return
    assert decode(kind, encode(record)) == record


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_bounds(kind: type[Record]) -> None:
    """An unknown tag, a missing field, a further field and trailing octets are Malformed."""
    octets = encode(fixed(kind))
    count = octets[0] & 0x0F
    assert octets[0] >> 4 == 9  # a MessagePack fixarray: tag and fields
    tag = str(kind.__struct_config__.tag)
    for damaged in (
        octets.replace(tag.encode(), tag[:-1].encode() + b"9", 1),
        octets[:-1] if count > 1 else b"\x90",
        bytes([0x90 | (count + 1)]) + octets[1:] + b"\xc0",
        octets + b"\x00",
    ):
        with pytest.raises(Malformed):
            decode(kind, damaged)


def test_deep_nesting_is_malformed() -> None:
    """Nesting that no record has is refused without exhausting the stack."""
    with pytest.raises(Malformed):
        decode(records.Batch, b"\x91" * 100_000)
