"""Kademlia's iterative lookup (§2.3 there) without sockets or clocks: α requests at a time, the closest answerers win.

A contact that does not answer in time gives its slot up at once and is asked once more beside the others, so that one
lost datagram does not hide a live node; no round ever waits for its slowest member. The lookup ends when the `width`
closest contacts that may still answer have answered. What `ask` raises decides: TimeoutError, it may be asked again;
any Failure, it is out.

An answer holds only the closest contacts its sender knows, the dead ones included. Where these leave no room for
`width` live ones, the far edge of the neighbourhood is asked for by itself: the subtree of the farthest answerer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum, auto

from p2pcore import params
from p2pcore.dht.contact import Contact, distance
from p2pcore.errors import Failure

Ask = Callable[[Contact, bytes], Awaitable[Iterable[Contact]]]


class _State(Enum):
    NEW = auto()
    ASKED = auto()
    LATE = auto()  # asked again
    ANSWERED = auto()
    OUT = auto()


class Lookup:
    """One lookup of `target`, from `seeds` on; `own_id` is never asked."""

    def __init__(
        self, target: bytes, width: int, seeds: Iterable[Contact], ask: Ask, own_id: bytes, alpha: int = params.ALPHA
    ) -> None:
        self._target = target
        self._width = width
        self._ask = ask
        self._own_id = own_id
        self._alpha = alpha
        self._states: dict[Contact, _State] = {}
        self._requests: dict[asyncio.Future[Iterable[Contact]], Contact] = {}
        self._room = params.BUCKET_SIZE  # contacts in the shortest answer
        self._edges: set[int] = set()  # distances whose subtree has been asked for
        self.asked = 0  # requests so far
        self._hear_of(seeds)

    async def run(self) -> None:
        """Return when the lookup has ended; cancelled, it keeps what has answered so far."""
        try:
            await self._converge()
            while (edge := self._edge()) is not None:
                await self._ask_beside(edge)
                await self._converge()
        finally:
            for request in self._requests:
                request.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)
            self._requests.clear()

    def closest(self, count: int) -> tuple[Contact, ...]:
        """Return the `count` closest nodes that have answered, nearest first."""
        answered: dict[bytes, Contact] = {}
        for contact in self._nearest():
            if self._states[contact] is _State.ANSWERED:
                answered.setdefault(contact.node_id, contact)
        return tuple(answered.values())[:count]

    async def _converge(self) -> None:
        while True:
            window = self._window()
            self._fill_slots(window)
            if not any(contact in window for contact in self._requests.values()):
                return
            done, _ = await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED)
            for request in done:
                self._finish(request)

    def _edge(self) -> bytes | None:
        """Return an ID in the subtree to ask for, if answers had too little room and it has not been asked for."""
        live = self.closest(self._width)
        out = sum(state is _State.OUT for state in self._states.values())
        if not live or not out or out + self._width <= self._room:
            return None
        edge = distance(live[-1].node_id, self._target).bit_length() - 1
        while edge in self._edges and len(live) < self._width and edge < 8 * params.KEY_SIZE - 1:
            edge += 1  # too few live ones so far: farther out
        if edge in self._edges or edge < 0:
            return None
        self._edges.add(edge)
        return (int.from_bytes(self._target, "big") ^ (1 << edge)).to_bytes(params.KEY_SIZE, "big")

    async def _ask_beside(self, target: bytes) -> None:
        live = sorted(self.closest(self._width), key=lambda contact: distance(contact.node_id, target))
        asked = [asyncio.ensure_future(self._ask(contact, target)) for contact in live[: self._alpha]]
        self.asked += len(asked)
        try:
            await asyncio.wait(asked)
        finally:
            for request in asked:
                request.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        for request in asked:
            try:
                self._hear_of(request.result())
            except (TimeoutError, Failure):
                continue  # it has answered before and counts

    def _window(self) -> set[Contact]:
        # Late contacts do not count towards the width: what lies behind them is asked meanwhile
        window: set[Contact] = set()
        counted: set[bytes] = set()
        for contact in self._nearest():
            state = self._states[contact]
            if len(counted) == self._width:
                break
            if state is not _State.OUT:
                window.add(contact)
            if state not in (_State.OUT, _State.LATE):
                counted.add(contact.node_id)
        return window

    def _fill_slots(self, window: set[Contact]) -> None:
        busy = sum(self._states[contact] is _State.ASKED for contact in self._requests.values())
        for contact in self._nearest():
            if busy >= self._alpha:
                return
            if contact in window and self._states[contact] is _State.NEW:
                self._states[contact] = _State.ASKED
                self._start(contact)
                busy += 1

    def _start(self, contact: Contact) -> None:
        self.asked += 1
        self._requests[asyncio.ensure_future(self._ask(contact, self._target))] = contact

    def _finish(self, request: "asyncio.Future[Iterable[Contact]]") -> None:
        contact = self._requests.pop(request)
        try:
            heard = tuple(request.result())
        except TimeoutError:
            if self._states[contact] is _State.LATE:
                self._states[contact] = _State.OUT
            else:
                self._states[contact] = _State.LATE
                self._start(contact)
        except Failure:
            self._states[contact] = _State.OUT
        else:
            self._states[contact] = _State.ANSWERED
            self._room = min(self._room, len(heard))
            self._hear_of(heard)

    def _hear_of(self, contacts: Iterable[Contact]) -> None:
        for contact in contacts:
            if contact.node_id != self._own_id:
                self._states.setdefault(contact, _State.NEW)

    def _nearest(self) -> list[Contact]:
        return sorted(self._states, key=lambda contact: distance(contact.node_id, self._target))
