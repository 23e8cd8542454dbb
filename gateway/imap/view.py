"""A session's numbering of its mailbox: what the client has been told, and what it has yet to be told.

Changes are absorbed at any time; sequence numbers move only in `announce`, because between two announcements the
client counts with what it knows (RFC 3501 §5.5, §7.4.1). An expunged message that is not announced keeps its number.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import attrgetter

from gateway.imap import responses
from gateway.imap.resync import vanished_responses
from gateway.imap.sequence_sets import SequenceSet
from gateway.mailbox.expunged import runs
from gateway.mailbox.model import SYSTEM_FLAGS, Change, Expunged, FlagsChanged, MessageRow, New, Snapshot

_REBUILD_ABOVE = 32  # this many expunges at once: one pass over the numbering is cheaper than single deletions

_FLAGS = attrgetter("flags")

ClaimRecent = Callable[[int], bool]


class View:
    """The selected mailbox as one client sees it; the snapshot's rows become its own.

    `claim_recent(uid)` says whether a message is new to all sessions; none below `recent_from` is.
    """

    def __init__(self, snapshot: Snapshot, claim_recent: ClaimRecent, *, read_only: bool, recent_from: int = 0) -> None:
        self._claim_recent = claim_recent
        self._read_only = read_only
        self._baseline = snapshot.mailbox.highest_modseq
        self.highest_modseq = self._baseline  # of what was absorbed
        self._uidnext = snapshot.mailbox.uidnext
        self.rows: dict[int, MessageRow] = snapshot.rows
        self.uids: list[int] = list(snapshot.rows)
        self.recent: set[int] = {uid for uid in self.uids[bisect_left(self.uids, recent_from) :] if claim_recent(uid)}
        self.saved: tuple[int, ...] = ()  # UIDs, "$" of RFC 5182
        self.keywords: set[str] = set()
        for flags in set(map(_FLAGS, snapshot.rows.values())):
            self.keywords |= flags - SYSTEM_FLAGS
        self._keywords_news = False
        self._gone: set[int] = set()
        self._arrived: dict[int, MessageRow] = {}
        self._changed: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self.uids)

    def seq(self, uid: int) -> int | None:
        """The sequence number of `uid`, None if the client does not know it."""
        place = bisect_left(self.uids, uid)
        return place + 1 if place < len(self.uids) and self.uids[place] == uid else None

    def chosen(self, messages: SequenceSet, *, by_uid: bool) -> list[int]:
        """UIDs, ascending, of the messages that a command means. Raises Bad for a sequence number that is not there.

        Messages that are gone and not announced are among them, but never in "$" (RFC 5182 §2.1).
        """
        if messages.saved:
            return [uid for uid in self.saved if uid in self.rows and uid not in self._gone]
        if by_uid:
            return messages.select(self.uids)
        return [self.uids[seq - 1] for seq in messages.positions(len(self))]

    def is_gone(self, uid: int) -> bool:
        """Whether the message is expunged and the client has not been told."""
        return uid in self._gone

    def is_untold(self, uid: int) -> bool:
        """Whether the message's flags are known here and not yet to the client."""
        return uid in self._changed

    @property
    def largest_uid(self) -> int:
        """The highest UID that was given, whether or not its message is still there."""
        return self._uidnext - 1

    def gaps(self) -> list[tuple[int, int]]:
        """Ranges of the UIDs that were given and stand for no message that the client has or is about to hear of."""
        found: list[tuple[int, int]] = []
        expected = 1
        for uid in chain(self.uids, self._arrived):
            if uid > expected:
                found.append((expected, uid - 1))
            expected = uid + 1
        if expected < self._uidnext:
            found.append((expected, self._uidnext - 1))
        return found

    @property
    def gone(self) -> bool:
        """Whether the client does not know yet of some expunged message."""
        return bool(self._gone)

    @property
    def has_news(self) -> bool:
        return bool(self._gone or self._arrived or self._changed)

    def flags_list(self, uid: int) -> bytes:
        """Flags as the client sees them, in wire form."""
        return responses.flags(self.rows[uid].flags, uid in self.recent)

    def numbered(self, uids: Sequence[int]) -> Sequence[tuple[int, MessageRow]]:
        """Sequence numbers and rows of those of the messages (ascending) that the client has and that are there."""
        place = bisect_left(self.uids, uids[0]) if uids else 0
        if self.uids[place : place + len(uids)] == uids and self._gone.isdisjoint(uids):
            return list(enumerate(map(self.rows.__getitem__, uids), start=place + 1))
        found = [(self.seq(uid), uid) for uid in uids if uid not in self._gone]
        return [(seq, self.rows[uid]) for seq, uid in found if seq is not None]

    def told_flags(self, uids: Iterable[int]) -> None:
        """Note that the client is told the messages' flags, as they are known, by the command under way."""
        if self._changed:
            for uid in uids:
                self._changed.pop(uid, None)

    def flags(self, uid: int) -> frozenset[str]:
        """Flags as the client sees them, with \\Recent."""
        flags = self.rows[uid].flags
        return flags | {responses.RECENT} if uid in self.recent else flags

    def first_unseen(self) -> int | None:
        """The sequence number for the UNSEEN response code (RFC 3501 §7.1)."""
        for place, uid in enumerate(self.uids, start=1):
            if "\\Seen" not in self.rows[uid].flags:
                return place
        return None

    def absorb(self, changes: Iterable[Change]) -> None:
        """Take note of changes in commit order; those that the snapshot has already are passed over."""
        for change in changes:
            if change.modseq <= self._baseline:
                continue
            self.highest_modseq = max(self.highest_modseq, change.modseq)
            if isinstance(change, Expunged):
                self._expunge(change.uid)
            elif isinstance(change, New):
                self._arrive(change.row)
            elif isinstance(change, FlagsChanged):
                self._change(change.row)

    def resync(self, snapshot: Snapshot) -> None:
        """Absorb the difference to a whole snapshot, after changes were lost (an overflowed Watch)."""
        self._baseline = self.highest_modseq = snapshot.mailbox.highest_modseq
        self._uidnext = max(self._uidnext, snapshot.mailbox.uidnext)
        for uid in [uid for uid in (*self.uids, *self._arrived) if uid not in snapshot.rows]:
            self._expunge(uid)
        for row in snapshot.rows.values():
            if row.uid in self.rows or row.uid in self._arrived:
                self._change(row)
            else:
                self._arrive(row)

    def vanish(self) -> None:
        """Absorb that the whole mailbox is gone."""
        for uid in (*self.uids, *self._arrived):
            self._expunge(uid)

    def _expunge(self, uid: int) -> None:
        if self._arrived.pop(uid, None) is None and uid in self.rows:
            self._gone.add(uid)
            self._changed.pop(uid, None)

    def _arrive(self, row: MessageRow) -> None:
        self._uidnext = max(self._uidnext, row.uid + 1)
        if row.uid in self.rows or row.uid in self._arrived:
            self._change(row)
        else:
            self._arrived[row.uid] = row

    def _change(self, row: MessageRow) -> None:
        if row.uid in self._arrived:
            self._arrived[row.uid] = row
            return
        known = self.rows.get(row.uid)
        if known is None or row.modseq <= known.modseq or row.uid in self._gone:
            return
        self._know(row)
        self._changed[row.uid] = None

    def told(self, row: MessageRow) -> None:
        """Note a row that the client is told of, or can work out, by the command under way."""
        known = self.rows.get(row.uid)
        if known is not None and row.modseq >= known.modseq:
            self._know(row)
            self._changed.pop(row.uid, None)

    def _know(self, row: MessageRow) -> None:
        self.rows[row.uid] = row
        keywords = row.flags - SYSTEM_FLAGS
        if not keywords <= self.keywords:
            self.keywords |= keywords
            self._keywords_news = True

    def announce_keywords(self) -> bytes:
        """FLAGS and PERMANENTFLAGS if a keyword came up that the client has not seen defined (RFC 3501 §7.2.6)."""
        if not self._keywords_news:
            return b""
        self._keywords_news = False
        return self.flags_lines()

    def flags_lines(self) -> bytes:
        """FLAGS and PERMANENTFLAGS (RFC 3501 §7.2.6, §7.1)."""
        names = (*responses.SYSTEM_FLAGS, *sorted(self.keywords))
        listed = " ".join(names).encode("ascii")
        permanent = b"" if self._read_only else listed + b" \\*"  # \* = new keywords may be made
        return b"* FLAGS (%s)\r\n* OK [PERMANENTFLAGS (%s)] permanent flags\r\n" % (listed, permanent)

    def announce(self, *, expunge: bool, modseq: bool, vanished: bool = False, recent: bool = True) -> bytes:
        """Tell everything absorbed, EXPUNGEs only if `expunge`; from here on the numbering is the new one.

        With `vanished` they are told by UID (RFC 7162 §3.2.10); `recent` False leaves RECENT out (RFC 9051).
        """
        out: list[bytes] = []
        if expunge and self._gone:
            out.append(self._announce_expunges(vanished=vanished))
        if self._arrived:
            out.append(self._announce_arrivals(recent=recent))
        out.append(self.announce_keywords())
        for uid in self._changed:
            seq = self.seq(uid)
            if seq is not None:
                out.append(self.flags_line(seq, uid, modseq=modseq))
        self._changed.clear()
        return b"".join(out)

    def flags_line(self, seq: int, uid: int, *, modseq: bool) -> bytes:
        """An unsolicited FETCH with the flags (RFC 3501 §7.4.2), the UID included for UID commands' sake (§6.4.8)."""
        suffix = b" MODSEQ (%d)" % self.rows[uid].modseq if modseq else b""
        return b"* %d FETCH (UID %d FLAGS %s%s)\r\n" % (seq, uid, self.flags_list(uid), suffix)

    def _announce_expunges(self, *, vanished: bool) -> bytes:
        gone = sorted(self._gone, reverse=True)  # from the end, so that no number moves before it is used
        out = list(vanished_responses(runs(reversed(gone)), earlier=False)) if vanished else []
        for uid in gone:
            place = bisect_left(self.uids, uid)
            if not vanished:
                out.append(b"* %d EXPUNGE\r\n" % (place + 1))
            if len(gone) <= _REBUILD_ABOVE:
                del self.uids[place]
            del self.rows[uid]
            self.recent.discard(uid)
        if len(gone) > _REBUILD_ABOVE:
            self.uids = [uid for uid in self.uids if uid not in self._gone]
        self._gone.clear()
        return b"".join(out)

    def _announce_arrivals(self, *, recent: bool) -> bytes:
        for uid, row in self._arrived.items():
            self.uids.append(uid)
            self._know(row)
            if self._claim_recent(uid):
                self.recent.add(uid)
        self._arrived.clear()
        exists = b"* %d EXISTS\r\n" % len(self.uids)
        return exists + b"* %d RECENT\r\n" % len(self.recent) if recent else exists  # RFC 3501 §7.3
