"""A mailbox's thread for loops that wait for none: its jobs are done as an executor's are, by the loop, in order."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class OnLoop:
    """Stands in for `gateway.mailbox.thread.StoreThread`."""

    async def run(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(None, job)

    def end(self) -> None:
        """There is none to end."""
