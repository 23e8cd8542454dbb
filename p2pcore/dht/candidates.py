"""What one lookup knows of a contact: how far it is, who named it, and what has come of asking it."""

from dataclasses import dataclass, field
from enum import Enum, auto

from p2pcore import params
from p2pcore.dht.contact import Contact


class State(Enum):
    """Where a contact stands in a lookup."""

    NEW = auto()
    ASKED = auto()
    LATE = auto()  # silent longer than our patience, or asked again
    ANSWERED = auto()
    OUT = auto()


@dataclass(slots=True)
class Namer:
    """What one contact has named, and how that has fared."""

    named: "set[Entry]" = field(default_factory=set)

    @property
    def doubtful(self) -> bool:
        """Whether more of them are silent than honesty explains: half of an honest answer may be dead, in any order."""
        silent = sum(entry.state in (State.LATE, State.OUT) for entry in self.named)
        answered = sum(entry.state is State.ANSWERED for entry in self.named)
        return silent > 2 * answered + params.DOUBTFUL_SILENT


@dataclass(slots=True, eq=False)
class Entry:
    """A contact, its distance from the target and who named it; the same ID at another endpoint is another entry."""

    away: int
    contact: Contact
    seed: bool
    namers: list[Namer] = field(default_factory=list)
    state: State = State.NEW
    asked: int = 0  # requests so far, of two at most, and
    pending: int = 0  # those of them under way
    decided: float = 0.0  # when the second of them has had as much patience as the first
