"""Repair: a node compares what it holds with the other closest nodes and passes on what they lack (DESIGN §6).

One round walks over everything held, kind by kind, tombstones and acknowledgements first; one that a change of contacts
starts, over what this concerns (changes.py). A lookup per neighbourhood (neighbourhoods.py) says who should hold an
item; per peer the identities are offered. What a peer answers to be over is ended here too, once it has proved that
(settlement.py): a node that was down while mail was read has none of it after its first round. What peers miss is sent
only then: the statements as they were signed, with their bodies and, where the peer asks, their signers' certificates.
A round that is cut short loses nothing: what it was about counts as changed still, and everything sent twice changes
nothing. The same goes for peers that did not answer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, Unreachable
from p2pcore.node import offers
from p2pcore.node.changes import EVERY_KEY, Change, Changes
from p2pcore.node.neighbourhoods import Neighbourhoods
from p2pcore.node.offers import Held, Kind, LargeObject
from p2pcore.node.service import Service
from p2pcore.node.settlement import Settlement
from p2pcore.records import Offer, OfferReply, Operation, Replication, Result, Store, decode

_WALK: Final = 500  # items read from the database at a time
_OFFERED: Final = 2_000  # identities in one offer
_SENT_OPERATIONS: Final = 200  # in one batch
_SENT_OCTETS: Final = 2 << 20
_READ_AT_ONCE: Final = 20  # items with their bodies in memory

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Round:
    """One walk: what is to be offered to whom, who did not answer, what was passed on, and what ended here.

    `compared`: items that others should hold too; `lookups`: what finding these out took.
    """

    near: Neighbourhoods
    offered: dict[Contact, list[bytes]] = field(default_factory=dict)
    silent: set[Contact] = field(default_factory=set)
    compared: int = 0
    passed_on: int = 0
    refused: int = 0
    ended: int = 0

    @property
    def lookups(self) -> int:
        return self.near.lookups


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
        self._settlement = Settlement(service, peers, certificate)
        self._interval = interval / params.SECOND
        self._settling = settling / params.SECOND
        self._changes = Changes(substrate, certificate.node_id)
        self._history: tuple[Replication, ...] = ()  # as the last round had it
        self._one = asyncio.Lock()  # round at a time

    async def run(self) -> None:
        """Go round everything at once and at the interval, and in between round what changes of contacts concern."""
        loop = asyncio.get_running_loop()
        self._changes.take()  # whatever it was: all is compared now
        change: Change | None = None
        due = loop.time() + self._interval
        while True:
            try:
                self._log(await self.round(change))
            except Exception:  # noqa: BLE001 - logged; the next change has it begin anew
                _log.exception("repair was cut short")
                self._changes.again(change.contacts if change is not None else None)
            if change is None:
                due = loop.time() + self._interval
            try:
                async with asyncio.timeout_at(due):
                    await self._changes.wait()
                    await asyncio.sleep(self._settling)  # one change seldom comes alone; one round for all of them
            except TimeoutError:
                self._changes.take()
                change = None
            else:
                change = self._changes.take()

    async def round(self, change: Change | None = None) -> Round:
        """Compare everything held once, or what `change` concerns, after the round that is under way.

        Everything as well when k is no longer what it was in the last round.

        Raises nothing that a peer did; those are asked again in the next round.
        """
        async with self._one:
            current = Round(Neighbourhoods(self._substrate))
            history = self._replication()
            if history != self._history:  # other nodes should hold what is here, whoever came or went
                self._history, change = history, None
            if history:
                for kind in offers.KINDS:
                    await self._walk(current, kind, _replicas(kind, history), change)
            self._changes.again(current.silent)
            return current

    def _log(self, done: Round) -> None:
        if done.passed_on or done.refused or done.ended:
            _log.info(
                "repair passed on %d items, %d were refused, %d ended here", done.passed_on, done.refused, done.ended
            )

    async def _walk(self, current: Round, kind: Kind, k: int, change: Change | None) -> None:
        for span in [EVERY_KEY] if change is None else change.spans(k):
            after: Held | None = None
            while items := await self._held(kind, span, after):
                after = items[-1]
                await self._place(current, _concerned(items, k, change), k)
                await self._offer_all(
                    current, kind, (peer for peer, listed in current.offered.items() if len(listed) >= _OFFERED)
                )
        await self._offer_all(current, kind, current.offered)

    async def _held(self, kind: Kind, span: tuple[bytes, bytes], after: Held | None) -> list[Held]:
        now = self._service.clock()
        return await self._service.storage.read(lambda db: offers.held(db, kind, now, span, after, _WALK))

    async def _contents(self, kind: Kind, identities: Sequence[bytes]) -> list[Operation | LargeObject]:
        return await self._service.storage.read(lambda db: list(offers.operations(db, kind, identities)))

    async def _place(self, current: Round, items: Sequence[Held], k: int) -> None:
        """Note for every item which other nodes should hold it."""
        found = await current.near.closest({item.key for item in items}, k)
        current.compared += len(items)
        for item in items:
            for contact in found[item.key]:
                if contact.node_id != self._node_id and contact not in current.silent:
                    current.offered.setdefault(contact, []).append(item.identity)

    async def _offer_all(self, current: Round, kind: Kind, contacts: Iterable[Contact]) -> None:
        """Offer to all; send what they miss when all have answered, since one may have shown that it is over."""
        offered = {contact: current.offered.pop(contact) for contact in list(contacts)}
        missing: dict[Contact, list[bytes]] = {}

        async def offer(contact: Contact) -> None:
            missing[contact] = await self._offer(current, kind, contact, offered[contact])

        await asyncio.gather(*(self._with(current, contact, offer(contact)) for contact in offered))
        await asyncio.gather(
            *(
                self._with(current, contact, self._pass_on(current, kind, contact, identities))
                for contact, identities in missing.items()
            )
        )

    async def _with(self, current: Round, contact: Contact, work: Awaitable[None]) -> None:
        """Wait for `work` with one peer, whose failure is the end of it for this round."""
        try:
            await work
        except Failure as failure:
            current.silent.add(contact)
            self._substrate.report(contact, alive=not isinstance(failure, Unreachable))
            _log.info("repair with %s: %s: %s", contact.endpoint, type(failure).__name__, failure)
        else:
            self._substrate.report(contact, alive=True)

    async def _offer(self, current: Round, kind: Kind, contact: Contact, identities: Sequence[bytes]) -> list[bytes]:
        """Return what the peer lacks, once what it can prove to be over is ended here."""
        missing: list[bytes] = []
        for start in range(0, len(identities), _OFFERED):
            offered = identities[start : start + _OFFERED]
            [result] = await self._peers.call(contact, [Offer(kind, tuple(offered))])
            reply = decode(OfferReply, value_of(result))
            missing += _at(reply.missing, offered)
            if kind in ("object", "entry"):
                current.ended += await self._settlement.learn(contact, kind, _at(reply.settled, offered))
        return missing

    async def _pass_on(self, current: Round, kind: Kind, contact: Contact, missing: Sequence[bytes]) -> None:
        """Send what a peer lacks, in batches that stay small."""
        batch: list[Operation] = []
        octets = 0
        for start in range(0, len(missing), _READ_AT_ONCE):
            for operation in await self._contents(kind, missing[start : start + _READ_AT_ONCE]):
                if isinstance(operation, LargeObject):
                    await self._put(current, contact, operation)
                    continue
                batch.append(operation)
                octets += len(operation.body) if isinstance(operation, Store) else 4_096
                if len(batch) >= _SENT_OPERATIONS or octets >= _SENT_OCTETS:
                    _count(current, await self._peers.call(contact, batch))
                    batch, octets = [], 0
        if batch:
            _count(current, await self._peers.call(contact, batch))

    async def _put(self, current: Round, contact: Contact, operation: LargeObject) -> None:
        path = self._service.bodies.path(operation.file)
        try:
            await self._peers.put_body(contact, operation.signed, path)
        except FileNotFoundError:
            return  # deleted since it was listed
        except Unreachable:
            raise
        except Failure as failure:
            _log.info("%s refused a body: %s: %s", contact.endpoint, type(failure).__name__, failure)
            current.refused += 1
        else:
            current.passed_on += 1


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


def _at(indices: Sequence[int], identities: Sequence[bytes]) -> list[bytes]:
    """Return the identities at these places; a peer may name a place twice, or one that there is not."""
    return [identities[index] for index in dict.fromkeys(indices) if index < len(identities)]


def _count(current: Round, results: Sequence[Result]) -> None:
    for result in results:
        if result.status == 200:
            current.passed_on += 1
        else:
            current.refused += 1
            _log.info("a peer refused a repaired item: %d %s", result.status, result.reason)
