"""BodyFiles: what is not named by a row leaves nothing behind."""

import asyncio
import hashlib
import os
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from p2pcore.errors import NodeFull
from p2pcore.node.bodies import BodyFiles

OCTETS = os.urandom(200_000)


async def pieces() -> AsyncIterator[bytes]:
    for start in range(0, len(OCTETS), 50_000):
        yield OCTETS[start : start + 50_000]


async def test_a_body_whose_sender_leaves_at_the_last_moment_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled while it is being kept: no row would ever name the file, and no quota would count it."""
    bodies = BodyFiles(tmp_path)
    bodies.open(())
    keeping, cancelled = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    genuine = os.fsync

    def fsync(descriptor: int) -> None:
        loop.call_soon_threadsafe(keeping.set)
        cancelled.wait(10)
        genuine(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    receiving = asyncio.create_task(bodies.receive(pieces(), len(OCTETS), hashlib.sha256(OCTETS).digest()))
    await keeping.wait()
    receiving.cancel()
    asyncio.get_running_loop().call_soon(cancelled.set)
    with pytest.raises(asyncio.CancelledError):
        await receiving
    bodies.close()
    assert not list((tmp_path / "bodies").iterdir())
    assert not list((tmp_path / "incoming").iterdir())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """The system takes the first 150,000 octets of a file, and says so, before it refuses any more."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.usefixtures("small_disk")
async def test_a_body_that_the_disk_takes_a_part_of_is_not_taken(tmp_path: Path, whole: bool) -> None:
    """Room for a part is no room: NodeFull, and nothing of it stays."""
    bodies = BodyFiles(tmp_path)
    bodies.open(())
    digest = hashlib.sha256(OCTETS).digest()
    with pytest.raises(NodeFull):
        await (bodies.write(OCTETS) if whole else bodies.receive(pieces(), len(OCTETS), digest))
    bodies.close()
    assert not list((tmp_path / "bodies").iterdir())
    assert not list((tmp_path / "incoming").iterdir())
