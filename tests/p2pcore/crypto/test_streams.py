"""streams: local files sealed in segments and read at any offset."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2pcore.crypto.streams import FILE_SEGMENT, SegmentReader, SegmentWriter
from p2pcore.errors import Tampered

KEY = bytes(range(32))


def sealed_file(path: Path, content: bytes) -> Path:
    with path.open("wb") as file:
        writer = SegmentWriter(file, KEY)
        writer.write(content)
        writer.finish()
        assert writer.size == len(content)
    return path


@pytest.mark.parametrize("size", [0, 1, FILE_SEGMENT - 1, FILE_SEGMENT, FILE_SEGMENT + 1, 3 * FILE_SEGMENT])
def test_whole_file(tmp_path: Path, size: int) -> None:
    """A file is read as it was written, and its size is known before anything is opened."""
    content = bytes(n % 251 for n in range(size))
    with sealed_file(tmp_path / "f", content).open("rb") as file:
        reader = SegmentReader(file, KEY)
        assert reader.size == size
        assert reader.read() == content


@pytest.fixture(scope="module")
def three_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    content = bytes(n % 251 for n in range(2 * FILE_SEGMENT + 5))
    return sealed_file(tmp_path_factory.mktemp("streams") / "f", content)


@settings(max_examples=50)
@given(offset=st.integers(0, 2 * FILE_SEGMENT + 10), length=st.integers(0, 2 * FILE_SEGMENT + 10))
def test_any_range(three_segments: Path, offset: int, length: int) -> None:
    """Invariant: read(offset, length) is content[offset:offset + length]."""
    content = bytes(n % 251 for n in range(2 * FILE_SEGMENT + 5))
    with three_segments.open("rb") as file:
        assert SegmentReader(file, KEY).read(offset, length) == content[offset : offset + length]


def test_damage_is_noticed(tmp_path: Path) -> None:
    """A changed octet, a missing last segment, exchanged segments, a cut file and another key do not open."""
    path = sealed_file(tmp_path / "f", bytes(3 * FILE_SEGMENT))
    octets = path.read_bytes()
    whole = FILE_SEGMENT + 16
    start = len(octets) - 3 * whole
    first, second, third = (octets[start + n * whole : start + (n + 1) * whole] for n in range(3))
    for damaged in (
        octets[:-1] + bytes([octets[-1] ^ 1]),
        octets[:start] + first + second,
        octets[:start] + second + first + third,
        octets[:-5],
        octets[: start + 3],
        octets[:start],
        octets[:3],
        octets + bytes(17),
    ):
        path.write_bytes(damaged)
        with path.open("rb") as file, pytest.raises(Tampered):
            SegmentReader(file, KEY).read()
    path.write_bytes(octets)
    with path.open("rb") as file, pytest.raises(Tampered):
        SegmentReader(file, bytes(32)).read()


def test_negative_range(three_segments: Path) -> None:
    """An offset or length below zero is the caller's mistake."""
    with three_segments.open("rb") as file:
        reader = SegmentReader(file, KEY)
        with pytest.raises(ValueError, match="negative"):
            reader.read(-1)
        with pytest.raises(ValueError, match="negative"):
            reader.read(0, -1)
