"""The whole of it: points found in fault-free runs, every one hit with every kind of fault, and the report."""

import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from tests.faults.domain import Domain
from tests.faults.preparing import prepare
from tests.faults.runs import WRONG, Message, Outcome, run_once
from tests.faults.steps import ERRORS, KINDS, Fault, Moment, Point

STALLS = (90.0, 660.0)  # seconds: past every deadline of ours; past what the sender waits for the dot as well
_LISTED = 20
_TRIES = 12  # at either moment, where a point does not come: whichever of three nodes is asked, two are not
_MOMENTS: tuple[Moment, ...] = ("before", "after")


@dataclass(frozen=True, slots=True)
class Task:
    """One run to be made."""

    message: Message
    fault: Fault | None


class Bench:
    """Where the runs of one process are made: the domain, and a directory and a loopback address of its own."""

    def __init__(self, directory: Path, domain: Domain | None = None) -> None:
        number = os.getpid()
        self._host = f"127.{number // 250 % 250 + 1}.{number % 250 + 1}.1"
        self._directory = directory
        self._numbers = count()
        self.domain = domain or prepare(directory / "template", self._host)

    def run(self, task: Task) -> Outcome:
        """Make a run; again where its point did not come, or not at the moment that was chosen."""
        for moment in (None, *_MOMENTS * _TRIES):
            fault = task.fault
            if fault is not None and moment is not None:
                fault = replace(fault, moment=moment)
            place = self._directory / f"{os.getpid()}-{next(self._numbers)}"
            outcome = run_once(self.domain, place, task.message, fault, self._host)
            if outcome.struck or outcome.wrong or fault is None:
                break
        return outcome


def tasks(points: Mapping[Message, Sequence[Point]], seed: int) -> list[Task]:
    """Return a run for every point and kind of fault; chance decides how it strikes."""
    made = []
    for message, reached in points.items():
        for point in reached:
            for kind in KINDS:
                chance = random.Random(f"{seed} {message.name} {point} {kind}")
                fault = Fault(point, kind, chance.choice(_MOMENTS), chance.choice(list(ERRORS)), chance.choice(STALLS))
                made.append(Task(message, fault))
    return made


def report(points: Mapping[Message, Sequence[Point]], outcomes: Sequence[Outcome]) -> tuple[list[str], bool]:
    """Return the report's lines, and whether every run hit its point and was right."""
    lines = []
    for message, reached in points.items():
        lines.append(f"{message.name}: {len(reached)} points reached")
        for kind in KINDS:
            struck = [(each.fault, each) for each in outcomes if each.message == message and each.fault is not None]
            of_kind = [(fault, each) for fault, each in struck if fault.kind == kind]
            hit = {fault.point for fault, each in of_kind if each.struck}
            again = sum(len(each.replies) > 1 for _, each in of_kind)
            repeated = sum(each.again for _, each in of_kind)
            lines.append(
                f"  {kind:<10} {len(hit):>4} of {len(of_kind):>4} points hit;"
                f" sent again {again}, shown again {repeated}"
            )
    wrong = Counter(each.wrong for each in outcomes if each.wrong)
    lines += [f"runs {len(outcomes)}: {', '.join(f'{wrong[what]} {what}' for what in WRONG)}"]
    remains = [each for each in outcomes if each.remains]
    lines.append(
        f"something still owed after {sum(each.owed for each in outcomes)},"
        f" something left on a node after {sum(each.left > 0 for each in outcomes)},"
        f" something that nobody caught after {sum(bool(each.uncaught) for each in outcomes)}"
    )
    lines += [f"{each.remains}: {each.message.name}: {each.fault}" for each in remains[:_LISTED]]
    bad = [each for each in outcomes if each.wrong or not each.struck]
    return [*lines, *map(line_of, bad)], not bad


def line_of(outcome: Outcome) -> str:
    """Return what is needed to see one run again."""
    return f"{outcome.wrong or 'not hit'}: {outcome.message.name}: {outcome.fault} {outcome.replies}"
