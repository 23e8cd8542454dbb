"""What a session is told, against a client that believes every word."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.imap.view import View
from gateway.mailbox.model import Change, Expunged, FlagsChanged, Mailbox, MessageRow, New, Snapshot


def row(uid: int, modseq: int, *flags: str) -> MessageRow:
    return MessageRow(uid, modseq, frozenset(flags), 0, 0, 1)


def snapshot(rows: list[MessageRow], modseq: int) -> Snapshot:
    mailbox = Mailbox(1, "INBOX", None, True, 1, 100, modseq, len(rows), 0, 0, 0)
    return Snapshot(mailbox, {one.uid: one for one in rows})


def view(*uids: int) -> View:
    return View(snapshot([row(uid, 1) for uid in uids], 1), lambda uid: False, read_only=False)


class Believer:
    """A client's picture of its mailbox: what it is told, and what it fetches of new messages."""

    def __init__(self, seen: View) -> None:
        self.seen = seen
        self.flags = [seen.flags(uid) for uid in seen.uids]  # by sequence number - 1
        self.uids = list(seen.uids)

    def vanish(self, uids: str) -> None:
        for first, _, last in (part.partition(":") for part in uids.split(",")):
            for uid in range(int(first), int(last or first) + 1):
                place = self.uids.index(uid)
                del self.uids[place], self.flags[place]

    def hear(self, told: bytes) -> None:
        for line in told.decode("ascii").splitlines():
            if match := re.fullmatch(r"\* VANISHED ([\d:,]+)", line):
                self.vanish(match[1])
            elif match := re.fullmatch(r"\* (\d+) EXPUNGE", line):
                del self.flags[int(match[1]) - 1], self.uids[int(match[1]) - 1]
            elif match := re.fullmatch(r"\* (\d+) EXISTS", line):
                assert int(match[1]) >= len(self.flags)
                new = range(len(self.flags), int(match[1]))
                self.flags += [self.seen.flags(self.seen.uids[place]) for place in new]
                self.uids += [self.seen.uids[place] for place in new]
            elif match := re.fullmatch(r"\* (\d+) FETCH \(UID \d+ FLAGS \(([^)]*)\)\)", line):
                self.flags[int(match[1]) - 1] = frozenset(match[2].split())


def test_expunges_wait_for_leave() -> None:
    """Without leave to announce EXPUNGE numbers stay; with it they move (RFC 3501 §7.4.1)."""
    seen = view(1, 2, 3)
    seen.absorb([Expunged(2, 2), New(row(4, 3))])
    assert seen.announce(expunge=False, modseq=False) == b"* 4 EXISTS\r\n* 0 RECENT\r\n"
    assert (seen.seq(3), seen.seq(4), seen.is_gone(2)) == (3, 4, True)
    assert seen.announce(expunge=True, modseq=False) == b"* 2 EXPUNGE\r\n"
    assert (seen.seq(3), seen.seq(4), seen.seq(2)) == (2, 3, None)


def test_message_that_came_and_went_is_never_mentioned() -> None:
    """What is expunged before it was announced was never there."""
    seen = view(1)
    seen.absorb([New(row(2, 2)), Expunged(2, 3)])
    assert seen.announce(expunge=True, modseq=False) == b""


def test_changes_of_the_snapshot_are_not_told_again() -> None:
    """A watch is taken before the snapshot, so what the snapshot has is passed over."""
    seen = View(snapshot([row(1, 5, "\\Seen"), row(3, 7)], 7), lambda uid: False, read_only=False)
    seen.absorb([New(row(1, 3)), FlagsChanged(row(1, 5, "\\Seen")), New(row(2, 4)), Expunged(2, 6), New(row(3, 7))])
    assert seen.announce(expunge=True, modseq=False) == b""


def test_own_change_is_not_told_twice() -> None:
    """What a command has answered is not news."""
    seen = view(1)
    seen.told(row(1, 2, "\\Seen"))
    seen.absorb([FlagsChanged(row(1, 2, "\\Seen"))])
    assert seen.announce(expunge=True, modseq=False) == b""


def test_new_keyword_is_defined_first() -> None:
    """FLAGS comes before the first FETCH with a new keyword (RFC 3501 §7.2.6)."""
    seen = view(1)
    seen.absorb([FlagsChanged(row(1, 2, "work"))])
    lines = seen.announce(expunge=True, modseq=True).split(b"\r\n")
    assert lines[0].startswith(b"* FLAGS (")
    assert lines[0].endswith(b" work)")
    assert lines[2] == b"* 1 FETCH (UID 1 FLAGS (work) MODSEQ (2))"


def test_resync_is_the_difference() -> None:
    """After an overflow the session is told the difference between what it knows and a snapshot."""
    seen = view(1, 2, 3)
    seen.resync(snapshot([row(1, 9, "\\Seen"), row(3, 1), row(8, 8)], 9))
    told = seen.announce(expunge=True, modseq=False)
    assert told == b"* 2 EXPUNGE\r\n* 3 EXISTS\r\n* 0 RECENT\r\n* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n"


def test_many_expunges() -> None:
    """A mailbox emptied in one go is told from the end, and nothing stays."""
    seen = view(*range(1, 1_001))
    seen.absorb(Expunged(uid, uid + 1) for uid in range(1, 1_001))
    told = seen.announce(expunge=True, modseq=False)
    assert told.startswith(b"* 1000 EXPUNGE\r\n* 999 EXPUNGE\r\n")
    assert (len(seen), seen.rows) == (0, {})


_ACTION = st.tuples(st.sampled_from(["new", "expunge", "flag", "tell", "tell all", "overflow"]), st.integers(0, 50))


@settings(max_examples=200)
@given(st.lists(_ACTION, max_size=60), st.integers(0, 40), st.booleans())
def test_client_that_believes_us_is_right(actions: list[tuple[str, int]], start: int, vanished: bool) -> None:
    """After an announcement with leave to expunge, a client's picture is the mailbox; before, no EXPUNGE is said."""
    modseq = 1
    truth = {uid: row(uid, 1) for uid in range(1, start + 1)}
    uidnext = start + 1
    seen = View(snapshot(list(truth.values()), modseq), lambda uid: False, read_only=False)
    client = Believer(seen)
    pending: list[Change] = []
    for action, number in [*actions, ("tell all", 0)]:
        modseq += 1
        uids = sorted(truth)
        if action == "new":
            truth[uidnext] = row(uidnext, modseq)
            pending.append(New(truth[uidnext]))
            uidnext += 1
        elif action == "expunge" and uids:
            uid = uids[number % len(uids)]
            del truth[uid]
            pending.append(Expunged(uid, modseq))
        elif action == "flag" and uids:
            uid = uids[number % len(uids)]
            truth[uid] = row(uid, modseq, f"f{number % 3}")
            pending.append(FlagsChanged(truth[uid]))
        elif action == "overflow":
            pending.clear()
            seen.resync(snapshot([truth[uid] for uid in uids], modseq))
        elif action.startswith("tell"):
            seen.absorb(pending)
            pending.clear()
            told = seen.announce(expunge=action == "tell all", modseq=False, vanished=vanished)
            assert action == "tell all" or not (b"EXPUNGE" in told or b"VANISHED" in told)
            client.hear(told)
            assert len(client.flags) == len(seen)
    assert seen.uids == client.uids == sorted(truth)
    assert client.flags == [truth[uid].flags for uid in sorted(truth)]
