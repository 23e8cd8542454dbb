"""Merkle trees over statement identities: one signature for many statements (RFC 9162 §2.1)."""

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

_REMEMBERED: Final = 4_096  # inner nodes that paths led through: those of one batch share most of them


def tree(leaves: Sequence[bytes]) -> tuple[bytes, list[tuple[bytes, ...]]]:
    """Return the root over `leaves` (32-octet leaf hashes, at least one) and every leaf's path, lowest sibling first.

    Pairing each level and carrying an odd last node up unchanged gives RFC 9162's tree, which splits at the largest
    power of two below the number of leaves.
    """
    if not leaves:
        raise ValueError("a Merkle tree needs a leaf")
    paths: list[list[bytes]] = [[] for _ in leaves]
    level = list(leaves)
    positions = list(range(len(leaves)))
    while len(level) > 1:
        for leaf, position in enumerate(positions):
            sibling = position ^ 1
            if sibling < len(level):
                paths[leaf].append(level[sibling])
            positions[leaf] = position >> 1
        parents = [inner_node(level[n], level[n + 1]) for n in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            parents.append(level[-1])
        level = parents
    return level[0], [tuple(path) for path in paths]


def root_of(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that `path` leads to from leaf number `index` of `size`; None where it is no path of that leaf.

    RFC 9162 §2.1.3.2, with its steps' numbers.
    """
    if not 0 <= index < size:  # step 1
        return None
    fn, sn, root = index, size - 1, leaf  # steps 2 and 3
    for sibling in path:  # step 4
        if sn == 0:
            return None
        if fn & 1 or fn == sn:
            root = _on_a_path(sibling, root)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            root = _on_a_path(root, sibling)
        fn >>= 1
        sn >>= 1
    return root if sn == 0 else None  # step 5; the caller compares roots by the signature over them


def inner_node(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


_on_a_path = lru_cache(_REMEMBERED)(inner_node)
