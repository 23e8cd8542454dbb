"""One account's mail: every mailbox, message and flag, and what the synchroniser must not forget.

Layout: `mail.db` (SQLite, WAL, synchronous=FULL, encrypted), `messages/<random hex>` (sealed files, for content above
`params.CONTENT_IN_ROW`; their keys are in the database), `lock` (held while open). What a call did is durable when it
returns, and is either done whole or not at all:

| state on disk                              | reached by                    | a crash here leaves           |
|--------------------------------------------|-------------------------------|-------------------------------|
| sealed file partly written, no row         | append, file_incoming         | an orphan; open() removes it  |
| file and directory fsynced, no row         | the same, before the commit   | an orphan; open() removes it  |
| the same, a commit whose fsync failed      | the same, on a failing disk   | all or nothing: open() sees   |
| row committed (WAL fsynced)                | one commit per call           | all of it, counters included  |
| last row of a content gone, file there     | expunge, delete               | an orphan; open() removes it  |
| content shared by several rows             | copy                          | `refs`, in the same commit    |
| UIDNEXT, modseq, UIDVALIDITY               | stored, in the same commit    | never below what was told     |
| seen, duplicate, clean-up task, message    | file_incoming, one commit     | all, for all items, or none   |
| full-text index (indexing.py)              | the job, commits of its own   | the next start goes on        |

So the order is: file, fsync, directory fsync, commit, and only then the reply, the trackers and the removal of files.
A row without its file can therefore only be damage from outside, and is reported as StoreDamaged.

One thread owns the database (worker.py); coroutines queue for it. Large content passes through it segment by segment.
The one background task, indexing (index_job.py), takes the thread in short turns when nobody else wants it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from gateway.mailbox.agent_calls import AgentCalls
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.index_job import IndexJob
from gateway.mailbox.mailbox_calls import MailboxCalls
from gateway.mailbox.message_calls import MessageCalls
from gateway.mailbox.owner_calls import OwnerCalls
from gateway.mailbox.recent import RecentMessages
from gateway.mailbox.snapshots import Snapshots
from gateway.mailbox.thread import StoreThread
from gateway.mailbox.tracker import Tracker
from gateway.mailbox.worker import Worker


class MailStore(MailboxCalls, MessageCalls, AgentCalls, OwnerCalls):
    """The open store of one account. Any call may raise StoreFull or StoreDamaged besides what it names.

    A call that is cancelled while it waits may take effect all the same; the watches are told if it does.
    """

    def __init__(self, database: Database, thread: StoreThread, clock: Callable[[], float]) -> None:
        """Use `open`; this takes over the database and the one thread that may touch it."""
        self.tracker = Tracker()
        self._snapshots = Snapshots()
        self._recent = RecentMessages()
        self._database = database
        self._clock = clock
        self._worker = Worker(database, thread, self._publish)
        self._index = IndexJob(self._worker)

    @classmethod
    async def open(cls, directory: Path, key: bytes, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the store in `directory`, making it the first time; `key` is 32 octets.

        Makes INBOX, Drafts, Sent, Archive, Junk and Trash (special-use, subscribed) in a new store and removes files
        that a crash orphaned. Raises StoreLocked if another process has it, StoreDamaged if the key does not fit.
        """
        thread = StoreThread()
        try:
            database = await thread.run(lambda: Database.open(directory, key, int(clock())))
        except BaseException:
            thread.end()
            raise
        return cls(database, thread, clock)

    async def close(self) -> None:
        """Finish what is under way, close the database and give the lock back."""
        await self._index.stop()
        await self._worker.close()

    def _publish(self, transaction: Transaction) -> None:
        self._snapshots.apply(transaction.changes, transaction.gone)
        self._recent.apply(transaction.changes, transaction.gone)
        self.tracker.publish(transaction.changes, transaction.gone)
        self._index.wanted.set()
