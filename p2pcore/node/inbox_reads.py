"""read-inbox: the owner's pages, waiting for news where she wishes, and when she last read."""

import asyncio

import apsw

from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import NotAuthorised
from p2pcore.node import inboxes
from p2pcore.node.heads import Heads
from p2pcore.node.storage import Storage
from p2pcore.node.watchers import Watchers
from p2pcore.records import InboxPage, encode

_WATCHES = 16  # reads of one inbox that wait at a time; beyond, the answer comes at once: each keeps a connection


class InboxReads:
    """Used from the event loop. `last` holds when owners read that is not written down yet (inbox key → ms)."""

    def __init__(self, storage: Storage, watchers: Watchers, heads: Heads, clock: Clock) -> None:
        self._storage = storage
        self._watchers = watchers
        self._heads = heads
        self._clock = clock
        self.last: dict[bytes, int] = {}
        self.recorded = asyncio.Event()

    async def page(
        self,
        owner: Certificate,
        inbox_key: bytes,
        incarnation: bytes,
        cursor: int,
        wait: int,
        instance: bytes = b"",
    ) -> bytes:
        """Return an encoded InboxPage for the inbox's owner, after at most `wait` ms where there is no news.

        News is an entry, or anything to a reader from the beginning. Acknowledgements alone are not: the owner made
        them, so they come with the next entry or when `wait` is over, and do not cost her a request for each of hers.
        Those of `instance`, the agent that reads, do not come at all.
        Raises NotAuthorised for anybody else.
        """
        if owner.role != "user" or owner.inbox_key != inbox_key:
            raise NotAuthorised(f"inbox {inbox_key.hex()} is another's")
        if self._watchers.count(inbox_key) >= _WATCHES:
            wait = 0
        start = cursor if incarnation == self._storage.incarnation else 0
        self.last[inbox_key] = self._clock()
        self.recorded.set()
        event = self._watchers.watch(inbox_key)  # before the first look, so that nothing comes in between unseen
        try:
            octets, news = await self._page(inbox_key, start, instance)
            if not news and wait > 0:
                try:
                    async with asyncio.timeout(wait / params.SECOND):
                        await event.wait()
                except TimeoutError:
                    pass
                octets, news = await self._page(inbox_key, start, instance)
        finally:
            self._watchers.leave(inbox_key, event)
        return octets

    async def write_down(self) -> None:
        """Write down when owners last read: one commit for all since the last time."""
        self.recorded.clear()
        reads = dict(self.last)
        if not reads:
            return
        await self._storage.write(lambda transaction: inboxes.record_reads(transaction, reads))
        for inbox_key, time in reads.items():
            if self.last.get(inbox_key) == time:
                del self.last[inbox_key]

    async def _page(self, inbox_key: bytes, cursor: int, instance: bytes) -> tuple[bytes, bool]:
        """Return an encoded page, and whether it is worth sending before the time is up."""
        heads = self._heads.newest

        def read(db: apsw.Connection) -> tuple[bytes, bool]:
            page = inboxes.page(db, inbox_key, cursor, instance)
            incarnation, now = self._storage.incarnation, self._clock()
            answer = InboxPage(incarnation, page.cursor, page.entries, page.acknowledged, page.more, now, heads)
            return encode(answer), bool(page.entries) or page.more or (page.cursor > cursor == 0)

        return await self._storage.read(read)
