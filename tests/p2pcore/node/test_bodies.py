"""BodyFiles: what is not named by a row leaves nothing behind."""

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

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
