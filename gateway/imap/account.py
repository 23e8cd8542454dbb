"""What the sessions of one account share: their number, and which messages nobody was told of (\\Recent).

The marks are kept in the store as one setting, written when a session leaves a mailbox. A crash loses the marks since
then; those messages are \\Recent once more, which RFC 3501 §2.3.2 asks for when it cannot be known.
"""

import msgspec

from gateway.mailbox.errors import StoreFull
from gateway.mailbox.store import MailStore

_SETTING = "imap.recent"


class Account:
    """One account with sessions. `sessions` is kept by the server."""

    def __init__(self, store: MailStore) -> None:
        self.store = store
        self.sessions = 0
        self._marks: dict[int, int] | None = None  # mailbox ID → the first UID that no session was told of
        self._dirty = False

    async def load(self) -> None:
        """Read the marks; does nothing the second time."""
        if self._marks is not None:
            return
        raw = await self.store.setting(_SETTING)
        try:
            marks = msgspec.msgpack.decode(raw, type=dict[int, int]) if raw is not None else {}
        except msgspec.DecodeError:
            marks = {}
        if self._marks is None:
            self._marks = marks

    def claim_recent(self, mailbox_id: int, uid: int, *, keep: bool) -> bool:
        """Whether no session was told of the message yet; with `keep` the caller is the one that now is."""
        assert self._marks is not None
        if uid < self._marks.get(mailbox_id, 0):
            return False
        if keep:
            self._marks[mailbox_id] = uid + 1
            self._dirty = True
        return True

    def recent_mark(self, mailbox_id: int) -> int:
        """The UID from which on messages are \\Recent."""
        return (self._marks or {}).get(mailbox_id, 0)

    async def save(self) -> None:
        """Make the marks durable if they moved, or on a full disk leave that to the next call."""
        if self._dirty and self._marks is not None:
            self._dirty = False
            try:
                await self.store.set_setting(_SETTING, msgspec.msgpack.encode(self._marks))
            except StoreFull:
                self._dirty = True
