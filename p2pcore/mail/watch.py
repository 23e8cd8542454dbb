"""One inbox replica read from zero, then watched by long polls; from zero again every hour.

Exactly one request is under way at any time, so an idle inbox costs one request per node and WATCH_WAIT. A page is
applied (given to `apply`, which waits while its reader is behind) before the next is asked for: memory is bounded by
one page per node. The cursor moves only after that, so nothing is passed over.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from p2pcore import params
from p2pcore.client.peers import Peers
from p2pcore.clock import Clock
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, Unreachable
from p2pcore.records import InboxPage

Apply = Callable[[Contact, InboxPage], Awaitable[None]]

_FULL_READ = params.HOUR
_FIRST_PAUSE = 0.5  # seconds after the first failure; doubled each time
_LONGEST_PAUSE = 60.0
_AT_ONCE = 0.5  # seconds: an empty answer sooner than this is no long poll

_log = logging.getLogger(__name__)


class Watch:
    """Follows the replica of `inbox_key` on `contact`; `run` ends only by cancellation."""

    def __init__(
        self,
        contact: Contact,
        inbox_key: bytes,
        *,
        peers: Peers,
        substrate: Substrate,
        clock: Clock,
        apply: Apply,
        instance: bytes = b"",
    ) -> None:
        """`instance`: whose acknowledgements need not be read; empty: everybody's are."""
        self.contact = contact
        self._inbox_key = inbox_key
        self._peers = peers
        self._substrate = substrate
        self._clock = clock
        self._apply = apply
        self._instance = instance
        self._incarnation = b""
        self._cursor = 0
        self._next_full = 0

    async def run(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            try:
                useful = await self._follow()
            except Failure as failure:
                _log.info("inbox on %s: %s", self.contact.endpoint, failure)
                if isinstance(failure, Unreachable):
                    self._substrate.report(self.contact, alive=False)
                useful = False
            if useful:
                pause = _FIRST_PAUSE
            else:
                await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 - spreads retries, hides nothing
                pause = min(2 * pause, _LONGEST_PAUSE)

    async def read_all(self) -> None:
        """Read from zero and apply every page that is there now. Raises Failure."""
        self._next_full = 0
        while (await self._page(0))[0].more:
            pass

    async def _follow(self) -> bool:
        """Read and apply one page; False where the node answered with nothing at once instead of waiting."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        page, news = await self._page(params.WATCH_WAIT)
        return news or page.more or loop.time() - started >= _AT_ONCE

    async def _page(self, wait_ms: int) -> tuple[InboxPage, bool]:
        """Read and apply one page; return it, and whether the cursor moved."""
        now = self._clock()
        if now >= self._next_full:
            self._incarnation, self._cursor = b"", 0
            self._next_full = now + _FULL_READ
        asked = (self._incarnation, self._cursor)
        page = await self._peers.read_inbox(self.contact, self._inbox_key, *asked, wait_ms, self._instance)
        await self._apply(self.contact, page)
        self._incarnation, self._cursor = page.incarnation, page.cursor
        return page, (page.incarnation, page.cursor) != asked
