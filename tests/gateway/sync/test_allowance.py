"""Allowance: what may be in use at once."""

import asyncio

from gateway.sync.allowance import Allowance


async def test_nobody_exceeds_it_and_everybody_gets_his_turn() -> None:
    """What is in use never exceeds the allowance; who waits is served in the order of coming."""
    allowance = Allowance(10)
    used = most = 0
    served: list[int] = []

    async def use(number: int, octets: int) -> None:
        nonlocal used, most
        await allowance.take(octets)
        served.append(number)
        used += octets
        most = max(most, used)
        for _ in range(number % 3 + 1):
            await asyncio.sleep(0)
        used -= octets
        allowance.give_back(octets)

    async with asyncio.TaskGroup() as tasks:
        for number, octets in enumerate((4, 4, 4, 1, 10, 2, 8, 3, 7)):
            tasks.create_task(use(number, octets))
    assert most <= 10
    assert served == sorted(served)


async def test_what_is_larger_than_all_of_it_goes_alone() -> None:
    """More than the allowance is had when nothing else is in use, and then alone."""
    allowance = Allowance(10)
    await allowance.take(25)
    other = asyncio.create_task(allowance.take(1))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not other.done()
    allowance.give_back(25)
    await other


async def test_who_gives_up_waiting_takes_nothing() -> None:
    """A cancelled wait leaves the allowance to the others."""
    allowance = Allowance(10)
    await allowance.take(10)
    waiting = asyncio.create_task(allowance.take(10))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    allowance.give_back(10)
    async with asyncio.timeout(5):
        await allowance.take(10)
