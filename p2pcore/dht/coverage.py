"""How far around a lookup's target the answers tell of everybody, and what to ask next where they end too soon.

An answer to a question for some ID names the contacts closest to it: whoever is no farther from that ID than the last
of them is among them. So answers for the target tell of everybody up to some distance, `reached`. To go on from there,
IDs at distances from the target that begin with the same bits as `reached` are asked for, the fewest bits first: within
the subtree that follows such an ID, closer to it is closer to the target too, and the fewer bits, the larger it is.

Only who is near an ID knows everybody around it. What counts is the middle one of what the α live contacts nearest to
it have answered, so that one of them that lies, or was not heard, changes nothing.
"""

from collections.abc import Iterable, Sequence
from statistics import median_low
from typing import Final

from p2pcore import params
from p2pcore.dht.contact import Contact

_BITS: Final = 8 * params.KEY_SIZE
_MOST_STARTS: Final = 8  # IDs asked for in one lookup; half of all nodes gone takes three
_MOST_ASKED: Final = 4 * params.ALPHA  # contacts asked for one of them


class Coverage:
    """What has been asked and answered for IDs at distances (`start`) from `target`; 0 is the target itself."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._farthest: dict[int, dict[bytes, int]] = {0: {}}  # by start and node ID: the last one named; -1: no answer

    def note(self, start: int, teller: Contact, named: Iterable[Contact]) -> None:
        """Note whom `teller` has named when asked for the ID at the distance `start`."""
        sought = self._target ^ start
        far = max((int.from_bytes(contact.node_id, "big") ^ sought for contact in named), default=-1)
        self._farthest[start][teller.node_id] = far

    def next_question(self, live: Sequence[Contact], limit: int) -> tuple[int, list[Contact]] | None:
        """Return whom of `live` to ask next, and for which start; None where everybody closer than `limit` is told of.

        None as well when enough has been asked. Whoever is returned counts as asked.
        """
        reached = 0
        for start, farthest in self._farthest.items():
            nearest = self._nearest(live, start)
            left = [contact for contact in nearest if contact.node_id not in farthest]
            if left and len(farthest) < _MOST_ASKED:
                return self._question(start, left)
            answers = [far for contact in nearest if (far := farthest.get(contact.node_id, -1)) >= 0]
            if answers and start <= reached:
                reached = max(reached, _end(start, median_low(answers)))
            if reached >= limit:
                return None
        if len(self._farthest) > _MOST_STARTS:
            return None
        for start in _prefixes(reached):
            if start not in self._farthest:
                self._farthest[start] = {}
                return self._question(start, self._nearest(live, start))
        return None

    def _nearest(self, live: Sequence[Contact], start: int) -> list[Contact]:
        sought = self._target ^ start
        return sorted(live, key=lambda contact: int.from_bytes(contact.node_id, "big") ^ sought)[: params.ALPHA]

    def _question(self, start: int, asked: list[Contact]) -> tuple[int, list[Contact]]:
        self._farthest[start].update(dict.fromkeys((contact.node_id for contact in asked), -1))
        return start, asked


def _end(start: int, farthest: int) -> int:
    """Return the distance up to which everybody from `start` on is named, given the last one's distance from there."""
    if not start or farthest < start & -start:
        return start + farthest + 1
    height = (farthest + 1).bit_length() - 1  # the whole subtree of this height around it is named
    return ((start >> height) + 1) << height


def _prefixes(distance: int) -> Iterable[int]:
    """Yield what is left of `distance` when all but its first one, two, three … set bits are cleared."""
    prefix = 0
    for bit in range(_BITS - 1, -1, -1):
        if distance >> bit & 1:
            prefix |= 1 << bit
            yield prefix
