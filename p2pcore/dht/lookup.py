"""Kademlia's iterative lookup (§2.3 there) without sockets or clocks: the closest that answer win, whoever names them.

α requests at a time lead towards the target; once the α closest known have answered, the rest of the window is asked
at once. A contact that has not answered within the caller's patience gives its slot up and no longer counts, so what
lies behind it is asked meanwhile: nothing waits for a straggler but the very end. The lookup ends when the `width`
closest contacts that may still answer have answered. What `ask` raises decides: TimeoutError, it is asked once more
beside the others; any Failure, it is out. With patience the second question goes out when that is at its end, and the
contact is out once the first has timed out and the second has had the same patience.

An answer holds only the closest contacts its sender knows, the dead ones included. Where these leave no room for
`width` live ones, the lookup goes on outwards from where the answers end (coverage.py), until they tell of everybody up
to the last of the `width` closest that have answered.

Answers may be lies. What one answer names counts for nothing until it has answered itself; wrong contacts that exist
are farther than those that others name, so they lose by distance. Invented ones, closer than anything real, are what
could crowd out the rest: a namer whose contacts stay silent out of all proportion is believed last. What only such
namers name has no place in the window, and is asked at the end, side by side, `width` of it at most.
"""

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable, Iterable, Sequence
from operator import attrgetter

from p2pcore import params
from p2pcore.dht.candidates import Entry, Namer, State
from p2pcore.dht.contact import Contact
from p2pcore.dht.coverage import Coverage
from p2pcore.errors import Failure

Ask = Callable[[Contact, bytes], Awaitable[Iterable[Contact]]]
Patience = Callable[[Contact], float]

_away = attrgetter("away")


class Lookup:
    """One lookup of `target`, from `seeds` on; `own_id` is never asked.

    `patience` tells after how many seconds a contact's slot is given to another; None: only when `ask` has ended.
    """

    def __init__(
        self,
        target: bytes,
        width: int,
        seeds: Iterable[Contact],
        ask: Ask,
        own_id: bytes,
        alpha: int = params.ALPHA,
        patience: Patience | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = int.from_bytes(target, "big")
        self._octets = target
        self._width = width
        self._breadth = max(width, params.LOOKUP_BREADTH)  # so many answer before it ends, however few are wanted
        self._ask = ask
        self._own_id = own_id
        self._alpha = alpha
        self._patience = patience
        self._entries: dict[Contact, Entry] = {}
        self._nearest: list[Entry] = []  # the same, nearest first
        self._answered: set[bytes] = set()  # node IDs
        self._namers: dict[bytes, Namer] = {}  # by node ID
        self._requests: dict[asyncio.Future[Iterable[Contact]], Entry] = {}
        self._beside: dict[asyncio.Future[Iterable[Contact]], int] = {}  # those for IDs this far beside the target
        self._ended: list[asyncio.Future[Iterable[Contact]]] = []
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        self._news = asyncio.Event()
        self._room = params.BUCKET_SIZE  # contacts in the shortest answer
        self._coverage = Coverage(self._target)
        self._doubted = 0  # contacts asked although only the doubtful name them
        self.asked = 0  # requests so far
        self._hear_of(seeds, None)

    async def run(self) -> None:
        """Return when the lookup has ended; cancelled, it keeps what has answered so far."""
        try:
            while self._advance():
                await self._news.wait()
                self._news.clear()
                ended, self._ended = self._ended, []
                for request in ended:
                    self._finish(request)
        finally:
            for timer in self._timers.values():
                timer.cancel()
            for request in self._requests:
                request.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)
            self._requests.clear()

    def closest(self, count: int) -> tuple[Contact, ...]:
        """Return the `count` closest nodes that have answered, nearest first."""
        answered: dict[bytes, Contact] = {}
        for entry in self._nearest:
            if len(answered) == count:
                break
            if entry.state is State.ANSWERED:
                answered.setdefault(entry.contact.node_id, entry.contact)
        return tuple(answered.values())

    # --- whom to ask ---

    def _advance(self) -> bool:
        """Ask whoever is to be asked now; return whether there is anything to wait for."""
        window = self._window()
        self._fill_slots(window)
        states = {entry.state for entry in window}
        if not states & {State.NEW, State.ASKED} and not self._beside:
            self._ask_beyond()
            self._ask_doubted()
        waited_for = {entry for entry in self._window() if entry.state is not State.ANSWERED}
        return bool(self._beside) or any(entry in waited_for for entry in self._requests.values())

    def _window(self) -> list[Entry]:
        """Return the closest contacts that may still answer or have; late ones do not count towards the breadth."""
        window: list[Entry] = []
        counted: set[bytes] = set()
        for entry in self._nearest:
            if len(counted) == self._breadth:
                break
            if entry.state is State.OUT or (entry.state is State.NEW and not self._eligible(entry)):
                continue
            window.append(entry)
            if entry.state is not State.LATE:
                counted.add(entry.contact.node_id)
        return window

    def _eligible(self, entry: Entry) -> bool:
        if entry.contact.node_id in self._answered:  # at another endpoint
            return False
        return entry.seed or not all(namer.doubtful for namer in entry.namers)

    def _fill_slots(self, window: list[Entry]) -> None:
        front = [entry for entry in window if entry.state is not State.LATE][: self._alpha]
        arrived = len(front) == self._alpha and all(entry.state is State.ANSWERED for entry in front)
        slots = self._breadth if arrived else self._alpha
        busy = sum(entry.state is State.ASKED for entry in window)  # what lies beyond it holds nothing up
        for entry in window:
            if busy >= slots:
                return
            if entry.state is State.NEW:
                self._start(entry)
                busy += 1

    def _start(self, entry: Entry) -> None:
        entry.state = State.ASKED
        self._ask_for_it(entry)
        if self._patience is not None:
            patience = self._patience(entry.contact)
            entry.decided = self._loop.time() + 2 * patience
            self._timers[entry] = self._loop.call_later(patience, self._lose_patience, entry)

    def _ask_for_it(self, entry: Entry) -> None:
        entry.asked += 1
        entry.pending += 1
        self._send(entry, self._octets)

    def _send(self, entry: Entry, target: bytes) -> "asyncio.Future[Iterable[Contact]]":
        self.asked += 1
        request = asyncio.ensure_future(self._ask(entry.contact, target))
        self._requests[request] = entry
        request.add_done_callback(self._note_end)
        return request

    def _ask_beyond(self) -> None:
        """Ask for what lies behind the end of the answers, if they had too little room."""
        live = self.closest(len(self._answered))
        silent = sum(entry.state in (State.LATE, State.OUT) for entry in self._nearest)
        if not live or not silent or silent + self._breadth <= self._room:
            return
        question = self._coverage.next_question(live, self._limit(live))
        if question is None:
            return
        start, asked = question
        beside = (self._target ^ start).to_bytes(params.KEY_SIZE, "big")
        for contact in asked:
            self._beside[self._send(self._entries[contact], beside)] = start

    def _limit(self, live: Sequence[Contact]) -> int:
        """Return the distance of the last of the closest that are wanted; of nobody's, while these are too few."""
        full = len(live) >= self._breadth
        return self._entries[live[self._breadth - 1]].away if full else 1 << (8 * params.KEY_SIZE)

    def _ask_doubted(self) -> None:
        limit = self._limit(self.closest(self._breadth))
        for entry in self._nearest:
            if self._doubted == self._breadth or entry.away >= limit:
                return
            if entry.state is State.NEW and entry.contact.node_id not in self._answered:
                self._doubted += 1
                self._start(entry)

    # --- what comes of it ---

    def _note_end(self, request: "asyncio.Future[Iterable[Contact]]") -> None:
        self._ended.append(request)
        self._news.set()

    def _lose_patience(self, entry: Entry) -> None:
        del self._timers[entry]
        entry.state = State.LATE
        self._ask_for_it(entry)
        self._news.set()

    def _finish(self, request: "asyncio.Future[Iterable[Contact]]") -> None:
        entry = self._requests.pop(request)
        start = self._beside.pop(request, 0)
        beside = start > 0
        entry.pending -= not beside
        try:
            heard = tuple(request.result())
        except (TimeoutError, Failure) as failure:
            if not beside and entry.state is not State.ANSWERED:
                self._fail(entry, once_more=isinstance(failure, TimeoutError))
            return
        if not beside:
            self._stop_timer(entry)
            entry.state = State.ANSWERED
            self._answered.add(entry.contact.node_id)
            self._room = min(self._room, len(heard))
        self._coverage.note(start, entry.contact, heard)
        namer = self._namers.setdefault(entry.contact.node_id, Namer())
        self._hear_of(heard, namer)

    def _fail(self, entry: Entry, *, once_more: bool) -> None:
        self._stop_timer(entry)
        if not once_more:
            entry.state = State.OUT
        elif entry.asked == 1:
            entry.state = State.LATE
            self._ask_for_it(entry)
        elif not entry.pending or self._loop.time() >= entry.decided:
            entry.state = State.OUT
        else:
            self._timers[entry] = self._loop.call_at(entry.decided, self._give_up, entry)

    def _give_up(self, entry: Entry) -> None:
        del self._timers[entry]
        entry.state = State.OUT
        self._news.set()

    def _stop_timer(self, entry: Entry) -> None:
        timer = self._timers.pop(entry, None)
        if timer is not None:
            timer.cancel()

    def _hear_of(self, contacts: Iterable[Contact], namer: Namer | None) -> None:
        for contact in contacts:
            entry = self._entries.get(contact)
            if entry is None:
                if contact.node_id == self._own_id:
                    continue
                away = int.from_bytes(contact.node_id, "big") ^ self._target
                entry = self._entries[contact] = Entry(away, contact, namer is None)
                insort(self._nearest, entry, key=_away)
            if namer is not None and entry not in namer.named:
                namer.named.add(entry)
                entry.namers.append(namer)
