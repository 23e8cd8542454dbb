"""The loop of virtual time."""

import asyncio

import pytest

from p2pcore.sim.virtual_time import START, run_virtually, virtual_clock


def test_a_day_passes_at_once() -> None:
    """Time jumps to the next timer; the clock of the world follows it."""

    async def sleep() -> tuple[float, int]:
        await asyncio.sleep(86_400)
        return asyncio.get_running_loop().time(), virtual_clock()

    passed, now = run_virtually(sleep())
    assert passed == pytest.approx(86_400)
    assert abs(now - START - 86_400_000) <= 1


def test_timers_end_in_order() -> None:
    """Events come in the order of their times, whatever the order of their making."""
    order: list[int] = []

    async def note(seconds: int) -> None:
        await asyncio.sleep(seconds)
        order.append(seconds)

    async def main() -> None:
        await asyncio.gather(*(note(seconds) for seconds in (3, 1, 2)))

    run_virtually(main())
    assert order == [1, 2, 3]


def test_an_executor_takes_no_time() -> None:
    """What is given to a thread elsewhere runs at once here, and its exception comes back."""

    async def main() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(lambda: 7)

    assert run_virtually(main()) == 7


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_waiting_for_nothing_is_said() -> None:
    """A world in which nothing can happen any more ends with an error, not in silence."""

    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="no timer will bring"):
        run_virtually(main())
