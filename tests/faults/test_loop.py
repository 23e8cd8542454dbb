"""The loop of fault runs: what a killed process leaves is left as SIGKILL would leave it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.faults.loop import FaultLoop
from tests.faults.process import OWNER, Process
from tests.faults.steps import Watcher


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
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(scene(Process("node", tmp_path)))
    assert ended == ([] if killed else ["closed"])
    assert loop.troubles == []
