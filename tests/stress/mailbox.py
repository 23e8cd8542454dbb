"""One mailbox of the model: which messages it may have, and what was promised about UIDs and modseqs."""

from collections.abc import Iterable, Sequence

from tests.stress.history import DELETED, OPEN, Content, Creation, Difference, Effect, Expunging, Message, Mode, Op


class Mailbox:
    """A mailbox by its identity: a name may stand for several, one after the other."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.uidvalidity: int | None = None
        self.messages: dict[int, Message] = {}
        self.creations: list[Creation] = []
        self.expunges: list[Expunging] = []
        self._over: list[Expunging] = []  # that succeeded while some creation was under way
        self.dead: set[int] = set()  # UIDs of messages that are surely gone and no longer among `messages`
        self.top = 0  # no message that comes has this UID or a lower one
        self.modseq = 0  # the highest that was told
        self.changed: Op | None = None  # the last operation that surely changed something
        self.told_highest: tuple[int, int] = (0, 0)  # when HIGHESTMODSEQ was last told, and what it was
        self.deletion: Op | None = None  # of the mailbox itself

    # ---- what is asked of it

    def begin_creation(
        self, op: Op, contents: Sequence[Content | None], flags: Sequence[tuple[frozenset[str], frozenset[str]] | None]
    ) -> Creation:
        creation = Creation(op, list(contents), list(flags), self.top)
        self.creations.append(creation)
        return creation

    def end_creation(self, creation: Creation, uids: Sequence[int], now: int) -> None:
        """The server said which UIDs the messages got."""
        self.creations.remove(creation)
        creation.op.end = now
        if len(uids) != len(creation.contents):
            raise Difference(f"{len(creation.contents)} messages, but UIDs {uids}")
        for uid, content, flags in zip(uids, creation.contents, creation.flags, strict=True):
            if uid <= creation.floor:
                raise Difference(f"UID {uid} was given, though {creation.floor} was given or promised before")
            message = self.messages.get(uid)
            if message is None:
                message = self.messages[uid] = Message(uid, creation.op)
            elif message.explained:
                raise Difference(f"UID {uid} was given twice")
            message.explained = True
            message.born = creation.op
            if message.content is not None and content is not None and message.content.mark != content.mark:
                raise Difference(f"UID {uid} is message {message.content.mark}, not {content.mark}")
            message.content = message.content or content
            known = flags or (frozenset(), frozenset())
            message.effects.insert(0, Effect(creation.op, "set", *known, unknown=flags is None))
            message.touched = now
            self._die_in_what_happened(message)
        self.top = max([self.top, *uids])
        if uids:
            self.note_change(creation.op)

    def _die_in_what_happened(self, message: Message) -> None:
        """Operations that were over before the message was known may have taken it."""
        for expunging in self._over:
            if expunging.op.end > message.born.start and self.takes(expunging, message):
                message.deaths.append(Op(expunging.op.start, expunging.op.end, sure=False))

    def forget_creation(self, creation: Creation, now: int) -> None:
        """It was refused."""
        creation.op.refused(now)
        self.creations.remove(creation)

    def begin_effect(
        self, op: Op, uids: Iterable[int], mode: Mode, flags: frozenset[str]
    ) -> dict[int, tuple[Message, Effect]]:
        """Flags are asked to change."""
        found = {}
        for uid in uids:
            message = self.messages.get(uid)
            if message is not None:
                effect = Effect(op, mode, flags)
                message.effects.append(effect)
                message.touched = op.start
                found[uid] = (message, effect)
        return found

    def begin_expunging(self, op: Op, uids: frozenset[int] | None, *, any_flags: bool = False) -> Expunging:
        expunging = Expunging(op, uids, any_flags)
        self.expunges.append(expunging)
        return expunging

    def takes(self, expunging: Expunging, message: Message) -> bool:
        """Whether the command may take this message."""
        if expunging.op.withdrawn or (expunging.uids is not None and message.uid not in expunging.uids):
            return False
        if expunging.any_flags or not message.explained:
            return True
        return True in message.flag(DELETED, expunging.op.start, expunging.op.end)

    def end_expunging(self, expunging: Expunging, now: int) -> None:
        """It succeeded: what surely had \\Deleted all the while, and was there, is gone."""
        op = expunging.op
        op.end = now
        self.settle_expunging(expunging)
        self.expunges.remove(expunging)

    def settle_expunging(self, expunging: Expunging) -> None:
        """Turn a command that is over into the deaths that it caused, or may have caused."""
        op = expunging.op
        self._over = [*self._over, expunging] if self.creations else []
        for message in self.messages.values():
            if message.born.start >= op.end or message.surely_dead(op.start) or not self.takes(expunging, message):
                continue
            alone = not self.may_be_gone(message, op.end, besides=expunging)
            there = message.explained and message.born.sure and message.born.end <= op.start
            marked = expunging.any_flags or message.flag(DELETED, op.start, op.end) == {True}
            surely = op.sure and there and marked
            message.deaths.append(op if surely else Op(op.start, op.end, sure=False))
            message.touched = max(message.touched, op.start if op.end == OPEN else op.end)
            if surely and alone:
                self.note_change(op)

    def kill(self, message: Message, op: Op) -> None:
        """The message is gone for certain, by this operation."""
        message.deaths.append(op)
        message.touched = op.end
        self.note_change(op)

    def may_be_deleted(self, moment: int) -> bool:
        return self.deletion is not None and not self.deletion.withdrawn and self.deletion.start < moment

    def note_change(self, op: Op) -> None:
        if op.sure and (self.changed is None or op.start > self.changed.start):
            self.changed = op

    def message(self, uid: int) -> Message:
        """A message that some client knows, gone or not."""
        return self.messages.get(uid) or Message(uid, Op(0, 1), deaths=[Op(0, 1)])

    # ---- what may be true

    def may_be_gone(self, message: Message, moment: int, *, besides: Expunging | None = None) -> bool:
        """Whether it may have been taken away by then, by another than one command."""
        if message.may_have_died(moment):
            return True
        others = (one for one in self.expunges if one is not besides)
        return any(one.op.start < moment and self.takes(one, message) for one in others)

    def may_be_there(self, message: Message, start: int, end: int) -> bool:
        return message.born.start < end and not message.surely_dead(start)

    def must_be_there(self, message: Message, start: int, end: int) -> bool:
        born = message.explained and message.born.sure and message.born.end <= start
        return born and not self.may_be_gone(message, end)

    def candidates(self, start: int, end: int) -> list[Message]:
        return [message for message in self.messages.values() if self.may_be_there(message, start, end)]

    def certain(self, start: int, end: int) -> list[Message]:
        return [message for message in self.messages.values() if self.must_be_there(message, start, end)]

    def coming(self, end: int) -> int:
        """How many messages may have come of which no UID is known."""
        expected = sum(len(one.contents) for one in self.creations if one.op.start < end)
        return max(expected - sum(not message.explained for message in self.messages.values()), 0)

    # ---- what a session was told

    def learn(self, uid: int, start: int, now: int) -> Message:
        """A session was told of this UID. Raises Difference if nothing can have made it."""
        message = self.messages.get(uid)
        if message is None:
            if uid in self.dead:
                raise Difference(f"UID {uid} of {self.label} was expunged long ago")
            makers = [one for one in self.creations if one.op.start < now and one.floor < uid]
            if not makers:
                raise Difference(f"UID {uid} of {self.label} is of no message that anybody put there")
            message = self.messages[uid] = Message(uid, Op(min(one.op.start for one in makers), now))
            message.touched = now
            self.top = max(self.top, uid)
        elif message.surely_dead(start):
            deaths = [(op.start, op.end) for op in message.deaths if op.sure]
            raise Difference(f"UID {uid} of {self.label} was expunged ({deaths}) before this: {message.story()}")
        return message

    def told_modseq(self, message: Message, modseq: int, start: int, now: int) -> None:
        """A message's modseq was told."""
        allowed = message.modseqs(start, now)
        if allowed and None not in allowed and modseq not in allowed:
            raise Difference(f"UID {message.uid} of {self.label} has modseq {modseq}, not one of {allowed}")
        earlier = (each for each in message.effects if each.op.end <= start and not each.op.withdrawn)
        lowest = max((each.modseq for each in earlier if each.modseq is not None), default=0)
        if modseq < lowest:
            raise Difference(f"the modseq of UID {message.uid} of {self.label} fell to {modseq}")
        self.modseq = max(self.modseq, modseq)

    def told_highest_modseq(self, highest: int, floor: int, start: int, now: int) -> None:
        """HIGHESTMODSEQ was told by a command that began at `start`, when `floor` was the highest modseq known."""
        if highest < floor:
            raise Difference(f"HIGHESTMODSEQ of {self.label} is {highest}, though {floor} was told before")
        when, before = self.told_highest
        changed = self.changed
        if changed is not None and changed.start >= when and changed.end <= start and highest <= before:
            raise Difference(f"{self.label} has changed, and HIGHESTMODSEQ is still {highest}")
        self.modseq = max(self.modseq, highest)
        self.told_highest = (now, highest)

    def told_uidnext(self, uidnext: int, floor: int) -> None:
        """UIDNEXT was told; `floor` is the highest UID that was known when the command began."""
        if uidnext <= floor:
            raise Difference(f"UIDNEXT of {self.label} is {uidnext}, though UID {floor} is given")
        self.top = max(self.top, uidnext - 1)

    def told_version(self, message: Message, modseq: int, flags: frozenset[str]) -> None:
        """Flags and modseq were told together: the same modseq never stands for two sets of flags."""
        known = message.versions.setdefault(modseq, flags)
        if known != flags:
            raise Difference(
                f"UID {message.uid} of {self.label} had {sorted(known)} and {sorted(flags)} under modseq {modseq}"
            )
