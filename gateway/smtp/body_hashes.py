"""A body's hashes for its DKIM signatures, made while it arrives: canonicalised, a block at a time (RFC 6376 §3.4).

Held between two blocks: whether white space ended the last one, and the number of empty lines that ended it.
"""

import hashlib
from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass, field

from gateway.mail.dkim_header import Canonicalisation

_LINES = b"\r\n" * 4_096  # empty lines fed to a hash at once


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What of a body a signature covers: c='s second half, and l= (None: all of it)."""

    canonicalisation: Canonicalisation
    length: int | None = None


@dataclass(slots=True)
class _Hash:
    """Takes octets up to `left` (None: all)."""

    left: int | None
    made: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def update(self, octets: bytes) -> None:
        if self.left is not None:
            octets = octets[: self.left]
            self.left -= len(octets)
        self.made.update(octets)


class _Canonical:
    """One canonical form of a body that arrives in blocks, which never end between CR and LF."""

    def __init__(self, hashes: Collection[_Hash]) -> None:
        self.size = 0
        self._hashes = hashes
        self._empty_lines = 0  # CRLFs that are part of the body only if something follows them

    @abstractmethod
    def update(self, block: bytes) -> None:
        """Take the next block."""

    def _put(self, block: bytes) -> None:
        kept = block.rstrip(b"\r\n")
        if kept:
            self._put_lines(self._empty_lines)
            self._hash(kept)
            self._empty_lines = 0
        self._empty_lines += (len(block) - len(kept)) // 2

    def _put_lines(self, count: int) -> None:
        while count > 0:
            self._hash(_LINES[: 2 * count])
            count -= len(_LINES) // 2

    def _hash(self, octets: bytes) -> None:
        self.size += len(octets)
        for each in self._hashes:
            each.update(octets)

    def finish(self) -> None:
        """End the last line, whether or not the body did."""
        self._put_lines(1)


class _Simple(_Canonical):
    """RFC 6376 §3.4.3: an empty body is one CRLF."""

    update = _Canonical._put


class _Relaxed(_Canonical):
    """RFC 6376 §3.4.4: an empty body stays empty."""

    def __init__(self, hashes: Collection[_Hash]) -> None:
        super().__init__(hashes)
        self._space = False  # white space that is part of the body only if its line goes on

    def update(self, block: bytes) -> None:
        if not block:
            return
        if self._space:
            block = b" " + block
        work = block.replace(b"\t", b" ")
        while b"  " in work:  # halves every run: a regular expression takes ten times as long
            work = work.replace(b"  ", b" ")
        work = work.replace(b" \r\n", b"\r\n")
        self._space = work.endswith(b" ")
        self._put(work[:-1] if self._space else work)

    def finish(self) -> None:
        if self.size:
            super().finish()


class BodyHashes:
    """SHA-256 of a body under each of some rules; rules that are alike are worked out once."""

    def __init__(self, rules: Collection[BodyRule]) -> None:
        self._hashes = {rule: _Hash(rule.length) for rule in rules}
        self._forms: dict[Canonicalisation, _Canonical] = {}
        for name in {rule.canonicalisation for rule in rules}:
            concerned = [each for rule, each in self._hashes.items() if rule.canonicalisation == name]
            self._forms[name] = (_Simple if name == "simple" else _Relaxed)(concerned)

    def update(self, block: bytes) -> None:
        """Take the next block of the body, which does not end between CR and LF; CPU for a thread where it is large."""
        for form in self._forms.values():
            form.update(block)

    def finish(self) -> None:
        """The body has ended."""
        for form in self._forms.values():
            form.finish()

    def digest(self, rule: BodyRule) -> bytes:
        """Return the hash of what `rule` covers, once finished."""
        return self._hashes[rule].made.digest()

    def size(self, rule: BodyRule) -> int:
        """Return the octets of the whole canonical body, once finished."""
        return self._forms[rule.canonicalisation].size
