"""What one round of repair does with items that are held here: offers them to who should hold them too.

A lookup per neighbourhood (neighbourhoods.py) says who that is; per peer the identities are offered. What a peer
answers to be over is ended here too, once it has proved that (settlement.py): a node that was down while mail was read
has none of it after its first round. What peers miss is sent only then: the statements as they were signed, with their
bodies and, where the peer asks, their signers' certificates. Everything sent twice changes nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import value_of
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, Unreachable
from p2pcore.node import offers
from p2pcore.node.neighbourhoods import Neighbourhoods
from p2pcore.node.offers import Held, Kind, LargeObject
from p2pcore.node.service import Service
from p2pcore.node.settings import RoundCounts, Scope
from p2pcore.node.settlement import Settlement
from p2pcore.records import Offer, OfferReply, Operation, Result, Store, decode

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

    def counts(self, time: int, over: Scope) -> RoundCounts:
        """Return what came of it; it was done at `time` (ms)."""
        return RoundCounts(time, over, self.compared, self.passed_on, self.refused, self.ended, silent=len(self.silent))


class Comparison:
    """Compares with other nodes; shared by all rounds of this node, whose certificate is `certificate`."""

    def __init__(self, service: Service, substrate: Substrate, peers: PeerClient, certificate: Certificate) -> None:
        self._service = service
        self._substrate = substrate
        self._peers = peers
        self._node_id = certificate.node_id
        self._settlement = Settlement(service, peers, certificate)

    async def place(self, current: Round, kind: Kind, items: Sequence[Held], k: int) -> None:
        """Note for every item which other nodes should hold it; offer to those for whom enough has come together."""
        found = await current.near.closest({item.key for item in items}, k)
        current.compared += len(items)
        for item in items:
            for contact in found[item.key]:
                if contact.node_id != self._node_id and contact not in current.silent:
                    current.offered.setdefault(contact, []).append(item.identity)
        await self._offer_all(
            current, kind, (peer for peer, listed in current.offered.items() if len(listed) >= _OFFERED)
        )

    async def finish(self, current: Round, kind: Kind) -> None:
        """Offer what is left of this kind."""
        await self._offer_all(current, kind, current.offered)

    async def with_peer(self, current: Round, contact: Contact, work: Awaitable[object]) -> None:
        """Wait for `work` with one peer, whose failure is the end of it for this round."""
        try:
            await work
        except Failure as failure:
            current.silent.add(contact)
            self._substrate.report(contact, alive=not isinstance(failure, Unreachable))
            _log.info("repair with %s: %s: %s", contact.endpoint, type(failure).__name__, failure)
        else:
            self._substrate.report(contact, alive=True)

    async def _offer_all(self, current: Round, kind: Kind, contacts: Iterable[Contact]) -> None:
        """Offer to all; send what they miss when all have answered, since one may have shown that it is over."""
        offered = {contact: current.offered.pop(contact) for contact in list(contacts)}
        missing: dict[Contact, list[bytes]] = {}

        async def offer(contact: Contact) -> None:
            missing[contact] = await self._offer(current, kind, contact, offered[contact])

        await asyncio.gather(*(self.with_peer(current, contact, offer(contact)) for contact in offered))
        await asyncio.gather(
            *(
                self.with_peer(current, contact, self._pass_on(current, kind, contact, identities))
                for contact, identities in missing.items()
            )
        )

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

    async def _contents(self, kind: Kind, identities: Sequence[bytes]) -> list[Operation | LargeObject]:
        return await self._service.storage.read(lambda db: list(offers.operations(db, kind, identities)))

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
