"""Asking one replica after another until one gives something good, the next one early when the first is slow (§3.3).

The next candidate is asked at once when one has failed, and after HEDGE_DELAY where the ones asked so far have shown no
progress; the first success ends the others. A bad replica never ends the attempt.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Generic, TypeVar

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure

T = TypeVar("T")
Progress = Callable[[], None]
Attempt = Callable[[Contact, Progress], Awaitable[T]]


class Hedge(Generic[T]):
    """One hedged question; `failures` holds what each node that gave nothing good said.

    `discard` is given a success that came too late to be used.
    """

    def __init__(
        self,
        attempt: Attempt[T],
        *,
        delay: int = params.HEDGE_DELAY,
        discard: Callable[[T], None] = lambda _unused: None,
    ) -> None:
        self.failures: dict[Contact, Failure] = {}
        self._attempt = attempt
        self._discard = discard
        self._delay = delay / 1_000
        self._tasks: dict[asyncio.Task[T], Contact] = {}
        self._moving: set[Contact] = set()

    async def first_good(self, candidates: AsyncIterator[Contact], *, head_start: float = 0.0) -> T | None:
        """Return the first success among `candidates`, asked in their order; None where every one of them failed.

        `head_start`: for how many seconds the first has been asked already.
        """
        more, delay = True, max(self._delay - head_start, 0.0)
        try:
            while True:
                if more and not self._moving:
                    more = await self._ask_next(candidates)
                if not self._tasks:
                    if not more:
                        return None
                    continue
                hedging = more and not self._moving
                done, _ = await asyncio.wait(
                    self._tasks, timeout=delay if hedging else None, return_when=asyncio.FIRST_COMPLETED
                )
                delay = self._delay
                for task in done:
                    contact = self._tasks.pop(task)
                    self._moving.discard(contact)
                    try:
                        return task.result()
                    except Failure as failure:
                        self.failures[contact] = failure
        finally:
            await self._cancel()

    async def _ask_next(self, candidates: AsyncIterator[Contact]) -> bool:
        contact = await anext(candidates, None)
        if contact is None:
            return False

        def progress() -> None:
            self._moving.add(contact)

        async def attempt() -> T:
            return await self._attempt(contact, progress)

        self._tasks[asyncio.create_task(attempt(), name=f"ask {contact.endpoint}")] = contact
        return True

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                self._discard(outcome)
