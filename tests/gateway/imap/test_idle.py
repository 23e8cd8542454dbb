"""gateway/imap/commands/idle.py: what a transcript cannot show."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.imap.commands.idle import Idle


class Gone:
    """A channel whose client left while news was on its way to it."""

    def __init__(self) -> None:
        self.flushed = 0

    def write(self, data: bytes) -> None:
        pass

    async def flush(self, above: int = 0) -> None:
        self.flushed += 1
        if self.flushed > 1:
            raise ConnectionResetError("writing")

    async def read_line(self) -> bytes:
        raise ConnectionResetError("reading")


async def test_a_client_that_leaves_in_idle_is_one_error() -> None:
    """Where both reading and writing find the client gone, one of the errors ends IDLE and none is left over."""
    left_over: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: left_over.append(context))

    async def changed() -> None:
        pass

    async def sync(*, expunge: bool) -> None:
        pass

    watch = SimpleNamespace(gone=False, changed=changed)
    session: Any = SimpleNamespace(channel=Gone(), selected=SimpleNamespace(watch=watch), sync=sync)
    with pytest.raises(ConnectionResetError, match="writing"):
        await Idle().run(session)
    gc.collect()
    assert left_over == []
