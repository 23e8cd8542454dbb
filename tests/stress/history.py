"""What may be true of a mailbox while many change it at once: operations from beginning to end, and what each did.

Time is a counter of what the clients sent and received. An operation took place at one moment between its beginning
and its end; what began after another's end came after it. From this follow, for every question, the answers that a
server may give: where nothing overlaps there is exactly one.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

OPEN = sys.maxsize

Mode = Literal["set", "add", "remove"]

DELETED = "\\deleted"
SEEN = "\\seen"


class Difference(AssertionError):
    """The server said what the model does not allow."""


class Clock:
    """Counts what was sent and received."""

    def __init__(self) -> None:
        self.now = 1

    def tick(self) -> int:
        self.now += 1
        return self.now


@dataclass(slots=True, eq=False)
class Op:
    """Something that was asked of the server. An outcome that is not known: `sure` is False."""

    start: int
    end: int = OPEN
    sure: bool = True
    withdrawn: bool = False  # it was refused and did nothing

    def done(self, now: int) -> None:
        self.end = now

    def refused(self, now: int) -> None:
        self.end, self.withdrawn = now, True


def last_cut(ops: Iterable[Op], moment: int) -> int:
    """What ended before this cannot be what is true at `moment`: an operation came after it and is over."""
    return max((op.start for op in ops if op.sure and not op.withdrawn and op.end <= moment), default=-1)


@dataclass(slots=True)
class Effect:
    """One operation's effect on one message's flags. `modseq` is None where it is not known, 0: not touched."""

    op: Op
    mode: Mode
    flags: frozenset[str]
    doubtful: frozenset[str] = frozenset()  # flags of "set" that may be there or not
    modseq: int | None = None
    unknown: bool = False  # "set" to nobody knows what

    def values(self, flag: str) -> tuple[bool, ...]:
        """What the flag may be after it; nothing where it is left alone."""
        if self.mode == "set":
            return (True, False) if self.unknown or flag in self.doubtful else (flag in self.flags,)
        return (self.mode == "add",) if flag in self.flags else ()


@dataclass(frozen=True, slots=True)
class Content:
    """A message as it was appended."""

    mark: int  # its own number, in its Message-ID
    octets: bytes
    subject: str
    sender: str
    text: str
    internal_date: str  # as in APPEND
    day: int  # of March 2026, of its Date field and of its internal date


@dataclass(slots=True, eq=False)
class Message:
    """One UID of one mailbox. `content` is None until it is known which message it is."""

    uid: int
    born: Op
    content: Content | None = None
    explained: bool = False  # the operation that made it is known
    effects: list[Effect] = field(default_factory=list)
    deaths: list[Op] = field(default_factory=list)
    touched: int = 0  # when something about it was last asked for or answered
    versions: dict[int, frozenset[str]] = field(default_factory=dict)  # by modseq

    def flag(self, flag: str, start: int, end: int) -> set[bool]:
        """What the flag may be somewhere between two moments."""
        relevant = [(each, values) for each in self.effects if not each.op.withdrawn and (values := each.values(flag))]
        cut = last_cut((each.op for each, _ in relevant), start)
        return {value for each, values in relevant for value in values if each.op.start < end and each.op.end > cut}

    def modseqs(self, start: int, end: int, *, without: Effect | None = None) -> set[int | None]:
        """What the modseq may be, `without` one effect; None stands for any."""
        relevant = [each for each in self.effects if each is not without and not each.op.withdrawn and each.modseq != 0]
        cut = last_cut((each.op for each in relevant), start)
        return {each.modseq for each in relevant if each.op.start < end and each.op.end > cut}

    def universe(self) -> set[str]:
        return {flag for each in self.effects for flag in each.flags | each.doubtful}

    def certain_flags(self, start: int, end: int) -> tuple[frozenset[str], frozenset[str]] | None:
        """(flags that are there for certain, flags that may be there or not), None where nothing is known."""
        cut = last_cut((each.op for each in self.effects if each.mode == "set" and not each.unknown), start)
        if not self.explained or any(each.unknown and each.op.end > cut for each in self.effects):
            return None
        surely, perhaps = set[str](), set[str]()
        for flag in self.universe():
            values = self.flag(flag, start, end)
            if values == {True}:
                surely.add(flag)
            elif len(values) == 2:
                perhaps.add(flag)
        return frozenset(surely), frozenset(perhaps)

    def wrong_flag(self, flags: frozenset[str], start: int, end: int) -> str | None:
        """A flag that `flags` has, or lacks, and cannot."""
        if not any(each.mode == "set" for each in self.effects):
            return None  # not known from its beginning
        for flag in sorted(flags | self.universe()):
            if (flag in flags) not in self.flag(flag, start, end):
                return flag
        return None

    def story(self) -> str:
        """Its effects, for whoever reads a difference."""
        told = (
            f"{one.op.start}-{one.op.end if one.op.end != OPEN else ''}{'' if one.op.sure else '?'}"
            f" {one.mode} {' '.join(sorted(one.flags))}{f' modseq {one.modseq}' if one.modseq else ''}"
            for one in self.effects
        )
        return "; ".join(told)

    def answered(self, effect: Effect, told: frozenset[str] | None, now: int) -> str | None:
        """The command with this effect is over; flags that it told last are from after the effect.

        Gives a flag that is wrong in them.
        """
        start = effect.op.start
        self.touched = now
        self.effects = [each for each in self.effects if each is effect or each.op.start != start]
        if told is None or not any(each.mode == "set" for each in self.effects):
            return None
        for flag in sorted(effect.flags | told if effect.mode == "set" else effect.flags):
            relevant = (each for each in self.effects if not each.op.withdrawn and each.op.end > start)
            if (flag in told) not in {value for each in relevant for value in each.values(flag)}:
                return flag
        return None

    def observed(self, flags: frozenset[str], modseq: int | None, start: int, end: int) -> None:
        """It had these flags at some moment between two."""
        self.effects.append(Effect(Op(start, end), "set", flags, modseq=0 if modseq is None else modseq))

    def surely_dead(self, moment: int) -> bool:
        return any(op.sure and not op.withdrawn and op.end <= moment for op in self.deaths)

    def may_have_died(self, moment: int) -> bool:
        return any(not op.withdrawn and op.start < moment for op in self.deaths)

    def prune(self, horizon: int) -> None:
        """Forget what no question that may still be asked depends on: none is about a time before `horizon`."""
        if len(self.effects) < 8:
            return
        cut = max(
            (
                each.op.start
                for each in self.effects
                if each.mode == "set" and each.modseq != 0 and each.op.sure and each.op.end <= horizon
            ),
            default=-1,
        )
        self.effects = [each for each in self.effects if each.op.end > cut]


@dataclass(slots=True, eq=False)
class Creation:
    """Messages on their way into a mailbox; `unclaimed` were not seen there yet."""

    op: Op
    contents: list[Content | None]  # None: a copied message of which it was not known which one it is
    flags: list[tuple[frozenset[str], frozenset[str]] | None]  # certain, doubtful; None: those of the one copied
    floor: int  # the highest UID that was known to be given when it began
    moved: list[Message] = field(default_factory=list)  # the originals, if it is a MOVE
    claimed: list[int] = field(default_factory=list)  # places of the contents that were found, its outcome not known


@dataclass(slots=True, eq=False)
class Expunging:
    """A command that takes messages away: those with \\Deleted, or (`any_flags`) whatever it names."""

    op: Op
    uids: frozenset[int] | None
    any_flags: bool = False
