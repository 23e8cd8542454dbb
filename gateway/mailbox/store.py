"""One account's mail: every mailbox, message and flag, and what the synchroniser must not forget.

Layout: `mail.db` (SQLite, WAL, synchronous=FULL, encrypted), `messages/<random hex>` (sealed files, for content above
`params.CONTENT_IN_ROW`; their keys are in the database), `lock` (held while open). What a call did is durable when it
returns, and is either done whole or not at all:

| state on disk                              | reached by                    | a crash here leaves           |
|--------------------------------------------|-------------------------------|-------------------------------|
| sealed file partly written, no row         | append, file_incoming         | an orphan; open() removes it  |
| file and directory fsynced, no row         | the same, before the commit   | an orphan; open() removes it  |
| row committed (WAL fsynced)                | one commit per call           | all of it, counters included  |
| last row of a content gone, file there     | expunge, delete               | an orphan; open() removes it  |
| content shared by several rows             | copy                          | `refs`, in the same commit    |
| UIDNEXT, modseq, UIDVALIDITY               | stored, in the same commit    | never below what was told     |
| identity, hash H, clean-up task, message   | file_incoming, one commit     | all, for all items, or none   |
| full-text index (indexing.py)              | the job, commits of its own   | the next start goes on        |

So the order is: file, fsync, directory fsync, commit, and only then the reply, the trackers and the removal of files.
A row without its file can therefore only be damage from outside, and is reported as StoreDamaged.

One thread owns the database; coroutines queue for it. Large content passes through it segment by segment. The one
background task, indexing, takes the thread in short turns when nobody else wants it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Concatenate, ParamSpec, Self, TypeVar

import structlog

from gateway.mailbox import (
    backup,
    expunged,
    incoming,
    indexing,
    mailboxes,
    maintenance,
    matching,
    messages,
    missing,
    repair,
    settings,
)
from gateway.mailbox import flags as flag_rules
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.errors import StoreError
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.model import (
    Filed,
    FlagMode,
    Incoming,
    Mailbox,
    NewMessage,
    Precomputed,
    Snapshot,
    StoreResult,
)
from gateway.mailbox.params import INDEX_GATHER, INDEX_LATEST, INDEX_PATIENCE
from gateway.mailbox.search import SearchKey
from gateway.mailbox.tracker import Tracker

P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger("mailbox")


class MailStore:
    """The open store of one account. Any call may raise StoreFull or StoreDamaged besides what it names.

    A call that is cancelled while it waits may take effect all the same; the watches are told if it does.
    """

    def __init__(self, database: Database, thread: ThreadPoolExecutor, clock: Callable[[], float]) -> None:
        """Use `open`; this takes over the database and the one thread that may touch it."""
        self.tracker = Tracker()
        self._database = database
        self._thread = thread
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._calls = 0  # under way
        self._quiet = asyncio.Event()  # no call is
        self._quiet.set()
        self._to_index = asyncio.Event()
        self._to_index.set()  # a predecessor may have left some
        self._indexer = asyncio.create_task(self._index(), name="full-text index")

    @classmethod
    async def open(cls, directory: Path, key: bytes, *, clock: Callable[[], float] = time.time) -> Self:
        """Open the store in `directory`, making it the first time; `key` is 32 octets.

        Makes INBOX, Drafts, Sent, Archive, Junk and Trash (special-use, subscribed) in a new store and removes files
        that a crash orphaned. Raises StoreLocked if another process has it, StoreDamaged if the key does not fit.
        """
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mailstore")
        loop = asyncio.get_running_loop()
        try:
            database = await loop.run_in_executor(thread, Database.open, directory, key, int(clock()))
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(database, thread, clock)

    async def close(self) -> None:
        """Finish what is under way, close the database and give the lock back."""
        self._indexer.cancel()
        await asyncio.wait([self._indexer])
        await self._loop.run_in_executor(self._thread, self._database.close)
        self._thread.shutdown()

    # ------------------------------------------------------------------ mailboxes

    async def mailboxes(self) -> tuple[Mailbox, ...]:
        """All mailboxes by name, INBOX first."""
        return await self._read(mailboxes.listed)

    async def mailbox(self, name: str) -> Mailbox:
        """The mailbox of this name (INBOX in any case, NFC or not). Raises NoSuchMailbox."""
        return await self._read(mailboxes.by_name, name)

    async def create(self, name: str, special_use: str | None = None) -> Mailbox:
        """Make a mailbox, and the missing ones above it (RFC 9051 §6.3.4); one trailing "/" is ignored.

        Raises MailboxExists, InvalidMailboxName, and InvalidMailboxName (USEATTR) if the special use is unknown or
        another mailbox has it (RFC 6154 §3).
        """
        return await self._write(mailboxes.create, name, special_use)

    async def rename(self, old: str, new: str) -> None:
        """Rename a mailbox and those below it; UIDs, UIDVALIDITY and sessions stay (RFC 9051 §6.3.6).

        INBOX is special: its messages move to the new mailbox and INBOX stays, empty.
        Raises NoSuchMailbox, MailboxExists, InvalidMailboxName.
        """
        await self._write(mailboxes.rename, old, new)

    async def delete(self, name: str) -> None:
        """Remove a mailbox with its messages; its subscription stays (RFC 9051 §6.3.7).

        Raises NoSuchMailbox, MailboxHasChildren, InvalidMailboxName (INBOX).
        """
        await self._write(mailboxes.delete, name)

    async def subscribe(self, name: str, on: bool) -> None:
        """Set or clear a subscription, of a missing name too (RFC 3501 §6.3.6). Raises InvalidMailboxName."""
        await self._write(mailboxes.subscribe, name, on)

    async def subscriptions(self) -> tuple[str, ...]:
        """All subscribed names, existing or not."""
        return await self._read(mailboxes.subscriptions)

    async def counts(self) -> tuple[int, int]:
        """Numbers of mailboxes and of messages, from the stored counters."""
        return await self._read(mailboxes.counts)

    # ------------------------------------------------------------------ messages

    async def snapshot(self, name: str) -> Snapshot:
        """The mailbox and all its messages as of one commit. Raises NoSuchMailbox.

        A session takes its watch first; changes with a modseq up to `snapshot.mailbox.highest_modseq` are in the
        snapshot already and are dropped when taken.
        """
        return await self._read(messages.snapshot, name)

    async def append(
        self, name: str, content: bytes | Path, flags: Iterable[str], internal_date: int, zone: int
    ) -> tuple[int, int]:
        """Add a message, byte for byte; gives (UIDVALIDITY, UID). Raises NoSuchMailbox, TooLarge.

        In Sent, a copy of this message that was filed by this machine itself goes; its flags pass on to the new one.
        A content file is read during the call and stays the caller's.
        """
        item = NewMessage(content, frozenset(flags), internal_date, zone)
        uidvalidity, uids = await self.append_many(name, [item])
        return uidvalidity, uids[0]

    async def append_many(self, name: str, items: Sequence[NewMessage]) -> tuple[int, tuple[int, ...]]:
        """Add messages in one transaction; gives UIDVALIDITY and the UIDs in order. Raises NoSuchMailbox, TooLarge."""
        return await self._write(messages.append, name, items)

    async def copy(
        self, mailbox_id: int, uids: Sequence[int], destination: str
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Copy messages with flags and internal date; content is shared.

        Gives the destination's UIDVALIDITY and (old UID, new UID) pairs; UIDs that are not there are left out.
        Raises NoSuchMailbox.
        """
        return await self._write(messages.copy, mailbox_id, uids, destination)

    async def move(
        self, mailbox_id: int, uids: Sequence[int], destination: str
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Move messages in one transaction (RFC 6851); answers and raises as `copy`."""
        return await self._write(messages.move, mailbox_id, uids, destination)

    async def expunge(self, mailbox_id: int, uids: Sequence[int] | None) -> tuple[int, ...]:
        """Remove the messages that have \\Deleted, among `uids` if given; gives their UIDs. Raises NoSuchMailbox."""
        return await self._write(messages.expunge, mailbox_id, uids)

    async def expunged(self, mailbox_id: int, modseq: int) -> tuple[tuple[int, int], ...] | None:
        """UIDs that are gone since the mailbox had `modseq`, as ascending ranges with both ends included.

        None if that is not remembered (params.EXPUNGED_RUNS), or the mailbox is gone.
        """
        return await self._read(expunged.since, mailbox_id, modseq)

    async def store_flags(
        self,
        mailbox_id: int,
        uids: Sequence[int],
        mode: FlagMode,
        flags: Iterable[str],
        unchanged_since: int | None = None,
    ) -> StoreResult:
        """Replace, add or remove flags. System flags and keywords are compared without case; \\Recent is ignored.

        UIDs that are not there are left out. A message whose modseq is above `unchanged_since` is left alone and
        named in `modified`. Only messages whose flags really differ get a new modseq and are told to sessions (the
        caller's own watch included). Raises NoSuchMailbox, TooLarge (LIMIT: too many keywords).
        """
        return await self._write(flag_rules.store_flags, mailbox_id, uids, mode, frozenset(flags), unchanged_since)

    async def precomputed(self, mailbox_id: int, uids: Sequence[int]) -> dict[int, Precomputed]:
        """ENVELOPE, BODY, BODYSTRUCTURE of these messages; UIDs that are gone are absent."""
        return await self._read(messages.precomputed, mailbox_id, uids)

    async def read(self, mailbox_id: int, uid: int, offset: int = 0, length: int | None = None) -> bytes:
        """Octets of the whole message from `offset`, fewer where it ends; raises NoSuchMessage.

        A range of a sealed file opens only the segments that it touches.
        """
        return await self._read(messages.read, mailbox_id, uid, offset, length)

    async def search(self, mailbox_id: int, query: SearchKey) -> tuple[int, ...]:
        """Ascending UIDs of the messages that match. Raises NoSuchMailbox.

        Works in slices between which other calls get their turn; a message expunged meanwhile is left out.
        """
        decided = await self._read(matching.decide, mailbox_id, query)
        found = list(decided.found)
        for candidates in decided.slices():
            found += await self._read(matching.examine, mailbox_id, query, candidates)
        return tuple(sorted(found))

    # ------------------------------------------------------------------ the synchroniser's

    async def file_incoming(self, items: Sequence[Incoming]) -> tuple[Filed, ...]:
        """File messages from the network in ONE transaction, with identities, duplicate hashes and clean-up tasks.

        An entry seen before, or whose hash H was filed within 7 days of its internal date, is not shown again
        (uid None) but remembered as seen, and its clean-up task is kept all the same. "Junk" is the mailbox with
        that special use; a missing one is made. Raises TooLarge.
        """
        return await self._write(incoming.file, items, int(self._clock()))

    async def file_once(self, identity: bytes, special_use: str | None, message: NewMessage) -> int | None:
        """File a message of this machine's own making in the mailbox with `special_use` (None: INBOX); its UID.

        None, and nothing filed, where this identity (32 octets) was filed before. A missing mailbox is made.
        """
        return await self._write(incoming.file_once, identity, special_use, message, int(self._clock()))

    async def owe_cleanup(self, entry_id: bytes, task: bytes) -> None:
        """Note an entry that brings no message as seen, with its clean-up task, in one transaction.

        An entry that has a task gets no second one.
        """
        await self._write(incoming.owe_cleanup, entry_id, task, int(self._clock()))

    async def missed(
        self, entry_id: bytes, placeholder: NewMessage, now: int, expires: int, patience: int
    ) -> int | None:
        """Note that an entry's message could not be had at `now`; file `placeholder` in INBOX where that lasts.

        That is once, `patience` after it was first missed (all in ms); gives its UID then, else None. The placeholder
        goes as `file_incoming` files the entry. What expired is forgotten; its placeholder stays.
        """
        return await self._write(missing.missed, entry_id, placeholder, now, expires, patience)

    async def seen(self, entry_ids: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the identities that were filed."""
        return await self._read(incoming.seen, tuple(entry_ids))

    async def pending_cleanup(self, limit: int, after: int = 0) -> tuple[tuple[int, bytes], ...]:
        """The oldest clean-up tasks that need not wait, with their numbers above `after`; no number is given twice."""
        return await self._read(incoming.pending_cleanup, limit, after)

    async def release_kept(self, now: int, messages: int, octets: int) -> int | None:
        """Let tasks be pending whose time has come at `now` (ms), and the oldest of those that wait beyond the bounds.

        Gives when the next one's time comes, None where none waits.
        """
        return await self._write(incoming.release_kept, now, messages, octets)

    async def cleanup_done(self, ids: Iterable[int]) -> None:
        """Forget clean-up tasks."""
        await self._write(incoming.cleanup_done, tuple(ids))

    async def setting(self, name: str) -> bytes | None:
        """A small durable value (instance ID, cursor), or None."""
        return await self._read(settings.get, name)

    async def set_setting(self, name: str, value: bytes) -> None:
        """Keep a small value."""
        await self._write(settings.put, name, value)

    # ------------------------------------------------------------------ the owner's

    async def check(self, progress: Progress) -> list[str]:
        """What is wrong with the store, a sentence each; reads all of it, in short turns."""
        return await maintenance.check(self._read, progress)

    async def repair(self, progress: Progress) -> tuple[list[str], list[str]]:
        """Put right what can be without losing anything; gives what was done, and what is still wrong.

        Sessions must not be open: what they know may change under them.
        """
        return await maintenance.repair(self._read, self._write, int(self._clock()), progress)

    async def back_up(self, path: Path, key: bytes, progress: Progress) -> None:
        """Copy the store as of one moment to the database `path` under `key`, files beside it, while all goes on.

        Durable on return; the directory of `path` is there, and empty. Raises OSError.
        """
        await backup.copy(self._database, self._queued, path, key, progress)

    async def renew(self) -> None:
        """Make a restored copy another store than the one it was copied from.

        Every mailbox gets a UIDVALIDITY that none had, and the agent's settings go: its instance, and that its outbox
        may send.
        """
        await self._write(repair.renew, int(self._clock()))

    async def indexed(self) -> None:
        """Return when the full-text index has all that was filed before this call; it is begun at once."""
        while await self._write(indexing.index_slice):
            continue

    async def _index(self) -> None:
        """Keep the full-text index in step, until cancelled."""
        while True:
            await self._to_index.wait()
            await self._until_mail_rests()
            more = True
            while more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(INDEX_PATIENCE):
                        await self._quiet.wait()
                try:
                    more = await self._write(indexing.index_slice)
                except StoreError:
                    log.exception("full-text index waits for new mail; searches look at every message meanwhile")
                    break

    async def _until_mail_rests(self) -> None:
        """Wait until nothing new has come for INDEX_GATHER, INDEX_LATEST at most."""
        now = asyncio.get_running_loop().time
        latest = now() + INDEX_LATEST
        while self._to_index.is_set() and now() < latest:
            self._to_index.clear()
            await asyncio.sleep(INDEX_GATHER)

    # ------------------------------------------------------------------ the thread

    async def _read(self, work: Callable[Concatenate[Database, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def job() -> T:
            with self._database.reading():
                return work(self._database, *args, **kwargs)

        return await self._queued(job)

    async def _write(self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        def job() -> T:
            with self._database.transaction() as transaction:
                result = work(transaction, *args, **kwargs)
            # Queued before the caller's own wake-up, so that whoever has the reply finds the changes in its watch.
            if transaction.changes or transaction.gone:
                self._loop.call_soon_threadsafe(self._publish, transaction)
            return result

        return await self._queued(job)

    def _publish(self, transaction: Transaction) -> None:
        self.tracker.publish(transaction.changes, transaction.gone)
        self._to_index.set()

    async def _queued(self, job: Callable[[], T]) -> T:
        self._calls += 1
        self._quiet.clear()
        try:
            return await self._loop.run_in_executor(self._thread, job)
        finally:
            self._calls -= 1
            if not self._calls:
                self._quiet.set()
