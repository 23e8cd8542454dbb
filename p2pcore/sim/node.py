"""A simulated node: the real `Service`, `Repair` and expiry on a store in memory, over any number of lives."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from p2pcore import params
from p2pcore.client.primitives import PeerClient
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.dht.contact import Contact
from p2pcore.endpoint import Endpoint
from p2pcore.node import expiry
from p2pcore.node.admission import Admission
from p2pcore.node.bodies import BodyFiles
from p2pcore.node.changes import Change
from p2pcore.node.comparison import Round
from p2pcore.node.node import SWEEP_INTERVAL
from p2pcore.node.nonces import Nonces
from p2pcore.node.offers import Stored
from p2pcore.node.repair import Repair
from p2pcore.node.service import Service
from p2pcore.node.settings import NodeSettings
from p2pcore.records import Replication
from p2pcore.sim.members import BelievedTrust, Member
from p2pcore.sim.network import Host, Network
from p2pcore.sim.peers import SimulatedPeers
from p2pcore.sim.storage import MemoryStorage
from p2pcore.sim.substrate import SimulatedSubstrate
from p2pcore.sim.virtual_time import virtual_clock

_QUOTA = 1 << 30
_NO_FILES = Path("/nonexistent")  # bodies in simulations are small enough to be rows
_SAVED = 200  # contacts that a node remembers while it is down


@dataclass(slots=True)
class Done:
    """What all rounds of repair of all lives came to; `rounds`: those that compared anything."""

    rounds: int = 0
    lookups: int = 0
    passed_on: int = 0
    refused: int = 0
    ended: int = 0


class CountingRepair(Repair):
    """Repair that adds up in `done` what its rounds do."""

    done: Done

    async def round(self, scope: Change | Stored | None = None) -> Round:
        current = await super().round(scope)
        self.done.rounds += current.compared > 0
        self.done.lookups += current.lookups
        self.done.passed_on += current.passed_on
        self.done.refused += current.refused
        self.done.ended += current.ended
        return current


class SimulatedNode:
    """One machine with its disk. `start` and `crash` begin and end a life; `done` is of all of them."""

    def __init__(
        self,
        network: Network,
        member: Member,
        trust: BelievedTrust,
        replication: Callable[[], tuple[Replication, ...]],
        *,
        interval: int,
        settling: int,
    ) -> None:
        """`interval`, `settling`: of repair, in ms."""
        self.member = member
        self.contact = member.contact
        self.storage = MemoryStorage(virtual_clock)
        self.storage.open()
        self.substrate: SimulatedSubstrate | None = None
        self.done = Done()
        self._network = network
        self._trust = trust
        self._replication = replication
        self._interval = interval
        self._settling = settling
        self._saved: tuple[Contact, ...] = ()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def up(self) -> bool:
        return self.substrate is not None

    async def start(self, bootstrap: Sequence[Contact]) -> None:
        """Begin a life, knowing `bootstrap` and whom it knew last."""
        self.substrate = SimulatedSubstrate(self._network, self.member, self._trust)
        service = self._service()
        repair = CountingRepair(
            service,
            self.substrate,
            cast(PeerClient, SimulatedPeers(self._network, self.member, "repair")),
            self._replication,
            self.member.certificate,
            interval=self._interval,
            settling=self._settling,
        )
        repair.done = self.done
        self._network.hosts[self.contact] = Host(self.member.certificate, service)
        await self.substrate.join([*bootstrap, *self._saved])
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(repair.run(), name="node-repair"),
            loop.create_task(_sweep_forever(service), name="node-expiry"),
        ]

    async def crash(self) -> None:
        """End a life as SIGKILL would; the store stays."""
        if self.substrate is None:
            return
        del self._network.hosts[self.contact]
        self._saved = self.substrate.known()[:_SAVED]
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.substrate.stop()
        self.substrate = None

    def _service(self) -> Service:
        settings = NodeSettings(_NO_FILES, Endpoint("", 0), _QUOTA)
        nonces = Nonces(self.storage, virtual_clock)
        nonces.load()
        verifier = StatementVerifier(self._trust, virtual_clock)
        admission = Admission(self._trust, verifier, self.storage)
        return Service(settings, self.storage, BodyFiles(_NO_FILES), admission, nonces, virtual_clock)


async def _sweep_forever(service: Service) -> None:
    while True:
        await expiry.sweep(service)
        await asyncio.sleep(SWEEP_INTERVAL / params.SECOND)
