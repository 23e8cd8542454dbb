"""`python -m tests.stress`: random clients against the server and the model; exits with 1 at a difference.

With `--mutations` instead against every broken server of mutations.py; exits with 1 if one is not found out.
"""

import argparse
import asyncio
import logging
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import structlog

from tests.stress.history import Difference
from tests.stress.mutations import MUTATIONS
from tests.stress.run import Plan, Run, ServerProcess
from tests.stress.serving import mutated

_MEMORY = Path("/dev/shm")  # where there is one: every command that changes something is synced


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=180.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lock-step", action="store_true", help="one command at a time: repeats itself exactly")
    parser.add_argument("--mutations", action="store_true", help="find every broken server out")
    parser.add_argument("--mutation", choices=sorted(MUTATIONS), help="run against this broken server")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # clients and servers that die leave writes behind
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if arguments.mutations:
        return _all_mutations()
    plan = Plan(arguments.seed, arguments.clients, rounds=sys.maxsize, lock_step=arguments.lock_step)
    started = time.monotonic()
    with _directory() as directory:
        run = Run(plan, ServerProcess(Path(directory), arguments.mutation))
        difference = _outcome(run, arguments.seconds)
    if difference is not None:
        print(difference)
    print(
        f"seed {arguments.seed}: {run.world.commands} commands of {arguments.clients} clients"
        f" in {time.monotonic() - started:.0f} s, {0 if difference is None else 1} differences"
    )
    return 0 if difference is None else 1


def _directory() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="p2pmail-stress-", dir=_MEMORY if _MEMORY.is_dir() else None)


def _outcome(run: Run, seconds: float | None = None) -> Difference | None:
    """Run for a time, or all rounds of the plan; the first difference."""
    ends = time.monotonic() + seconds if seconds is not None else None
    try:
        asyncio.run(run.run(lambda: ends is not None and time.monotonic() >= ends))
    except Difference as difference:
        return difference
    except BaseExceptionGroup as group:  # of the clients' tasks
        differences = group.subgroup(Difference)
        if differences is None:
            raise
        found: BaseException = differences
        while isinstance(found, BaseExceptionGroup):
            found = found.exceptions[0]
        assert isinstance(found, Difference)
        return found
    return None


def _all_mutations() -> int:
    missed = []
    for name in sorted(MUTATIONS):
        with ExitStack() as undo, _directory() as directory:

            def put(owner: Any, attribute: str, value: Any, undo: ExitStack = undo) -> None:
                undo.enter_context(mock.patch.object(owner, attribute, value))

            run = mutated(name, Path(directory), put)
            difference = _outcome(run)
        said = str(difference).partition("\n")[0][:100] if difference is not None else "not found out"
        print(f"{name}: {run.world.commands} commands: {said}", flush=True)
        missed += [name] if difference is None else []
    print(f"{len(MUTATIONS) - len(missed)} of {len(MUTATIONS)} broken servers found out")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
