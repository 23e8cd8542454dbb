"""What the agent asks of an open store: to file what the network brought, and to remember what it must not forget."""

from collections.abc import Callable, Iterable, Sequence

from gateway.mailbox import incoming, missing, settings
from gateway.mailbox.model import Filed, Incoming, NewMessage
from gateway.mailbox.worker import Worker


class AgentCalls:
    """See MailStore."""

    _worker: Worker
    _clock: Callable[[], float]

    async def file_incoming(self, items: Sequence[Incoming]) -> tuple[Filed, ...]:
        """File messages from the network in ONE transaction, with identities, duplicate hashes and clean-up tasks.

        An entry seen before, or whose duplicate hash was filed within 7 days of its internal date, is not shown again
        (uid None) but remembered as seen, and its clean-up task is kept all the same. "Junk" is the mailbox with
        that special use; a missing one is made. Raises TooLarge.
        """
        return await self._worker.write(incoming.file, items, int(self._clock()))

    async def file_once(self, identity: bytes, special_use: str | None, message: NewMessage) -> int | None:
        """File a message of this machine's own making in the mailbox with `special_use` (None: INBOX); its UID.

        None, and nothing filed, where this identity (32 octets) was filed before. A missing mailbox is made.
        """
        return await self._worker.write(incoming.file_once, identity, special_use, message, int(self._clock()))

    async def owe_cleanup(self, entry_id: bytes, task: bytes) -> None:
        """Note an entry that brings no message as seen, with its clean-up task, in one transaction.

        An entry that has a task gets no second one.
        """
        await self._worker.write(incoming.owe_cleanup, entry_id, task, int(self._clock()))

    async def missed(
        self, entry_id: bytes, placeholder: NewMessage, now: int, expires: int, patience: int
    ) -> int | None:
        """Note that an entry's message could not be had at `now`; file `placeholder` in INBOX where that lasts.

        That is once, `patience` after it was first missed (all in ms); gives its UID then, else None. The placeholder
        goes as `file_incoming` files the entry. What expired is forgotten; its placeholder stays.
        """
        return await self._worker.write(missing.missed, entry_id, placeholder, now, expires, patience)

    async def seen(self, entry_ids: Iterable[bytes]) -> frozenset[bytes]:
        """Those of the identities that were filed."""
        return await self._worker.read(incoming.seen, tuple(entry_ids))

    async def pending_cleanup(self, limit: int, after: int = 0) -> tuple[tuple[int, bytes], ...]:
        """The oldest clean-up tasks that need not wait, with their numbers above `after`; no number is given twice."""
        return await self._worker.read(incoming.pending_cleanup, limit, after)

    async def release_kept(self, now: int, messages: int, octets: int) -> int | None:
        """Let tasks be pending whose time has come at `now` (ms), and the oldest of those that wait beyond the bounds.

        Gives when the next one's time comes, None where none waits.
        """
        return await self._worker.write(incoming.release_kept, now, messages, octets)

    async def cleanup_done(self, ids: Iterable[int]) -> None:
        """Forget clean-up tasks."""
        await self._worker.write(incoming.cleanup_done, tuple(ids))

    async def setting(self, name: str) -> bytes | None:
        """A small durable value (instance ID, cursor), or None."""
        return await self._worker.read(settings.get, name)

    async def set_setting(self, name: str, value: bytes) -> None:
        """Keep a small value."""
        await self._worker.write(settings.put, name, value)
