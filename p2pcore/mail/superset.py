"""All entries of all replicas of one inbox, minus all acknowledged ones, each once (§3.2). Pure."""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable

from p2pcore.records import InboxPage, SignedStatement, encode, identity

_REMEMBERED = 200_000  # identities; beyond, an entry may be given again, and its owner's durable memory tells


class _Memory:
    """A bounded set that forgets what was noted or found longest ago."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, value: bytes) -> bool:
        return value in self._held

    def __bool__(self) -> bool:
        return bool(self._held)

    def note(self, value: bytes) -> bool:
        """Hold `value`; False where it was held already."""
        known = value in self._held
        self._held[value] = None
        self._held.move_to_end(value)
        if len(self._held) > self._size:
            self._held.popitem(last=False)
        return not known

    def drop(self, value: bytes) -> None:
        self._held.pop(value, None)


class Superset:
    """What has been given out, acknowledged or refused; identities are those of the entry statements.

    A refusal concerns the copy that was refused and not the entry: else a node that damages the signature of its copy
    would take the good copies on the other nodes away from their owner.
    """

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._settled = _Memory(remembered)
        self._refused_copies = _Memory(remembered)
        self._refused = _Memory(remembered)

    def candidates(self, page: InboxPage) -> list[tuple[bytes, SignedStatement]]:
        """Return the entries of `page` that are new, with their identities; this does not settle them."""
        new: dict[bytes, SignedStatement] = {}
        for signed in page.entries:
            entry = identity(signed.statement)
            if entry not in self._settled and not (self._refused_copies and _copy(signed) in self._refused_copies):
                new[entry] = signed
        return list(new.items())

    def settle(self, entry: bytes) -> bool:
        """Never give `entry` out (again); False where that was so already."""
        return self._settled.note(entry)

    def settle_all(self, entries: Iterable[bytes]) -> None:
        for entry in entries:
            self._settled.note(entry)

    def refuse(self, entry: bytes, signed: SignedStatement) -> bool:
        """Never look at this copy of `entry` again; False where a copy of it was refused before."""
        self._refused_copies.note(_copy(signed))
        return self._refused.note(entry)

    def reopen(self, entry: bytes) -> None:
        """Give `entry` out again when a page next contains it."""
        self._settled.drop(entry)


def _copy(signed: SignedStatement) -> bytes:
    return hashlib.sha256(encode(signed)).digest()
