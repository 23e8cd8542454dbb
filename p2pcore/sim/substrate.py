"""A KademliaSubstrate on the virtual network: the same joining, table, lookup and upkeep, contacts kept in memory."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from p2pcore.dht.contact import Contact
from p2pcore.dht.kademlia import KademliaSubstrate
from p2pcore.dht.protocol import DhtProtocol
from p2pcore.dht.upkeep import Upkeep
from p2pcore.endpoint import Endpoint
from p2pcore.sim.members import BelievedTrust, Member
from p2pcore.sim.network import Network
from p2pcore.sim.protocol import ObjectProtocol, ObjectTransport
from p2pcore.sim.virtual_time import virtual_clock

_NOWHERE = Path("/nonexistent/contacts")  # never read nor written


class _Unsaving(Upkeep):
    """Saves nothing: whoever starts a simulated node again says what it knew."""

    async def keep_saved(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def save(self) -> None:
        return


class SimulatedSubstrate(KademliaSubstrate):
    """The place of `member` in the DHT, a node's or a client's."""

    def __init__(self, network: Network, member: Member, trust: BelievedTrust) -> None:
        node = member.certificate.role == "node"
        self._network = network
        self._endpoint = member.contact.endpoint
        super().__init__(
            member.signer,
            trust,
            virtual_clock,
            listen=self._endpoint if node else None,
            node=node,
            contacts_file=_NOWHERE,
            open_transport=self._open,
        )
        self._upkeep = _Unsaving(self._peers, self._search, _NOWHERE)

    async def join(self, known: Sequence[Contact]) -> None:
        """Start, and return when the first attempt to reach one of `known` has ended."""
        await self.start([(contact.host, contact.port, contact.node_id) for contact in known])
        await self.joined()

    def table_size(self) -> int:
        """Return how many verified contacts the routing table holds."""
        return len(self._peers.table)

    def _make_protocol(self) -> DhtProtocol:
        protocol = ObjectProtocol(
            self._network, self._endpoint, self._signer.certificate, self._peers, answering=self._node
        )
        self._protocol = cast(DhtProtocol, protocol)
        return self._protocol

    async def _open(self, make: object, _listen: Endpoint | None) -> asyncio.DatagramTransport:
        assert callable(make)
        make()
        return ObjectTransport(self._endpoint)
