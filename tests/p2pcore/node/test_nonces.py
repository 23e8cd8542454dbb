"""Nonces: a request counts once, across restarts too, at the price of one number on disk."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.errors import ClockSkew, NodeFull
from p2pcore.node.nonces import AHEAD, STEP, Nonces
from p2pcore.node.storage import Storage
from tests.support.identities import ManualClock

WINDOW = params.REQUEST_SKEW + params.SECOND


@asynccontextmanager
async def one_life(directory: Path, clock: ManualClock) -> AsyncIterator[Nonces]:
    """Nonces of one life of a node."""
    storage = Storage(directory / "node.db", clock)
    await asyncio.to_thread(storage.open)
    nonces = Nonces(storage, clock)
    await asyncio.to_thread(nonces.load)
    yield nonces
    await asyncio.to_thread(storage.close)


async def test_remembered_as_long_as_acceptable(tmp_path: Path) -> None:
    """A nonce is refused the second time for as long as its request would be in time, then forgotten."""
    clock = ManualClock()
    async with one_life(tmp_path, clock) as nonces:
        created = clock()
        assert nonces.use(b"a", created, created + WINDOW)
        clock.advance(params.REQUEST_SKEW)
        assert not nonces.use(b"a", created, created + WINDOW)
        clock.advance(2 * params.MINUTE)
        assert nonces.use(b"b", clock(), clock() + WINDOW)
        assert nonces.use(b"a", created, created + WINDOW)


async def test_nothing_answered_in_one_life_is_taken_in_the_next(tmp_path: Path) -> None:
    """Whatever was settled lies at or below the horizon of the next life; a client told the time goes on at once."""
    clock = ManualClock()
    created = clock() + AHEAD
    async with one_life(tmp_path, clock) as nonces:
        assert nonces.use(b"a", created, created + WINDOW)
        await nonces.settle(created)
    async with one_life(tmp_path, clock) as nonces:
        with pytest.raises(ClockSkew):
            nonces.use(b"a", created, created + WINDOW)
        told = nonces.time()
        assert nonces.use(b"b", told, told + WINDOW)
        await nonces.settle(told)


async def test_a_full_disk_stops_nobody_who_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The horizon stays where it is, and moves when there is room again."""
    clock = ManualClock()
    async with one_life(tmp_path, clock) as nonces:
        with monkeypatch.context() as patch:

            async def full(_work: object) -> None:
                raise NodeFull("disk: database or disk is full")

            patch.setattr(nonces._storage, "write", full)
            await nonces.settle(clock())
            assert nonces.due(clock())
        await nonces.settle(clock())
        assert not nonces.due(clock())


async def test_the_horizon_moves_in_steps(tmp_path: Path) -> None:
    """Requests within one step of the horizon need no further write."""
    clock = ManualClock()
    async with one_life(tmp_path, clock) as nonces:
        await nonces.settle(clock())
        assert nonces.due(clock() + STEP) == 0
        assert nonces.due(clock() + STEP + 1) > 0


async def test_requests_from_the_future_are_refused(tmp_path: Path) -> None:
    """Otherwise one fast clock would move the horizon past everybody else's requests."""
    clock = ManualClock()
    async with one_life(tmp_path, clock) as nonces:
        with pytest.raises(ClockSkew):
            nonces.use(b"a", clock() + AHEAD + 1, clock() + WINDOW)
