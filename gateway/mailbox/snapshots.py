"""The rows of the mailboxes that were opened last, kept in step with the commits: opening one again reads nothing.

Everything here happens on the event loop's thread. Rows are kept with the modseq that they are of, and used only for a
mailbox whose row says the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.mailbox.model import Change, Expunged, Mailbox, MessageRow, Snapshot
from gateway.mailbox.params import SNAPSHOT_MAILBOXES, SNAPSHOT_MESSAGES


@dataclass(slots=True)
class _Kept:
    modseq: int
    rows: dict[int, MessageRow]  # by ascending UID


class Snapshots:
    """One store's."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._kept: dict[int, _Kept] = {}  # by mailbox, the one used last at the end
        self._told: dict[int, int] = {}  # by mailbox, the modseq of the last change heard of

    def of(self, mailbox: Mailbox) -> Snapshot | None:
        """The mailbox with its rows, if they are known as of this very row."""
        kept = self.rows(mailbox.id)
        return Snapshot(mailbox, kept[1]) if kept is not None and kept[0] == mailbox.highest_modseq else None

    def rows(self, mailbox_id: int) -> tuple[int, dict[int, MessageRow]] | None:
        """What is known, and the modseq that it is of. The rows are the caller's."""
        kept = self._kept.pop(mailbox_id, None)
        if kept is None:
            return None
        self._kept[mailbox_id] = kept
        return kept.modseq, kept.rows.copy()

    def keep(self, snapshot: Snapshot) -> None:
        """Know a mailbox from now on, unless a later change was heard of already; the oldest are let go."""
        mailbox_id, modseq = snapshot.mailbox.id, snapshot.mailbox.highest_modseq
        if self._told.get(mailbox_id, 0) > modseq or len(snapshot.rows) > SNAPSHOT_MESSAGES:
            return
        self._kept.pop(mailbox_id, None)
        self._kept[mailbox_id] = _Kept(modseq, dict(snapshot.rows))
        while len(self._kept) > SNAPSHOT_MAILBOXES or self._messages() > SNAPSHOT_MESSAGES:
            del self._kept[next(iter(self._kept))]

    def apply(self, changes: Iterable[tuple[int, Change]], gone: Iterable[int]) -> None:
        """Take note of one commit's changes, in order; `gone` mailboxes were deleted."""
        news: dict[int, list[Change]] = {}
        for mailbox_id, change in changes:
            news.setdefault(mailbox_id, []).append(change)
        for mailbox_id, its_changes in news.items():
            self._told[mailbox_id] = max(change.modseq for change in its_changes)
            kept = self._kept.get(mailbox_id)
            if kept is not None:
                _follow(kept, its_changes)
        for mailbox_id in gone:
            self._kept.pop(mailbox_id, None)
            self._told.pop(mailbox_id, None)

    def forget(self) -> None:
        """Know nothing any more: rows were changed in a way that nobody is told of."""
        self._kept.clear()

    def _messages(self) -> int:
        return sum(len(kept.rows) for kept in self._kept.values())


def _follow(kept: _Kept, changes: list[Change]) -> None:
    baseline = kept.modseq
    for change in changes:
        if change.modseq <= baseline:
            continue
        kept.modseq = max(kept.modseq, change.modseq)
        if isinstance(change, Expunged):
            kept.rows.pop(change.uid, None)
        else:
            kept.rows[change.row.uid] = change.row
