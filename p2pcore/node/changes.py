"""Which contacts have come or gone, and which keys that concerns: those that have one of them among their k closest.

A key's k closest stay the same as long as nobody among them goes and nobody comes who is closer than one of them. Both
can be told from the routing table alone: who is among the k closest of all nodes is so among those that are known.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate

_BITS: Final = 8 * params.KEY_SIZE
_MOST: Final = 200  # contacts that are remembered by themselves; more are everybody

EVERY_KEY: Final = (bytes(params.KEY_SIZE), bytes([255]) * params.KEY_SIZE)


@dataclass(frozen=True, slots=True)
class _Reach:
    """The subtree (first, last) of the keys that may have a node, `own`, among their closest, and its other nodes."""

    own: int
    first: int
    last: int
    rivals: tuple[int, ...]


class Change:
    """Contacts that came or went, seen among those `known` now."""

    def __init__(self, contacts: Collection[Contact], known: Iterable[Contact]) -> None:
        self.contacts = frozenset(contacts)
        self._numbers = {_number(contact.node_id) for contact in contacts}
        self._known = {_number(contact.node_id) for contact in known}
        self._reaches: dict[int, list[_Reach]] = {}  # by k

    def spans(self, k: int) -> list[tuple[bytes, bytes]]:
        """Return ranges of keys (first, last) beside which `concerns` is false; in order, none overlap."""
        spans: list[tuple[bytes, bytes]] = []
        end = -1
        for reach in sorted(self._of(k), key=lambda reach: (reach.first, -reach.last)):
            if reach.first > end:  # subtrees lie in each other or apart
                end = reach.last
                spans.append((_octets(reach.first), _octets(end)))
        return spans

    def concerns(self, key: bytes, k: int) -> bool:
        """Return whether one of the contacts is, or was before it went, among the `k` closest to `key`."""
        number = _number(key)
        return any(
            reach.first <= number <= reach.last
            and sum(rival ^ number < reach.own ^ number for rival in reach.rivals) < k
            for reach in self._of(k)
        )

    def _of(self, k: int) -> list[_Reach]:
        reaches = self._reaches.get(k)
        if reaches is None:
            reaches = self._reaches[k] = [self._reach(own, k) for own in self._numbers]
        return reaches

    def _reach(self, own: int, k: int) -> _Reach:
        """Return the largest subtree around `own` beside which there are too few to be k closer ones.

        Keys of a subtree beside it that holds k nodes have all of these closer than `own`.
        """
        shared = {other: _BITS - (other ^ own).bit_length() for other in self._known if other != own}
        beside = Counter(shared.values())
        depth = next(depth for depth in range(_BITS + 1) if beside[depth] < k)
        height = _BITS - depth
        first = own >> height << height
        rivals = tuple(other for other, bits in shared.items() if bits >= depth)
        return _Reach(own, first, first + (1 << height) - 1, rivals)


class Changes:
    """Contacts of a substrate that came or went since they were last taken; `own_id` is none of them."""

    def __init__(self, substrate: Substrate, own_id: bytes) -> None:
        self._known: Callable[[], tuple[Contact, ...]] = substrate.known
        self._own_id = own_id
        self._last = self._others()
        self._changed: set[Contact] = set()
        self._everybody = False
        self._news = asyncio.Event()
        substrate.on_change(self._note)

    async def wait(self) -> None:
        """Return when there is something to take that has not been looked at."""
        await self._news.wait()

    def take(self) -> Change | None:
        """Return what has changed; None: more than is remembered, so that every key may be concerned."""
        changed, everybody = self._changed, self._everybody
        self._changed, self._everybody = set(), False
        self._news.clear()
        return None if everybody else Change(changed, self._known())

    def again(self, contacts: Iterable[Contact] | None) -> None:
        """Have these count as changed at the next change, too; None: everybody."""
        self._everybody |= contacts is None
        self._remember(contacts or ())

    def returned(self, node_id: bytes) -> None:
        """Have the contact of this ID count as changed now. One that is not known has changed when it becomes so."""
        found = [contact for contact in self._others() if contact.node_id == node_id]
        if found:
            self._remember(found)
            self._news.set()

    def _note(self) -> None:
        known = self._others()
        self._remember(known ^ self._last)
        self._last = known
        self._news.set()

    def _remember(self, contacts: Iterable[Contact]) -> None:
        self._changed.update(contacts)
        if len(self._changed) > _MOST:
            self._everybody = True
            self._changed.clear()

    def _others(self) -> frozenset[Contact]:
        return frozenset(contact for contact in self._known() if contact.node_id != self._own_id)


def _number(octets: bytes) -> int:
    return int.from_bytes(octets, "big")


def _octets(number: int) -> bytes:
    return number.to_bytes(params.KEY_SIZE, "big")
