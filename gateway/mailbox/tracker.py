"""What each session has not yet been told about its mailbox.

A session calls `watch` before `snapshot` and drops what it takes with a modseq that its snapshot has: nothing falls
between the two, nothing is told twice. Everything here happens on the event loop's thread; the store publishes after
the commit, in commit order.
"""

import asyncio
from collections.abc import Iterable

from gateway.mailbox.model import Change
from gateway.mailbox.params import WATCH_LIMIT


class Watch:
    """One session's untaken changes of one mailbox."""

    def __init__(self, tracker: "Tracker", mailbox_id: int) -> None:
        """Use Tracker.watch."""
        self.mailbox_id = mailbox_id
        self.overflowed = False  # more than WATCH_LIMIT untaken: call reset(), then take a snapshot
        self.gone = False  # the mailbox was deleted
        self._tracker = tracker
        self._changes: list[Change] = []
        self._news = asyncio.Event()

    def take(self) -> list[Change]:
        """All changes since the last take, in commit order; none while `overflowed`."""
        changes, self._changes = self._changes, []
        if not (self.overflowed or self.gone):
            self._news.clear()
        return changes

    async def changed(self) -> None:
        """Return as soon as there is something to take, or `overflowed` or `gone` is set."""
        await self._news.wait()

    def reset(self) -> None:
        """Forget what is untaken and the overflow; the snapshot that follows replaces them."""
        self._changes = []
        self.overflowed = False
        if not self.gone:
            self._news.clear()

    def close(self) -> None:
        """Stop watching; may be called twice."""
        self._tracker.forget(self)

    def put(self, changes: Iterable[Change]) -> None:
        """The tracker's side: add changes and wake the session."""
        if not self.overflowed:
            self._changes.extend(changes)
            if len(self._changes) > WATCH_LIMIT:
                self._changes = []
                self.overflowed = True
        self._news.set()

    def end(self) -> None:
        """The tracker's side: the mailbox is no more."""
        self.gone = True
        self._news.set()


class Tracker:
    """All watches of one store."""

    def __init__(self) -> None:
        """No watches yet."""
        self._watches: dict[int, list[Watch]] = {}

    def watch(self, mailbox_id: int) -> Watch:
        """Collect the mailbox's changes from now on; the caller closes the watch."""
        watch = Watch(self, mailbox_id)
        self._watches.setdefault(mailbox_id, []).append(watch)
        return watch

    def forget(self, watch: Watch) -> None:
        """Drop a watch."""
        watches = self._watches.get(watch.mailbox_id, [])
        if watch in watches:
            watches.remove(watch)
        if not watches:
            self._watches.pop(watch.mailbox_id, None)

    def publish(self, changes: Iterable[tuple[int, Change]], gone: Iterable[int]) -> None:
        """Hand one commit's changes, by mailbox and in order, to whoever watches; `gone` mailboxes were deleted."""
        by_mailbox: dict[int, list[Change]] = {}
        for mailbox_id, change in changes:
            by_mailbox.setdefault(mailbox_id, []).append(change)
        for mailbox_id, its_changes in by_mailbox.items():
            for watch in self._watches.get(mailbox_id, []):
                watch.put(its_changes)
        for mailbox_id in gone:
            for watch in self._watches.get(mailbox_id, []):
                watch.end()
