"""What can be asked of an open store about the messages of its mailboxes: IMAP's commands."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from gateway.mailbox import expunged, mailboxes, matching, messages
from gateway.mailbox import flags as flag_rules
from gateway.mailbox.model import FlagMode, NewMessage, Octets, Precomputed, Snapshot, StoreResult
from gateway.mailbox.recent import RecentMessages
from gateway.mailbox.search import SearchKey
from gateway.mailbox.snapshots import Snapshots
from gateway.mailbox.tracker import Tracker, Watch
from gateway.mailbox.worker import Worker


class MessageCalls:
    """See MailStore."""

    tracker: Tracker
    _worker: Worker
    _snapshots: Snapshots
    _recent: RecentMessages

    async def snapshot(self, name: str) -> Snapshot:
        """The mailbox and all its messages as of one commit. Raises NoSuchMailbox.

        A session takes its watch first; changes with a modseq up to `snapshot.mailbox.highest_modseq` are in the
        snapshot already and are dropped when taken.
        """
        mailbox = await self._worker.read(mailboxes.by_name, name)
        return self._snapshots.of(mailbox) or await self.snapshot_of(mailbox.id)

    async def snapshot_of(self, mailbox_id: int) -> Snapshot:
        """As `snapshot`, by the mailbox's ID."""
        snapshot = await self._worker.read(messages.snapshot_of, mailbox_id)
        self._snapshots.keep(snapshot)
        return snapshot

    async def open_mailbox(self, name: str) -> tuple[Snapshot, Watch]:
        """A snapshot with a watch that misses nothing that came after it. Raises NoSuchMailbox."""
        mailbox = await self._worker.read(mailboxes.by_name, name)
        watch = self.tracker.watch(mailbox.id)  # before the snapshot, so that nothing falls between
        try:
            return self._snapshots.of(mailbox) or await self.snapshot_of(mailbox.id), watch
        except BaseException:
            watch.close()
            raise

    async def count_from(self, mailbox_id: int, uid: int) -> int:
        """How many messages have this UID or a higher one."""
        return await self._worker.read(messages.count_from, mailbox_id, uid)

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
        return await self._worker.write(messages.append, name, items)

    async def copy(
        self, mailbox_id: int, uids: Sequence[int], destination: str, *, all_or_none: bool = False
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Copy messages with flags and internal date; content is shared.

        Gives the destination's UIDVALIDITY and (old UID, new UID) pairs; UIDs that are not there are left out, or
        with `all_or_none` nothing is copied. Raises NoSuchMailbox, NoSuchMessage.
        """
        return await self._worker.write(messages.copy, mailbox_id, uids, destination, all_or_none)

    async def move(
        self, mailbox_id: int, uids: Sequence[int], destination: str, *, all_or_none: bool = False
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Move messages in one transaction (RFC 6851); answers and raises as `copy`."""
        return await self._worker.write(messages.move, mailbox_id, uids, destination, all_or_none)

    async def expunge(self, mailbox_id: int, uids: Sequence[int] | None) -> tuple[int, ...]:
        """Remove the messages that have \\Deleted, among `uids` if given; gives their UIDs. Raises NoSuchMailbox."""
        return await self._worker.write(messages.expunge, mailbox_id, uids)

    async def expunged(self, mailbox_id: int, modseq: int) -> tuple[tuple[int, int], ...] | None:
        """UIDs that are gone since the mailbox had `modseq`, as ascending ranges with both ends included.

        None if that is not remembered (params.EXPUNGED_RUNS), or the mailbox is gone.
        """
        return await self._worker.read(expunged.since, mailbox_id, modseq)

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
        return await self._worker.write(
            flag_rules.store_flags, mailbox_id, uids, mode, frozenset(flags), unchanged_since
        )

    async def precomputed(
        self, mailbox_id: int, uids: Sequence[int], octets: Octets = "none"
    ) -> dict[int, Precomputed]:
        """ENVELOPE, BODY, BODYSTRUCTURE of these messages; UIDs that are gone are absent.

        With them come their headers or ("all") all octets, but for content that is large (params.CONTENT_IN_ROW).
        For "usual", what comes is the header alone, and of it chosen_fields.USUAL_FIELDS (`usual`), unless it is
        larger than what the row has of it.
        """
        known = self._recent.of(mailbox_id, uids, octets)
        others = [uid for uid in uids if uid not in known]
        if not others:
            return known
        ends = self._recent.ends
        found = await self._worker.read(messages.precomputed, mailbox_id, others, octets)
        self._recent.keep(mailbox_id, found, octets, ends)
        return known | found

    async def read(self, mailbox_id: int, uid: int, offset: int = 0, length: int | None = None) -> bytes:
        """Octets of the whole message from `offset`, fewer where it ends; raises NoSuchMessage.

        A range of a sealed file opens only the segments that it touches.
        """
        return await self._worker.read(messages.read, mailbox_id, uid, offset, length)

    @asynccontextmanager
    async def open_content(self, mailbox_id: int, uid: int) -> AsyncIterator[Callable[[int, int], Awaitable[bytes]]]:
        """What reads octets of one message, from an offset and as many: inside, an expunge does not matter.

        Raises NoSuchMessage at the beginning only.
        """
        content = await self._worker.read(messages.opened, mailbox_id, uid)

        async def read(offset: int, length: int) -> bytes:
            return await self._worker.run(lambda: content.read(offset, length))

        try:
            yield read
        finally:
            content.close()

    async def search(self, mailbox_id: int, query: SearchKey) -> tuple[int, ...]:
        """Ascending UIDs of the messages that match. Raises NoSuchMailbox.

        As of the moment when it begins, less what is expunged by its end; other calls get their turn meanwhile.
        """
        known = self._snapshots.rows(mailbox_id)
        return await self._worker.read_in_turns(matching.search(self._worker.database, mailbox_id, query, known))
