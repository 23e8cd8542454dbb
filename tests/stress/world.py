"""What all clients share: the clock, the names of mailboxes, and the messages that were ever made."""

import asyncio
import random
from dataclasses import dataclass

from tests.stress.history import Clock, Content, Op, last_cut
from tests.stress.mailbox import Mailbox

WORDS = ("amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath")
SENDERS = ("ada", "bob", "cyd")
KEYWORDS = ("$label1", "$forwarded", "later", "work")
STANDING = ("INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash")  # as a new account has them


@dataclass(frozen=True, slots=True)
class Naming:
    """From this operation on a name stood for a mailbox, or for none."""

    op: Op
    mailbox: Mailbox | None


class World:
    """The account as the model has it."""

    def __init__(self, seed: int) -> None:
        self.clock = Clock()
        self.naming = asyncio.Lock()  # CREATE, DELETE and RENAME come one after the other
        self.restarting = False  # connections may be lost
        self.hung_up: list[Op] = []  # their outcome is not known, and they may still be under way
        self.commands = 0
        self.enough = 0  # commands, after which `reached` is set
        self.reached = asyncio.Event()
        self.underway: set[int] = set()  # when the commands began that have no end yet
        self.marks = 0
        self.by_mark: dict[int, Content] = {}
        self.names: dict[str, list[Naming]] = {name: [Naming(Op(0, 1), Mailbox(name))] for name in STANDING}
        self._chance = random.Random(f"contents {seed}")

    # ---- time

    def begin(self) -> Op:
        op = Op(self.clock.tick())
        self.underway.add(op.start)
        self.commands += 1
        if self.commands == self.enough:
            self.reached.set()
        return op

    def end(self, op: Op) -> int:
        now = self.clock.tick()
        op.end = now
        self.underway.discard(op.start)
        return now

    @property
    def horizon(self) -> int:
        """Nothing will be asked about an earlier time."""
        return min(self.underway, default=self.clock.now)

    # ---- names

    def called(self, name: str, start: int, end: int) -> set[Mailbox | None]:
        """What the name may stand for somewhere between two moments."""
        namings = [one for one in self.names.get(name, []) if not one.op.withdrawn]
        if not namings:
            return {None}
        cut = last_cut((one.op for one in namings), start)
        found = {one.mailbox for one in namings if one.op.start < end and one.op.end > cut}
        if cut < 0:
            found.add(None)
        return found

    def called_now(self, name: str) -> Mailbox | None:
        """What it stands for while nobody renames. A name whose fate is not known stands for nothing."""
        found = self.called(name, self.clock.now, self.clock.now + 1)
        return found.pop() if len(found) == 1 else None

    def name(self, op: Op, name: str, mailbox: Mailbox | None) -> None:
        self.names.setdefault(name, []).append(Naming(op, mailbox))

    def existing(self) -> list[str]:
        """Names that surely stand for a mailbox now."""
        now = self.clock.now
        return [name for name in self.names if None not in self.called(name, now, now + 1)]

    def mailboxes(self) -> list[Mailbox]:
        return list({one.mailbox: None for namings in self.names.values() for one in namings if one.mailbox})

    # ---- messages

    def content(self) -> Content:
        """A new message, like no other."""
        self.marks += 1
        mark, chance = self.marks, self._chance
        subject, sender = " ".join(chance.sample(WORDS, 2)), chance.choice(SENDERS)
        text = " ".join(chance.choice(WORDS) for _ in range(chance.randrange(1, 40)))
        if not chance.randrange(40):
            text = "\r\n".join([text] * 3_000)  # what the server keeps elsewhere
        day = chance.randrange(1, 29)
        octets = (
            f"Date: {day} Mar 2026 12:00:00 +0000\r\nFrom: {sender} <{sender}@example.org>\r\n"
            f"To: all <all@example.org>\r\nSubject: {subject}\r\nMessage-ID: <{mark}@stress.example>\r\n\r\n{text}\r\n"
        ).encode("ascii")
        hour = chance.randrange(24)
        date = f"{day:2d}-Mar-2026 {hour:02d}:{mark % 60:02d}:00 +0000"
        content = Content(mark, octets, subject, sender, text, date, day)
        self.by_mark[mark] = content
        return content
