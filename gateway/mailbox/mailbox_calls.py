"""What can be asked of an open store about its mailboxes."""

from gateway.mailbox import mailboxes
from gateway.mailbox.model import Mailbox
from gateway.mailbox.worker import Worker


class MailboxCalls:
    """See MailStore."""

    _worker: Worker

    async def mailboxes(self) -> tuple[Mailbox, ...]:
        """All mailboxes by name, INBOX first."""
        return await self._worker.read(mailboxes.listed)

    async def mailbox(self, name: str) -> Mailbox:
        """The mailbox of this name (INBOX in any case, NFC or not). Raises NoSuchMailbox."""
        return await self._worker.read(mailboxes.by_name, name)

    async def create(self, name: str, special_use: str | None = None) -> Mailbox:
        """Make a mailbox, and the missing ones above it (RFC 9051 §6.3.4); one trailing "/" is ignored.

        Raises MailboxExists, InvalidMailboxName, and InvalidMailboxName (USEATTR) if the special use is unknown or
        another mailbox has it (RFC 6154 §3).
        """
        return await self._worker.write(mailboxes.create, name, special_use)

    async def rename(self, old: str, new: str) -> None:
        """Rename a mailbox and those below it; UIDs, UIDVALIDITY and sessions stay (RFC 9051 §6.3.6).

        INBOX is special: its messages move to the new mailbox and INBOX stays, empty.
        Raises NoSuchMailbox, MailboxExists, InvalidMailboxName.
        """
        await self._worker.write(mailboxes.rename, old, new)

    async def delete(self, name: str) -> None:
        """Remove a mailbox with its messages; its subscription stays (RFC 9051 §6.3.7).

        Raises NoSuchMailbox, MailboxHasChildren, InvalidMailboxName (INBOX).
        """
        await self._worker.write(mailboxes.delete, name)

    async def subscribe(self, name: str, on: bool) -> None:
        """Set or clear a subscription, of a missing name too (RFC 3501 §6.3.6). Raises InvalidMailboxName."""
        await self._worker.write(mailboxes.subscribe, name, on)

    async def subscriptions(self) -> tuple[str, ...]:
        """All subscribed names, existing or not."""
        return await self._worker.read(mailboxes.subscriptions)

    async def counts(self) -> tuple[int, int]:
        """Numbers of mailboxes and of messages, from the stored counters."""
        return await self._worker.read(mailboxes.counts)
