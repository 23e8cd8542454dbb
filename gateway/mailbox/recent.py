"""The messages that were read last, as FETCH needs them: who asks for one again, part by part, waits for no thread.

Everything here happens on the event loop's thread. What a message is never changes, and its UID never means another;
it goes from here with the commit that expunges it.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from gateway.mailbox.model import Change, Expunged, Octets, Precomputed
from gateway.mailbox.params import RECENT_FEW, RECENT_OCTETS

_RANK: Final[dict[Octets, int]] = {"none": 0, "usual": 1, "header": 1, "all": 2}
_OVERHEAD: Final = 500  # octets of the objects around a message's


class _Kept(NamedTuple):
    rank: int  # of what was asked for when it was read
    message: Precomputed
    octets: int


class RecentMessages:
    """One store's."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self.ends = 0  # how often messages went; who reads from the thread notes it before
        self._kept: dict[tuple[int, int], _Kept] = {}  # by mailbox and UID, the one used last at the end
        self._octets = 0

    def of(self, mailbox_id: int, uids: Sequence[int], octets: Octets) -> dict[int, Precomputed]:
        """Those of the messages of which as much is known; usual fields of many are read sooner than chosen anew."""
        rank = _RANK[octets]
        found: dict[int, Precomputed] = {}
        if octets == "usual" and len(uids) > RECENT_FEW:
            return found
        for uid in uids:
            kept = self._kept.get((mailbox_id, uid))
            if kept is not None and kept.rank >= rank:
                found[uid] = kept.message
                del self._kept[mailbox_id, uid]
                self._kept[mailbox_id, uid] = kept
        return found

    def keep(self, mailbox_id: int, read: Mapping[int, Precomputed], octets: Octets, ends: int) -> None:
        """Know what was just read, if no message went since `ends`; the oldest are let go above RECENT_OCTETS.

        Usual fields, and structures of more than a few, are passed over: a reader's first sync would push out all else.
        """
        if ends != self.ends or octets == "usual" or (octets == "none" and len(read) > RECENT_FEW):
            return
        rank = _RANK[octets]
        for uid, message in read.items():
            self._drop((mailbox_id, uid))
            kept = _Kept(rank, message, _size(message))
            self._kept[mailbox_id, uid] = kept
            self._octets += kept.octets
        while self._octets > RECENT_OCTETS:
            self._drop(next(iter(self._kept)))

    def apply(self, changes: Sequence[tuple[int, Change]], gone: Sequence[int]) -> None:
        """Take note of one commit's changes; `gone` mailboxes were deleted."""
        expunged = [(mailbox_id, change.uid) for mailbox_id, change in changes if isinstance(change, Expunged)]
        for place in expunged:
            self._drop(place)
        if gone:
            for place in [place for place in self._kept if place[0] in gone]:
                self._drop(place)
        self.ends += bool(expunged or gone)

    def forget(self) -> None:
        """Know nothing any more: contents were changed in a way that nobody is told of."""
        self._kept.clear()
        self._octets = 0
        self.ends += 1

    def _drop(self, place: tuple[int, int]) -> None:
        kept = self._kept.pop(place, None)
        if kept is not None:
            self._octets -= kept.octets


def _size(message: Precomputed) -> int:
    parts = (message.envelope, message.body, message.bodystructure, message.packed, message.head, message.rest)
    return _OVERHEAD + sum(len(part) for part in parts if part is not None)
