"""p2pcore.mail.cache: what the network said, bounded, asked for once by all who ask at the same time."""

import asyncio

import pytest

from p2pcore.errors import CannotKnow, NoSuchAddress
from p2pcore.mail.cache import FreshCache
from tests.support.identities import ManualClock


class Source:
    """Counts what is asked; fails when told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None

    async def load(self, key: str) -> str:
        self.asked.append(key)
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        return key.upper()


def cache_over(source: Source, clock: ManualClock, *, size: int = 10, stale: int = 0) -> FreshCache[str, str]:
    return FreshCache(source.load, clock, lifetime=100, size=size, stale=stale)


async def test_a_value_is_believed_for_its_lifetime() -> None:
    """And asked for anew afterwards."""
    source, clock = Source(), ManualClock()
    cache = cache_over(source, clock)
    first, second = await cache.get("a"), await cache.get("a")
    assert first == second == "A"
    clock.advance(100)
    await cache.get("a")
    assert source.asked == ["a", "a"]


async def test_who_asks_at_the_same_time_shares_one_question() -> None:
    """Also when the first of them has given up."""
    source = Source()
    cache = cache_over(source, ManualClock())
    first = asyncio.create_task(cache.get("a"))
    others = asyncio.gather(cache.get("a"), cache.get("a"))
    await asyncio.sleep(0)
    first.cancel()
    assert set(await others) == {"A"}
    assert source.asked == ["a"]


async def test_a_stale_value_bridges_a_temporary_failure_only() -> None:
    """A permanent answer is an answer; too old a value is none."""
    source, clock = Source(), ManualClock()
    cache = cache_over(source, clock, stale=1_000)
    await cache.get("a")
    clock.advance(500)
    source.failure = CannotKnow("down")
    assert await cache.get("a") == "A"
    source.failure = NoSuchAddress("gone")
    with pytest.raises(NoSuchAddress):
        await cache.get("a")
    source.failure = CannotKnow("down")
    clock.advance(500)
    with pytest.raises(CannotKnow):
        await cache.get("a")


async def test_the_least_recently_used_value_goes_first() -> None:
    """Two fit."""
    source = Source()
    cache = cache_over(source, ManualClock(), size=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        await cache.get(key)
    assert source.asked == ["a", "b", "c", "b"]
