"""`python -m tests.faults`: every fault at every point, or a seeded `--sample`; exits with 1 if one is too many.

Each process takes its runs in order; none shares anything with another but the template of the domain's disks.
"""

import argparse
import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

from tests.faults import inbound, outbound
from tests.faults.around import a_directory, silent, spared
from tests.faults.campaign import Bench, Task, line_of, report, tasks
from tests.faults.runs import Outcome

_PROGRESS = 100  # runs
MESSAGES = (*inbound.MESSAGES, *outbound.MESSAGES)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sample", type=int, default=0, help="how many runs; 0: all")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="runs whose message and fault have this in their text")
    arguments = parser.parse_args()
    started = time.monotonic()
    with silent(), spared(), a_directory() as directory:
        bench = Bench(directory)
        points = {message: bench.run(Task(message, None)).reached for message in MESSAGES}
        chosen = [task for task in tasks(points, arguments.seed) if arguments.only in str(task)]
        if arguments.sample:
            chosen = random.Random(arguments.seed).sample(chosen, min(arguments.sample, len(chosen)))
        with multiprocessing.get_context("fork").Pool(arguments.processes, _begin, (bench, directory), 200) as pool:
            outcomes = []
            for outcome in pool.imap_unordered(_run, chosen, chunksize=4):
                outcomes.append(outcome)
                if outcome.wrong or not outcome.struck:
                    print(line_of(outcome), file=sys.stderr, flush=True)
                if len(outcomes) % _PROGRESS == 0:
                    print(f"{len(outcomes)} of {len(chosen)} runs", file=sys.stderr, flush=True)
    lines, good = report(points, outcomes)
    print("\n".join(lines))
    print(f"seed {arguments.seed}, {time.monotonic() - started:.0f} s")
    return 0 if good else 1


_bench: Bench


def _begin(bench: Bench, directory: Path) -> None:
    global _bench
    _bench = Bench(directory, bench.domain)


def _run(task: Task) -> Outcome:
    return _bench.run(task)


if __name__ == "__main__":
    sys.exit(main())
