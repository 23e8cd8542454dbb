"""p2pcore.mail.rounds: work gathered while a round is under way."""

import asyncio
import threading
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from p2pcore.mail.rounds import Rounds
from p2pcore.sim.virtual_time import run_virtually


class HeldWork:
    """Work that its thread does not finish before `go_on` is set."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.started = asyncio.Event()
        self.go_on = threading.Event()
        self._loop = asyncio.get_running_loop()

    def __call__(self, jobs: Sequence[int]) -> Sequence[int | Exception]:
        self.rounds.append(list(jobs))
        self._loop.call_soon_threadsafe(self.started.set)
        self.go_on.wait(10)
        return list(jobs)


async def test_jobs_that_come_during_a_round_share_the_next() -> None:
    """The first starts at once, alone; the other three make one round."""
    work = HeldWork()
    rounds: Rounds[int, int] = Rounds(work, limit=100, name="test")
    first = asyncio.create_task(rounds.do(1))
    await work.started.wait()
    others = [asyncio.create_task(rounds.do(job)) for job in (2, 3, 4)]
    await asyncio.sleep(0)
    work.go_on.set()
    assert await asyncio.gather(first, *others) == [1, 2, 3, 4]
    assert work.rounds == [[1], [2, 3, 4]]


async def test_each_job_has_its_own_outcome_and_rounds_are_bounded() -> None:
    """A failing job fails alone; five jobs with a limit of two take three rounds."""
    sizes: list[int] = []

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        sizes.append(len(jobs))
        return [ValueError("three") if job == 3 else job for job in jobs]

    rounds: Rounds[int, int] = Rounds(work, limit=2, name="test")
    outcomes = await asyncio.gather(*(rounds.do(job) for job in range(5)), return_exceptions=True)
    assert [outcome for outcome in outcomes if isinstance(outcome, int)] == [0, 1, 2, 4]
    assert sizes == [2, 2, 1]


async def test_work_that_fails_as_a_whole_fails_every_job() -> None:
    """Nobody waits for ever, and the next round works."""

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        if 1 in jobs:
            raise ValueError("one")
        return list(jobs)

    rounds: Rounds[int, int] = Rounds(work, limit=2, name="test")
    with pytest.raises(ValueError, match="one"):
        await rounds.do(1)
    assert await rounds.do(2) == 2


async def test_a_round_that_cannot_begin_fails_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised while a round waits for company is raised to those that wait, and the next round works."""
    rounds: Rounds[int, int] = Rounds(list, limit=2, name="test")
    with monkeypatch.context() as patch:

        async def fails() -> None:
            raise MemoryError

        patch.setattr(rounds, "_gather", fails)
        outcomes = await asyncio.wait_for(
            asyncio.gather(*(rounds.do(job) for job in range(3)), return_exceptions=True), 10
        )
    assert [type(outcome) for outcome in outcomes] == [MemoryError] * 3
    assert await rounds.do(2) == 2


@pytest.mark.parametrize("turns", range(4), ids=["nobody asked yet", "not begun", "its first turn", "no company yet"])
async def test_a_round_that_is_stopped_before_its_work(turns: int) -> None:
    """Who waits is cancelled and that work is never done; whoever comes after that is served."""
    rounds_done: list[list[int]] = []

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        rounds_done.append(list(jobs))
        return list(jobs)

    rounds: Rounds[int, int] = Rounds(work, limit=10, name="test", small=lambda _jobs: True, patience=3_600.0)
    with rounds.following(), rounds.following(), rounds.following():
        waiting = [asyncio.create_task(rounds.do(job)) for job in (1, 2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await rounds.stop()
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 10)
    assert await asyncio.wait_for(rounds.do(3), 10) == 3
    if turns:
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
        assert rounds_done == [[3]]
    else:
        assert outcomes == [1, 2]
        assert rounds_done == [[1, 2], [3]]


async def test_a_round_that_is_stopped_in_its_thread() -> None:
    """Who waits for it, or for the next one, is cancelled at once; whoever comes after that is served."""
    work = HeldWork()
    rounds: Rounds[int, int] = Rounds(work, limit=10, name="test")
    first = asyncio.create_task(rounds.do(1))
    await work.started.wait()
    second = asyncio.create_task(rounds.do(2))
    await asyncio.sleep(0)
    await rounds.stop()
    outcomes = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 2
    work.go_on.set()
    assert await asyncio.wait_for(rounds.do(3), 10) == 3
    assert work.rounds == [[1], [3]]


async def test_small_rounds_are_done_on_the_event_loop() -> None:
    """What `small` says is little work; the rest goes to a thread."""
    threads: list[int] = []

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        threads.append(threading.get_ident())
        return list(jobs)

    rounds: Rounds[int, int] = Rounds(work, limit=10, name="test", small=lambda jobs: len(jobs) <= 2)
    await asyncio.gather(rounds.do(1), rounds.do(2))
    assert threads == [threading.get_ident()]
    await asyncio.gather(*(rounds.do(job) for job in range(3)))
    assert len(threads) == 2
    assert threads[1] != threads[0]


def test_a_round_waits_for_company_while_another_is_being_dealt_with() -> None:
    """The first start at once; then a round begins when as many wait as are being dealt with, or when fewer are."""
    sizes: list[int] = []

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        sizes.append(len(jobs))
        return list(jobs)

    async def run() -> list[float]:
        now = asyncio.get_running_loop().time
        rounds: Rounds[int, int] = Rounds(work, limit=10, name="test", small=lambda _jobs: True, patience=5.0)
        ended: list[float] = []

        async def job(begin: float, dealing: float) -> None:
            await asyncio.sleep(begin)
            await rounds.do(0)
            with rounds.following():
                ended.append(now())
                await asyncio.sleep(dealing)

        await asyncio.gather(job(0, 3), job(0, 3), job(1, 1), job(2, 1), job(8, 1), job(8, 3), job(8.5, 1))
        return ended

    assert run_virtually(run()) == pytest.approx([0, 0, 2, 2, 8, 8, 9])
    assert sizes == [2, 2, 2, 1]


def test_patience_has_an_end() -> None:
    """What is dealt with for long keeps nobody waiting longer than `patience`, and a full round not at all."""
    sizes: list[int] = []

    def work(jobs: Sequence[int]) -> Sequence[int | Exception]:
        sizes.append(len(jobs))
        return list(jobs)

    async def run() -> list[float]:
        now = asyncio.get_running_loop().time
        rounds: Rounds[int, int] = Rounds(work, limit=3, name="test", small=lambda _jobs: True, patience=5.0)
        await rounds.do(0)
        ended: list[float] = []

        async def job(begin: float) -> None:
            await asyncio.sleep(begin)
            await rounds.do(0)
            ended.append(now())

        with ExitStack() as dealing:
            for _ in range(4):
                dealing.enter_context(rounds.following())
            await asyncio.gather(job(1), job(20), job(21), job(22))
        return ended

    assert run_virtually(run()) == pytest.approx([6, 22, 22, 22])
    assert sizes == [1, 1, 3]
