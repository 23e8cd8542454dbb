"""merkle: RFC 9162's tree, its paths, and their verification."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pcore.crypto import merkle

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "records.json").read_text())["merkle"]


def leaves_of(size: int) -> list[bytes]:
    return [hashlib.sha256(b"\x00" + bytes([n % 256, n // 256])).digest() for n in range(size)]


def defined_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 §2.1.1, over leaf hashes: split at the largest power of two below their number."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    left, right = defined_root(leaves[:split]), defined_root(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def defined_path(index: int, leaves: list[bytes]) -> tuple[bytes, ...]:
    """PATH of RFC 9162 §2.1.3.1."""
    if len(leaves) == 1:
        return ()
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return (*defined_path(index, leaves[:split]), defined_root(leaves[split:]))
    return (*defined_path(index - split, leaves[split:]), defined_root(leaves[:split]))


@pytest.mark.parametrize("size", [*range(1, 34), 100, 257])
def test_tree_is_rfc_9162s(size: int) -> None:
    """Root and paths are those of RFC 9162 §2.1.1 and §2.1.3.1, and every path leads to the root."""
    leaves = leaves_of(size)
    root, paths = merkle.tree(leaves)
    assert root == defined_root(leaves)
    for index, path in enumerate(paths):
        assert path == defined_path(index, leaves)
        assert merkle.root_of(leaves[index], index, size, path) == root


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: f"{vector['size']}/{vector['index']}")
def test_vectors(vector: dict[str, object]) -> None:
    """Frozen roots and paths over the leaves SHA-256(0x00 ‖ n ‖ 0x00)."""
    size, index = vector["size"], vector["index"]
    assert isinstance(size, int)
    assert isinstance(index, int)
    root, paths = merkle.tree(leaves_of(size))
    assert root.hex() == vector["root"]
    assert [node.hex() for node in paths[index]] == vector["path"]


@given(st.integers(1, 70), st.data())
def test_no_other_place_has_the_path(size: int, data: st.DataObject) -> None:
    """Invariant: a path leads to its root only for its own leaf and index; any other gives None or another root."""
    leaves = leaves_of(size)
    root, paths = merkle.tree(leaves)
    index = data.draw(st.integers(0, size - 1))
    path = paths[index]
    other = data.draw(st.integers(-1, 80).filter(lambda n: n != index))
    assert merkle.root_of(leaves[index], other, size, path) != root
    assert merkle.root_of(hashlib.sha256(b"other").digest(), index, size, path) != root
    assert merkle.root_of(leaves[index], index, size, (*path, leaves[0])) is None
    if path:
        assert merkle.root_of(leaves[index], index, size, path[:-1]) is None
        assert merkle.root_of(leaves[index], index, size, (path[0][::-1], *path[1:])) != root


def test_index_outside_the_tree() -> None:
    """An index of the size or more, or below zero, has no path."""
    assert merkle.root_of(bytes(32), 1, 1, ()) is None
    assert merkle.root_of(bytes(32), -1, 1, ()) is None
    assert merkle.root_of(bytes(32), 0, 0, ()) is None


def test_a_tree_needs_a_leaf() -> None:
    """The empty tree of RFC 9162 is never signed here."""
    with pytest.raises(ValueError, match="needs a leaf"):
        merkle.tree([])
