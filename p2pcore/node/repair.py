"""Repair: a node compares what it holds with the other closest nodes and passes on what they lack (docs/repair.md).

A round over everything, at the start and every hour, walks kind by kind, tombstones and acknowledgements first. In
between rounds are smaller:

    because                           over
    contacts have come or gone        what this concerns (changes.py)
    a contact has been started again  the same: it may have missed something while it was down, or have lost its disk
    bodies or entries were stored     these, a minute later: a copy that their sender did not manage to write

A node that has been started tells the nearest ones (Greet), since they need not have noticed that it was away.

A round that is cut short loses nothing: what it was about counts as changed still, and everything sent twice changes
nothing. The same goes for peers that did not answer.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.substrate import Substrate
from p2pcore.node import offers
from p2pcore.node.changes import EVERY_KEY, Change, Changes
from p2pcore.node.comparison import Comparison, Round
from p2pcore.node.neighbourhoods import Neighbourhoods
from p2pcore.node.offers import Held, Kind, Moment, Place, Row, Stored
from p2pcore.node.service import Service
from p2pcore.node.settings import RepairCounts, Scope
from p2pcore.records import Greet, Replication

STORED: Final = params.MINUTE  # until what was stored is compared: by then its sender has written it, or given up
ARRIVAL: Final = 2 * params.MINUTE  # from the start on: whom a node meets later has met it as well, and compares
_WALK: Final = 500  # items read from the database at a time

_log = logging.getLogger(__name__)


class Repair:
    """Owned by a node; `run` is its task."""

    def __init__(
        self,
        service: Service,
        substrate: Substrate,
        peers: PeerClient,
        replication: Callable[[], tuple[Replication, ...]],
        certificate: Certificate,
        *,
        interval: int,
        settling: int,
    ) -> None:
        """`certificate` is this node's; `interval`: ms between rounds over everything; `settling`: ms that a change
        of contacts waits for the next ones.
        """
        self._service = service
        self._substrate = substrate
        self._peers = peers
        self._replication = replication
        self._node_id = certificate.node_id
        self._comparison = Comparison(service, substrate, peers, certificate)
        self._interval = interval / params.SECOND
        self._settling = settling / params.SECOND
        self._changes = Changes(substrate, certificate.node_id)
        self._history: tuple[Replication, ...] = ()  # as the last round had it
        self._one = asyncio.Lock()  # round at a time
        self._greeted: set[Contact] = set()
        self._counts = RepairCounts()
        service.greeted = self._changes.returned

    async def run(self) -> None:
        """Go round everything at once and at the interval, and in between round what has changed or was stored."""
        stored = self._moment()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_stored(stored), name="node-repair-stored")
            await self._follow_changes()

    async def _follow_changes(self) -> None:
        loop = asyncio.get_running_loop()
        self._changes.take()  # whatever it was: all is compared now
        change: Change | None = None
        began = loop.time()
        due = began + self._interval
        while True:
            await self._greet(began)
            try:
                _say(await self.round(change))
            except Exception:  # noqa: BLE001 - logged; the next change has it begin anew
                _log.exception("repair was cut short")
                self._changes.again(change.contacts if change is not None else None)
            if change is None:
                due = loop.time() + self._interval
            try:
                async with asyncio.timeout_at(due):
                    await self._changes.wait()
                    await self._greet(began)  # now: whom it tells settles at the same time
                    await asyncio.sleep(self._settling)  # one change seldom comes alone; one round for all of them
            except TimeoutError:
                self._changes.take()
                change = None
            else:
                change = self._changes.take()

    async def _follow_stored(self, compared: Moment) -> None:
        while True:
            await self._service.stored.wait()
            self._service.stored.clear()
            moment = self._moment()
            await asyncio.sleep(STORED / params.SECOND)
            try:
                _say(await self.round(Stored(compared, moment)))
            except Exception:  # noqa: BLE001 - logged; the round after what is stored next begins where this one did
                _log.exception("repair of what was stored lately was cut short")
            else:
                compared = moment

    async def round(self, scope: Change | Stored | None = None) -> Round:
        """Compare everything held once, or what `scope` says, after the round that is under way.

        Everything as well when k is no longer what it was in the last round.

        Raises nothing that a peer did; those are asked again in the next round.
        """
        async with self._one:
            current = Round(Neighbourhoods(self._substrate))
            history = self._replication()
            if history != self._history:  # other nodes should hold what is here, whoever came or went
                self._history, scope = history, None
            if history:
                for kind in offers.KINDS:
                    await self._walk(current, kind, _replicas(kind, history), scope)
            self._changes.again(current.silent)
            if current.compared:
                self._count(current, scope)
            return current

    def counts(self) -> RepairCounts:
        """Return what has been done so far."""
        traffic = self._peers.traffic
        return replace(
            self._counts,
            requests=traffic.requests,
            octets_sent=traffic.sent,
            octets_received=traffic.received,
        )

    def _count(self, done: Round, scope: Change | Stored | None) -> None:
        before = self._counts
        self._counts = RepairCounts(
            rounds=before.rounds + 1,
            passed_on=before.passed_on + done.passed_on,
            refused=before.refused + done.refused,
            ended=before.ended + done.ended,
            last=done.counts(self._service.clock(), _described(scope)),
        )

    async def _walk(self, current: Round, kind: Kind, k: int, scope: Change | Stored | None) -> None:
        if isinstance(scope, Stored):
            await self._walk_stored(current, kind, k, scope)
        else:
            for span in [EVERY_KEY] if scope is None else scope.spans(k):
                items, after = await self._held(kind, span, None)
                while items:
                    await self._comparison.place(current, kind, _concerned(items, k, scope), k)
                    items, after = await self._held(kind, span, after)
        await self._comparison.finish(current, kind)

    async def _walk_stored(self, current: Round, kind: Kind, k: int, scope: Stored) -> None:
        if kind not in ("object", "entry"):
            return  # whoever deletes or acknowledges goes on until all have confirmed it
        place, last = scope.window(kind)
        items: Sequence[Held] = ()
        while True:
            items, place = await self._stored(kind, place, last)
            if not items:
                return
            await self._comparison.place(current, kind, items, k)

    async def _held(self, kind: Kind, span: tuple[bytes, bytes], after: Row | None) -> tuple[list[Held], Row | None]:
        now = self._service.clock()
        return await self._service.storage.read(lambda db: offers.held(db, kind, now, span, after, _WALK))

    async def _stored(self, kind: Kind, after: Place, last: int) -> tuple[list[Held], Place]:
        now = self._service.clock()
        return await self._service.storage.read(lambda db: offers.stored(db, kind, now, after, last, _WALK))

    async def _greet(self, began: float) -> None:
        """Tell the nearest known nodes that we are here, those that have not heard it in this life, `began` then."""
        if asyncio.get_running_loop().time() > began + ARRIVAL / params.SECOND:
            return
        others = [contact for contact in self._substrate.known() if contact.node_id != self._node_id]
        others.sort(key=lambda contact: distance(contact.node_id, self._node_id))
        untold = [contact for contact in others[: params.BUCKET_SIZE] if contact not in self._greeted]
        current = Round(Neighbourhoods(self._substrate))
        await asyncio.gather(
            *(self._comparison.with_peer(current, contact, self._peers.call(contact, [Greet()])) for contact in untold)
        )
        self._greeted.update(set(untold) - current.silent)

    def _moment(self) -> Moment:
        return Moment(self._service.clock(), self._service.storage.sequence)


def _say(done: Round) -> None:
    if done.passed_on or done.refused or done.ended:
        _log.info("repair passed on %d items, %d were refused, %d ended here", done.passed_on, done.refused, done.ended)


def _described(scope: Change | Stored | None) -> Scope:
    match scope:
        case None:
            return "everything"
        case Change():
            return "a change"
        case Stored():
            return "stored lately"


def _replicas(kind: Kind, history: Sequence[Replication]) -> int:
    """Return how many nodes should hold an item: today's k, for what ends others the largest ever."""
    if kind == "version":
        return params.VERSIONED_REPLICAS
    if kind in ("acknowledge", "deletion"):
        return max(replication.k for replication in history)
    return max(history, key=lambda replication: replication.since).k


def _concerned(items: Sequence[Held], k: int, change: Change | None) -> Sequence[Held]:
    if change is None:
        return items
    concerned = {key for key in {item.key for item in items} if change.concerns(key, k)}
    return [item for item in items if item.key in concerned]
