"""One session's selected mailbox as its client knows it, and the rules on what the server may say of it, and when.

RFC 9051 §5.2, §5.5, §7.4, §7.5; RFC 7162 §3.2.10. Every response is judged as it comes; `settle` judges at a
command's end what should have been said by then.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.stress.history import Content, Difference, Message, Mode, Op
from tests.stress.mailbox import Mailbox
from tests.stress.wire import Response, Value, number, numbers, pairs, word, words

RECENT = "\\recent"
_BODY = re.compile(r"BODY\[\](?:<(\d+)>)?\Z|BINARY\[\]\Z|RFC822\Z")


@dataclass(slots=True)
class Told:
    """What the client was last told of a message's flags."""

    flags: frozenset[str] | None
    modseq: int | None
    when: int
    recent: bool = False


@dataclass(slots=True)
class View:
    """`uids` has the UID of every sequence number, None where it was not told."""

    mailbox: Mailbox
    read_only: bool
    uids: list[int | None] = field(default_factory=list)
    told: dict[int, Told] = field(default_factory=dict)
    keywords: set[str] = field(default_factory=set)  # that FLAGS has named
    recent: int | None = None
    qresync: bool = False
    condstore: bool = False
    safe_modseq: int = 0  # all changes up to it were told

    # ---- responses

    def take(self, response: Response, op: Op, now: int, *, numbers_in_use: bool) -> None:
        """Judge an untagged response to a command that began with `op`, and keep what it says."""
        match response.name:
            case "EXISTS":
                if response.number < len(self.uids):
                    raise Difference(f"EXISTS fell from {len(self.uids)} to {response.number} without EXPUNGE")
                self.uids += [None] * (response.number - len(self.uids))
            case "RECENT":
                if response.number > len(self.uids):
                    raise Difference(f"{response.number} RECENT of {len(self.uids)} messages")
                self.recent = response.number
            case "EXPUNGE":
                if numbers_in_use:
                    raise Difference("EXPUNGE while sequence numbers are in use (RFC 9051 §7.5.1)")
                if self.qresync:
                    raise Difference("EXPUNGE after ENABLE QRESYNC (RFC 7162 §3.2.10)")
                self._expunge(response.number, now)
            case "VANISHED":
                self._vanished(response.values, now, numbers_in_use=numbers_in_use)
            case "FETCH":
                self._fetch(response.number, pairs(response.values[0]), op, now)
            case "FLAGS":
                self.keywords = {flag.decode("ascii").casefold() for flag in words(response.values[0])}

    def _expunge(self, seq: int, now: int) -> None:
        if not 1 <= seq <= len(self.uids):
            raise Difference(f"{seq} EXPUNGE in a mailbox of {len(self.uids)}")
        uid = self.uids.pop(seq - 1)
        if uid is not None:
            self._gone(uid, now)

    def _gone(self, uid: int, now: int) -> None:
        self.told.pop(uid, None)
        message = self.mailbox.messages.get(uid)
        if message is None:
            if uid not in self.mailbox.dead:
                raise Difference(f"UID {uid} is told to be gone and never was")
        elif not self.mailbox.may_be_gone(message, now):
            raise Difference(f"UID {uid} is told to be gone, and nobody expunged it")

    def _vanished(self, values: list[Value], now: int, *, numbers_in_use: bool) -> None:
        if not self.qresync:
            raise Difference("VANISHED without ENABLE QRESYNC")
        earlier = isinstance(values[0], list)
        if numbers_in_use and not earlier:
            raise Difference("VANISHED while sequence numbers are in use (RFC 7162 §3.2.10)")
        for uid in numbers(values[-1]):
            if uid > self.mailbox.top and not self.mailbox.coming(now):
                raise Difference(f"UID {uid} has VANISHED before it was given")
            self.mailbox.top = max(self.mailbox.top, uid)
            message = self.mailbox.messages.get(uid)
            if message is not None and not self.mailbox.may_be_gone(message, now):
                raise Difference(f"UID {uid} has VANISHED, and nobody expunged it")
            if uid in self.uids and not earlier:
                self.uids.remove(uid)
                self.told.pop(uid, None)
            elif not earlier:
                self._vanish_unnumbered(uid)

    def _vanish_unnumbered(self, uid: int) -> None:
        """One of the messages that were announced only was this one: it stood between its neighbours."""
        below = [place for place, other in enumerate(self.uids) if other is not None and other < uid]
        place = below[-1] + 1 if below else 0
        if place == len(self.uids) or self.uids[place] is not None:
            raise Difference(f"UID {uid} has VANISHED that this session never heard of")
        del self.uids[place]

    # ---- FETCH

    def _fetch(self, seq: int, items: dict[str, Value], op: Op, now: int) -> None:
        if not 1 <= seq <= len(self.uids):
            raise Difference(f"{seq} FETCH in a mailbox of {len(self.uids)}")
        uid = self.uids[seq - 1]
        if "UID" in items:
            said = number(items["UID"])
            if uid is not None and said != uid:
                raise Difference(f"message {seq} was UID {uid} and is now {said}")
            if uid is None:
                self._number(seq, said)
                uid = said
        if uid is None:
            return
        message = self.mailbox.learn(uid, op.start, now)
        self._judge_flags(message, items, op, now)
        self._judge_content(message, items)

    def _number(self, seq: int, uid: int) -> None:
        before = max((each for each in self.uids[: seq - 1] if each is not None), default=0)
        after = min((each for each in self.uids[seq:] if each is not None), default=1 << 32)
        if not before < uid < after:
            raise Difference(f"message {seq} has UID {uid}, between {before} and {after}")
        self.uids[seq - 1] = uid

    def _judge_flags(self, message: Message, items: dict[str, Value], op: Op, now: int) -> None:
        modseq = None
        if "MODSEQ" in items:
            if not self.condstore:
                raise Difference("MODSEQ to a session that has not asked for it (RFC 7162 §3.1)")
            modseq = number(words(items["MODSEQ"])[0])
            self.mailbox.told_modseq(message, modseq, op.start, now)
        if "FLAGS" not in items:
            if modseq is not None:
                before = self.told.get(message.uid)
                self.told[message.uid] = Told(before.flags if before else None, modseq, now)
            return
        every = frozenset(flag.decode("ascii").casefold() for flag in words(items["FLAGS"]))
        flags = every - {RECENT}
        undefined = {flag for flag in flags if not flag.startswith("\\")} - self.keywords
        if undefined:
            raise Difference(f"{sorted(undefined)} without FLAGS that names them (RFC 9051 §7.3.5)")
        wrong = message.wrong_flag(flags, op.start, now)
        if wrong is not None:
            raise Difference(
                f"UID {message.uid} of {self.mailbox.label} has {sorted(flags)}; {wrong} is not so: {message.story()}"
            )
        if modseq is not None:
            self.mailbox.told_version(message, modseq, flags)
        message.observed(flags, modseq, op.start, now)
        self.told[message.uid] = Told(flags, modseq, now, RECENT in every)

    def _judge_content(self, message: Message, items: dict[str, Value]) -> None:
        content = message.content
        if content is None:
            return
        for item, value in items.items():
            expected = _expected(content, item)
            said = value.decode("ascii", "replace") if isinstance(value, bytes) and expected is not None else None
            if expected is not None and said != expected:
                raise Difference(f"{item} of UID {message.uid} is {said!r:.200}, not {expected!r:.200}")
            if item == "ENVELOPE":
                _judge_envelope(content, value)

    # ---- what should have been said

    def settle(self, start: int, now: int, *, expunges_told: bool) -> None:
        """At the end of a command that brings news: nothing is missing that was so when the command began."""
        wrong = self.unsettled(start, now, expunges_told=expunges_told)
        if wrong is not None:
            raise Difference(wrong)

    def unsettled(self, start: int, now: int, *, expunges_told: bool) -> str | None:
        """What the client does not know and should, None if nothing."""
        known = {uid for uid in self.uids if uid is not None}
        unnumbered = len(self.uids) - len(known)
        missing = [message.uid for message in self.mailbox.certain(start, now) if message.uid not in known]
        if len(missing) > unnumbered:
            return f"UIDs {missing} of {self.mailbox.label} were not announced ({unnumbered} without UID)"
        if expunges_told:
            possible = {message.uid for message in self.mailbox.candidates(start, now)}
            late = [uid for uid in known if uid not in possible]
            if late:
                return f"UIDs {late} of {self.mailbox.label} were expunged, and no EXPUNGE was told"
            if unnumbered > len(possible - known) + self.mailbox.coming(now):
                return f"{unnumbered} messages are announced that nobody put there"
        for uid in known:
            wrong = self._stale(uid, start, now)
            if wrong is not None:
                return wrong
        return None

    def _stale(self, uid: int, start: int, now: int) -> str | None:
        """Whether the flags of a message changed and the client was not told."""
        message, told = self.mailbox.messages.get(uid), self.told.get(uid)
        if message is None or told is None or told.flags is None or message.touched < told.when:
            return None
        if self.mailbox.may_be_gone(message, now):
            return None
        wrong = message.wrong_flag(told.flags, start, now)
        if wrong is not None:
            return f"UID {uid} has {sorted(told.flags)} for this session; {wrong} is not so: {message.story()}"
        if message.touched <= start:
            told.when = start
        return None

    def stored(self, uids: Iterable[int], mode: Mode, flags: frozenset[str], now: int) -> None:
        """The client works out what a STORE with .SILENT is about to make of the flags."""
        for uid in uids:
            told = self.told.get(uid)
            if told is not None and told.flags is not None:
                before = told.flags
                after = flags if mode == "set" else before | flags if mode == "add" else before - flags
                self.told[uid] = Told(after, None, now, told.recent)


def seq_numbers(view: View, uids: list[int]) -> list[int]:
    places = {uid: seq for seq, uid in enumerate(view.uids, start=1) if uid is not None}
    return [places[uid] for uid in uids if uid in places]


def _expected(content: Content, item: str) -> str | None:
    """What the item must be, None where this is not known."""
    whole = content.octets.decode("ascii")
    head, _, body = whole.partition("\r\n\r\n")
    match = _BODY.match(item)
    if match is not None:
        return whole if match[1] is None else None
    return {
        "RFC822.SIZE": str(len(whole)),
        "INTERNALDATE": content.internal_date,
        "BODY[HEADER]": head + "\r\n\r\n",
        "RFC822.HEADER": head + "\r\n\r\n",
        "BODY[TEXT]": body,
        "BODY[1]": body,
        "BINARY[1]": body,
        "BINARY.SIZE[1]": str(len(body)),
        "BODY[HEADER.FIELDS (SUBJECT)]": f"Subject: {content.subject}\r\n\r\n",
        "BODY[]<7>": whole[7:27],
    }.get(item)


def _judge_envelope(content: Content, value: Value) -> None:
    if not isinstance(value, list) or len(value) != 10:
        raise Difference(f"an ENVELOPE of other than ten values: {value!r}")
    sender = [[content.sender.encode("ascii"), None, content.sender.encode("ascii"), b"example.org"]]
    said = (word(value[1]), value[2], word(value[9]))
    expected = (content.subject.encode("ascii"), sender, f"<{content.mark}@stress.example>".encode("ascii"))
    if said != expected:
        raise Difference(f"ENVELOPE has {said!r}, not {expected!r}")
