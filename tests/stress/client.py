"""A client: its connection, its session's view, and how one command is asked and its answer judged."""

import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.stress.history import Difference, Op
from tests.stress.view import View
from tests.stress.wire import Connection, Lost, NotImap, Response, Value, number, pairs
from tests.stress.world import World

PATIENCE = 60.0  # seconds for an answer; a right server needs some milliseconds
TRANSCRIPT = 3000  # lines shown with a difference

_NUMBERS_IN_USE = ("FETCH", "STORE", "SEARCH")  # RFC 9051 §7.5.1
_TELLS_NO_EXPUNGE = (*_NUMBERS_IN_USE, "UID FETCH")  # of a UID FETCH it may be told, and need not
_TELLS_NOTHING = ("SELECT", "EXAMINE", "CLOSE", "UNSELECT", "LOGIN", "LOGOUT")

ENABLING = {
    "plain": "",
    "condstore": "CONDSTORE",
    "qresync": "QRESYNC",
    "rev2": "IMAP4rev2",
    "rev2 qresync": "IMAP4rev2 QRESYNC",
}


@dataclass(slots=True)
class Answer:
    """What came back for one command."""

    op: Op
    tagged: Response
    untagged: list[Response] = field(default_factory=list)
    fetched: dict[int, dict[str, Value]] = field(default_factory=dict)  # by UID

    @property
    def ok(self) -> bool:
        return self.tagged.name == "OK"

    def named(self, name: str) -> list[Response]:
        return [each for each in self.untagged if each.name == name]


@dataclass(slots=True)
class Cache:
    """What a client that resynchronises kept of a mailbox."""

    modseq: int
    flags: dict[int, frozenset[str]]


class Client:
    """One random user. `port` is asked at every connect: the server may have been started anew."""

    def __init__(self, name: str, world: World, seed: str, kind: str, patience: float = PATIENCE) -> None:
        self.name = name
        self.world = world
        self.chance = random.Random(seed)
        self.kind = kind
        self.patience = patience  # seconds for news in IDLE
        self.connection: Connection | None = None
        self.view: View | None = None
        self.condstore = False
        self.idling: tuple[Op, str] | None = None
        self.may_break: Callable[[], bool] = never  # whether the command under way may end in a broken connection
        self.selecting = True  # False for the auditor, which judges mailboxes as wholes and keeps no view
        self.caches: dict[int, Cache] = {}  # by UIDVALIDITY
        self.transcript: deque[tuple[int, str | Response]] = deque(maxlen=TRANSCRIPT)
        self._number = 0

    @property
    def qresync(self) -> bool:
        return "qresync" in self.kind

    @property
    def rev2(self) -> bool:
        return "rev2" in self.kind

    # ---- the connection

    async def connect(self, port: int) -> None:
        """Connect, log in, and switch on what this kind of client wants. Raises Lost."""
        self.view, self.idling = None, None
        self.condstore = False
        try:
            self.connection = await Connection.open(port)
            greeting = await self.next_response()
            if greeting.name != "OK":
                raise Difference(f"greeted with {greeting.name}")
            await self.must("LOGIN", "LOGIN alice secret")
            if ENABLING[self.kind]:
                await self.must("ENABLE", f"ENABLE {ENABLING[self.kind]}")
                self.condstore = self.kind != "rev2"
        except Lost as lost:
            self.drop()
            if not self.world.restarting:
                raise Difference(f"cannot connect: {lost}") from None
            raise

    def drop(self) -> None:
        """Close the connection as it is."""
        self.remember()
        self.may_break = never
        if self.connection is not None:
            self.connection.close()
        self.connection, self.view, self.idling = None, None, None

    def remember(self) -> None:
        """Keep what RFC 7162 §3.2.5 lets a client ask about later: all up to a modseq, nothing half known."""
        view = self.view
        if view is None or not self.qresync or view.mailbox.uidvalidity is None or None in view.uids:
            return
        flags = {uid: told.flags for uid, told in view.told.items() if told.flags is not None and uid in view.uids}
        if view.safe_modseq and len(flags) == len(view.uids):
            self.caches[view.mailbox.uidvalidity] = Cache(view.safe_modseq, flags)

    # ---- one command

    def tag(self) -> str:
        self._number += 1
        return f"{self.name}.{self._number}"

    def send(self, text: str, op: Op) -> str:
        """Send a command that is one line; returns its tag. What was said without being asked is judged first."""
        self.hear_silence()
        tag = self.tag()
        self.send_octets(f"{tag} {text}\r\n".encode("ascii"), op)
        return tag

    def send_octets(self, octets: bytes, op: Op) -> None:
        self.transcript.append((op.start, octets[:300].decode("ascii", "replace").replace("\r\n", "\\r\\n")))
        assert self.connection is not None
        try:
            self.connection.send(octets)
        except Lost:
            self.unsure(op)
            raise

    def hear_silence(self) -> None:
        """What is here although nothing is being asked. RFC 9051 §7.5.1: never an EXPUNGE."""
        assert self.connection is not None
        while (response := self.connection.waiting()) is not None:
            now = self.world.clock.tick()
            self.transcript.append((now, response))
            if response.name in ("EXPUNGE", "VANISHED"):
                raise Difference(f"{response.name} while no command is in progress")
            if response.name != "BYE" and self.view is not None:
                self.view.take(response, Op(0, now), now, numbers_in_use=True)

    async def run(self, name: str, text: str, op: Op | None = None) -> Answer:
        """Ask one command and judge what comes; `op` is begun already where its effects are. Raises Lost."""
        op = op or self.world.begin()
        return await self.finish(name, self.send(text, op), op)

    async def must(self, name: str, text: str, op: Op | None = None) -> Answer:
        """As `run`; anything but OK is a difference."""
        answer = await self.run(name, text, op)
        if not answer.ok:
            raise Difference(f"{name} was answered {_shown(answer.tagged)}")
        self.settle(name, answer)
        return answer

    async def finish(self, name: str, tag: str, op: Op) -> Answer:
        """Judge responses up to the tagged one; that is when the operation's end is. Raises Lost."""
        untagged: list[Response] = []
        fetched: dict[int, dict[str, Value]] = {}
        while True:
            try:
                response = await self.next_response()
            except Lost:
                self.unsure(op)
                raise
            if response.tag == tag:
                self.world.end(op)
                return Answer(op, response, untagged, fetched)
            if response.tag != "*":
                raise Difference(f"while {tag} is in progress: {_shown(response)}")
            untagged.append(response)
            if name not in ("SELECT", "EXAMINE"):
                self.hear(response, op, name, fetched)

    def hear(self, response: Response, op: Op, name: str, fetched: dict[int, dict[str, Value]] | None = None) -> None:
        """Judge one untagged response to a command."""
        if response.name == "BYE" and name != "LOGOUT" and not self.world.restarting:
            raise Difference(f"the server said {_shown(response)}")
        if self.view is None:
            if self.selecting and response.name in ("EXISTS", "EXPUNGE", "VANISHED", "FETCH"):
                raise Difference(f"{response.name} and no mailbox is selected")
            return
        self.view.condstore = self.condstore
        now = self.world.clock.now
        self.view.take(response, op, now, numbers_in_use=name in _NUMBERS_IN_USE)
        if response.name == "FETCH" and fetched is not None:
            items = pairs(response.values[0])
            uid = number(items["UID"]) if "UID" in items else self.view.uids[response.number - 1]
            if uid is not None:
                fetched.setdefault(uid, {}).update(items)

    def settle(self, name: str, answer: Answer) -> None:
        """Judge, at a command's end, what was not said. Effects of the command must be in the model."""
        view = self.view
        if view is None or name in _TELLS_NOTHING or answer.tagged.name == "BAD":
            return
        tells = name not in _TELLS_NO_EXPUNGE
        view.settle(answer.op.start, answer.op.end, expunges_told=tells)
        if tells:
            seen = [told.modseq for told in view.told.values() if told.modseq is not None]
            view.safe_modseq = max([view.safe_modseq, *seen])

    async def next_response(self) -> Response:
        """The next response of whatever kind. Raises Lost."""
        assert self.connection is not None
        try:
            response = await self.connection.response(PATIENCE)
        except NotImap as error:
            raise Difference(str(error)) from error
        if response is None:
            raise Difference(f"no answer for {PATIENCE} s")
        now = self.world.clock.tick()
        self.transcript.append((now, response))
        return response

    def unsure(self, op: Op) -> None:
        """The connection went before the answer. Raises Difference where it had no reason to."""
        if not self.world.restarting and not self.may_break():
            raise Difference("the server closed the connection")
        self.leave_open(op)

    def leave_open(self, op: Op) -> None:
        """Nobody will know what became of this operation, and when; so the client does not know its flags either."""
        op.sure = False
        self.view = None
        self.world.underway.discard(op.start)
        self.world.hung_up.append(op)

    def conversation(self) -> str:
        """The last of what was said, a line each, with its time."""
        lines = [
            f"{when} C: {said}" if isinstance(said, str) else f"{when} S: {_shown(said)}"
            for when, said in self.transcript
        ]
        return "\n    ".join(lines)

    # ---- choosing

    def some(self, most: int = 4) -> list[int]:
        """UIDs of some messages that the client knows, ascending."""
        assert self.view is not None
        known = [uid for uid in self.view.uids if uid is not None]
        return sorted(self.chance.sample(known, min(len(known), self.chance.randint(1, most))))

    def likely(self, probability: float) -> bool:
        return self.chance.random() < probability


def never() -> bool:
    return False


def _shown(response: Response) -> str:
    number = f"{response.number} " if response.number else ""
    code = f" {response.code}" if response.code else ""
    return (
        f"{response.tag} {number}{response.name}{code} {response.values or response.text.decode('ascii', 'replace')}"[
            :400
        ]
    )
