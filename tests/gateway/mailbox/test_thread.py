"""gateway/mailbox/thread.py: one thread, jobs in order, each with its own outcome."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from gateway.mailbox.thread import StoreThread


@pytest.fixture
async def thread() -> AsyncIterator[StoreThread]:
    thread = StoreThread()
    yield thread
    thread.end()
    await asyncio.to_thread(thread._thread.join, 20)
    assert not thread._thread.is_alive()


async def test_jobs_are_done_in_order_on_one_thread(thread: StoreThread) -> None:
    """Whoever asks first is served first, never on the loop's thread."""
    done: list[int] = []

    def job(number: int) -> int:
        done.append(number)
        return threading.get_ident()

    threads = await asyncio.gather(*(thread.run(lambda number=number: job(number)) for number in range(50)))  # type: ignore[misc]
    assert done == list(range(50))
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


async def test_an_error_is_its_jobs_own(thread: StoreThread) -> None:
    """What a job raises is raised where it was asked for, and the next job is done."""
    failed, fine = await asyncio.gather(thread.run(lambda: 1 // 0), thread.run(lambda: 7), return_exceptions=True)
    assert isinstance(failed, ZeroDivisionError)
    assert fine == 7


async def test_what_is_no_longer_wanted_is_not_begun(thread: StoreThread) -> None:
    """A call that is cancelled before its turn does nothing; one that is under way is finished, and nobody is told."""
    go_on, begun, done = threading.Event(), threading.Event(), list[str]()

    def hold() -> None:
        begun.set()
        go_on.wait(20)
        done.append("first")

    first = asyncio.create_task(thread.run(hold))
    second = asyncio.create_task(thread.run(lambda: done.append("second")))
    await asyncio.to_thread(begun.wait, 20)
    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    go_on.set()
    await thread.run(lambda: done.append("third"))
    assert done == ["first", "third"]
