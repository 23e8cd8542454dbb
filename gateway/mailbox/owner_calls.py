"""What the owner of an open store may have done with the whole of it: check, repair, backup, restore."""

from collections.abc import Callable
from pathlib import Path

from gateway.mailbox import backup, maintenance, repair
from gateway.mailbox.index_job import IndexJob
from gateway.mailbox.maintenance import Progress
from gateway.mailbox.recent import RecentMessages
from gateway.mailbox.snapshots import Snapshots
from gateway.mailbox.worker import Worker


class OwnerCalls:
    """See MailStore."""

    _worker: Worker
    _index: IndexJob
    _snapshots: Snapshots
    _recent: RecentMessages
    _clock: Callable[[], float]

    async def check(self, progress: Progress) -> list[str]:
        """What is wrong with the store, a sentence each; reads all of it, in short turns."""
        return await maintenance.check(self._worker.read, progress)

    async def repair(self, progress: Progress) -> tuple[list[str], list[str]]:
        """Put right what can be without losing anything; gives what was done, and what is still wrong.

        Sessions must not be open: what they know may change under them.
        """
        try:
            return await maintenance.repair(self._worker.read, self._worker.write, int(self._clock()), progress)
        finally:
            self._snapshots.forget()
            self._recent.forget()

    async def back_up(self, path: Path, key: bytes, progress: Progress) -> None:
        """Copy the store as of one moment to the database `path` under `key`, files beside it, while all goes on.

        Durable on return; the directory of `path` is there, and empty. Raises OSError.
        """
        await backup.copy(self._worker.database, self._worker.run, path, key, progress)

    async def renew(self) -> None:
        """Make a restored copy another store than the one it was copied from.

        Every mailbox gets a UIDVALIDITY that none had, and the agent's settings go: its instance, and that its outbox
        may send.
        """
        await self._worker.write(repair.renew, int(self._clock()))

    async def indexed(self) -> None:
        """Return when the full-text index has all that was filed before this call; it is begun at once."""
        await self._index.finish()
