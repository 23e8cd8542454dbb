"""The loop of fault runs: what a killed process leaves is left as SIGKILL would leave it."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from p2pcore.client.tasks import shared
from tests.faults.loop import FaultLoop
from tests.faults.process import OWNER, Process
from tests.faults.steps import Fault, Watcher

T = TypeVar("T")


def run_on(loop: FaultLoop, work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(work)


@pytest.mark.parametrize("killed", [True, False])
def test_an_unfinished_generator_of_a_killed_process_is_closed_by_nobody(tmp_path: Path, killed: bool) -> None:
    """Not a line of it is carried out any more; one of a process that lives is closed when nobody has it any more."""
    ended: list[str] = []

    async def pieces() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            ended.append("closed")

    async def scene(process: Process) -> None:
        OWNER.set(process)
        begun = pieces()
        await anext(begun)
        OWNER.set(None)
        if killed:
            process.kill()
        del begun
        await asyncio.sleep(1)

    loop = FaultLoop(Watcher(None))
    run_on(loop, scene(Process("node", tmp_path)))
    assert ended == ([] if killed else ["closed"])
    assert loop.troubles == []


@pytest.mark.parametrize("killed", [True, False])
def test_a_failure_that_nobody_saw_is_a_trouble_of_a_process_that_lives(tmp_path: Path, killed: bool) -> None:
    """A killed one has no log in which it could stand."""

    async def scene(process: Process) -> None:
        OWNER.set(process)
        answer = asyncio.get_running_loop().create_future()
        answer.set_exception(ValueError("unseen"))
        if killed:
            process.kill()

    loop = FaultLoop(Watcher())
    run_on(loop, scene(Process("node", tmp_path)))
    assert len(loop.troubles) == (0 if killed else 1)


def test_what_an_exception_that_was_put_in_keeps_from_being_seen_is_no_trouble(tmp_path: Path) -> None:
    """It comes instead of what the program waits for, which then fails with nobody there."""

    async def scene(process: Process) -> BaseException | None:
        OWNER.set(process)
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = asyncio.create_task(shared(answer))
        await asyncio.sleep(1)
        answer.set_exception(ValueError("unseen"))
        await asyncio.wait([waiting])
        return waiting.exception()

    seen = FaultLoop(Watcher(open=True))
    assert isinstance(run_on(seen, scene(Process("node", tmp_path))), ValueError)
    fault = Fault(seen.watcher.reached[0], "exception", "before", "RuntimeError")
    struck = FaultLoop(Watcher(fault, open=True))
    assert isinstance(run_on(struck, scene(Process("node", tmp_path))), RuntimeError)
    gc.collect()
    assert seen.troubles == struck.troubles == []
