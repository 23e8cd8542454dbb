"""Contents are sealed while they arrive; what touches the disk is sealed, nameless and gone afterwards."""

import os
import tracemalloc
from pathlib import Path

import pytest

from gateway.smtp import params
from gateway.smtp.content import ContentSink, Watcher
from gateway.smtp.limits import MemoryBudget
from gateway.smtp.replies import NO_MEMORY, Refusal
from p2pcore import params as core_params
from p2pcore.crypto.sealing import open_body, sealed_size


class Keeper:
    """Keeps the first `most` octets that it is shown."""

    def __init__(self, most: int) -> None:
        self.kept = bytearray()
        self._most = most

    @property
    def held(self) -> int:
        return len(self.kept)

    def feed(self, block: bytes) -> None:
        self.kept += block[: self._most - len(self.kept)]

    def close(self) -> None:
        self.kept.clear()


def sink(directory: Path, budget: MemoryBudget, watch: Watcher | None = None) -> ContentSink:
    return ContentSink(directory, budget.share(), watch)


@pytest.mark.parametrize("size", [0, 1, 8_000, 65_537, (1 << 20) - 100, 1 << 20, (3 << 20) + 17])
async def test_what_was_added_opens_again(tmp_path: Path, size: int) -> None:
    """The sealed body opens to the content, its digest and sizes are right, and all memory is given back."""
    content, budget = os.urandom(size), MemoryBudget(params.MEMORY)
    taker = sink(tmp_path, budget)
    for start in range(0, size, 100_000):
        await taker.add(content[start : start + 100_000])
    sealed = await taker.finish()
    octets = sealed.source if isinstance(sealed.source, bytes) else sealed.source.read_bytes()
    assert open_body(sealed.session_key, sealed.content_size, octets) == content
    assert sealed.content_size == size
    assert sealed.sealed_size == len(octets) == sealed_size(size)
    taker.close()
    assert budget.used == 0


async def test_large_bodies_are_in_a_file_without_a_name(tmp_path: Path) -> None:
    """Above 1 MiB of sealed octets a nameless file takes them; clear text is not in it; closing frees it."""
    token = b"a token that nobody else has"
    taker = sink(tmp_path, MemoryBudget(params.MEMORY))
    for _ in range(3):
        await taker.add(token * 40_000)
    assert os.listdir(tmp_path) == []
    sealed = await taker.finish()
    assert isinstance(sealed.source, Path)
    assert token not in sealed.source.read_bytes()
    assert os.listdir(tmp_path) == []
    path = sealed.source
    taker.close()
    with pytest.raises(FileNotFoundError):
        path.read_bytes()


async def test_small_bodies_never_touch_the_disk(tmp_path: Path) -> None:
    """A directory that does not exist is no obstacle up to 1 MiB, and an OSError beyond."""
    taker = sink(tmp_path / "missing", MemoryBudget(params.MEMORY))
    await taker.add(bytes(1 << 20))
    taker.close()
    taker = sink(tmp_path / "missing", MemoryBudget(params.MEMORY))
    await taker.add(bytes(1 << 20))
    await taker.add(b"x")
    with pytest.raises(OSError, match="missing"):
        await taker.add(bytes(1 << 20))
    taker.close()


@pytest.mark.parametrize("size", [0, 8_000, (3 << 20) + 17])
async def test_who_watches_sees_every_octet(tmp_path: Path, size: int) -> None:
    """In order and before `finish` returns, however the pieces come."""
    content, watch = os.urandom(size), Keeper(size)
    taker = sink(tmp_path, MemoryBudget(params.MEMORY), watch)
    for start in range(0, size, 100_000):
        await taker.add(content[start : start + 100_000])
    await taker.finish()
    assert watch.kept == content
    taker.close()
    assert not watch.kept


async def test_small_pieces_cost_what_they_hold(tmp_path: Path) -> None:
    """A client that sends two octets at a time costs no more memory than they are counted for."""
    taker = sink(tmp_path, MemoryBudget(params.MEMORY))
    tracemalloc.start()
    for _ in range(50_000):
        await taker.add(b"\r\n")
    held, _peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    taker.close()
    assert held < 300_000


async def test_what_is_held_elsewhere_counts(tmp_path: Path) -> None:
    """What watches keeps octets too, and the sealer a segment; what is sealed is in a file by then."""
    budget, watch = MemoryBudget(params.MEMORY), Keeper(1_500_000)
    taker = sink(tmp_path, budget, watch)
    await taker.add(bytes(1_000_000))
    assert budget.used == 1_000_000
    await taker.add(bytes(200_000))  # a segment is sealed
    assert budget.used == 1_200_000 + core_params.SEGMENT_SIZE
    await taker.add(bytes(2_000_000))
    assert budget.used == 1_500_000 + core_params.SEGMENT_SIZE
    await taker.add(bytes(500_000))
    assert budget.used == 2_000_000 + core_params.SEGMENT_SIZE
    taker.close()
    assert budget.used == 0


async def test_no_room_for_what_is_held_elsewhere(tmp_path: Path) -> None:
    """452 in the midst of a content; all of it is free then, though its end has not come."""
    budget, watch = MemoryBudget(2_000_000), Keeper(1 << 20)
    taker = sink(tmp_path, budget, watch)
    with pytest.raises(Refusal) as caught:
        await taker.add(bytes(1_900_000))
    assert caught.value.reply == NO_MEMORY
    taker.close()
    assert (budget.used, watch.held) == (0, 0)


async def test_memory_is_bounded_over_all(tmp_path: Path) -> None:
    """Where the budget ends, a Refusal with 452; what the refused one held is there for the next."""
    budget = MemoryBudget(1_000_000)
    first, second = sink(tmp_path, budget), sink(tmp_path, budget)
    await first.add(bytes(600_000))
    with pytest.raises(Refusal) as caught:
        await second.add(bytes(600_000))
    assert caught.value.reply == NO_MEMORY
    first.close()
    await second.add(bytes(600_000))
    second.close()
    second.close()
    assert budget.used == 0
