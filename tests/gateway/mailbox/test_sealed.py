"""Sealed content files: ranges, and every kind of damage noticed."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.mailbox.errors import StoreDamaged
from gateway.mailbox.sealed import SealedDirectory
from p2pcore.crypto.segments import TAG_SIZE, total_size
from p2pcore.crypto.streams import FILE_SEGMENT as SEGMENT

CLEAR = os.urandom(3 * SEGMENT + 100)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[SealedDirectory, str, bytes]:
    directory = SealedDirectory(tmp_path_factory.mktemp("messages"))
    return directory, *directory.write(memoryview(CLEAR))


@given(st.data())
def test_ranges(sealed: tuple[SealedDirectory, str, bytes], data: st.DataObject) -> None:
    """Any range is that range of the clear octets."""
    directory, name, key = sealed
    offset = data.draw(st.integers(0, len(CLEAR) + 5))
    length = data.draw(st.integers(0, len(CLEAR)))
    found = b"".join(directory.pieces(name, key, len(CLEAR), offset, length))
    assert found == CLEAR[offset : offset + length]


def test_only_the_segments_asked_for_are_opened(tmp_path: Path) -> None:
    """Damage elsewhere in the file does not matter to a range."""
    directory = SealedDirectory(tmp_path)
    name, key = directory.write(memoryview(CLEAR))
    path = tmp_path / name
    octets = bytearray(path.read_bytes())
    octets[100] ^= 1
    octets[-1] ^= 1
    path.write_bytes(octets)
    for offset, length in [(SEGMENT, 2 * SEGMENT), (2 * SEGMENT - 1, 2)]:
        assert b"".join(directory.pieces(name, key, len(CLEAR), offset, length)) == CLEAR[offset:][:length]
    with pytest.raises(StoreDamaged):
        list(directory.pieces(name, key, len(CLEAR), SEGMENT - 1, 2))


def test_damage_is_noticed(tmp_path: Path) -> None:
    """A changed octet, a file cut at a segment, exchanged segments, another key, a missing file."""
    directory = SealedDirectory(tmp_path)
    name, key = directory.write(memoryview(CLEAR))
    path = tmp_path / name
    good, unit = path.read_bytes(), SEGMENT + TAG_SIZE
    start = total_size(0, SEGMENT) - TAG_SIZE  # behind the file's header
    bad = [
        good[:100] + bytes([good[100] ^ 1]) + good[101:],
        good[: start + 3 * unit],
        good[:-1],
        good[:start] + good[start + unit : start + 2 * unit] + good[start : start + unit] + good[start + 2 * unit :],
        b"",
    ]
    for octets in bad:
        path.write_bytes(octets)
        with pytest.raises(StoreDamaged):
            list(directory.pieces(name, key, len(CLEAR), 0, len(CLEAR)))
    path.write_bytes(good)
    with pytest.raises(StoreDamaged):
        list(directory.pieces(name, bytes(32), len(CLEAR), 0, 1))
    with pytest.raises(StoreDamaged):
        list(directory.pieces("none", key, len(CLEAR), 0, 1))
    assert path.stat().st_mode & 0o077 == 0
