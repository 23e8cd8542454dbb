"""Finding the network: bootstrap nodes and saved contacts are asked until each has answered, with back-off.

Bootstrap nodes are the configured endpoints and those that the domain record lists. Every attempt asks all that is
unmet at once. The first answer is enough to be in the network; the others are asked on, rarely, and so are bootstrap
nodes that have died since: parts of a network that started apart, or were cut apart for however long, find each other.
With no contact left, saved and dead contacts are asked too and the back-off starts anew, so a full restart heals
whatever the order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from p2pcore import params
from p2pcore.dht.contact import Contact
from p2pcore.dht.hosts import Resolve
from p2pcore.dht.peers import Peers
from p2pcore.dht.protocol import OwnEndpoint
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure
from p2pcore.records import ContactInfo

_REPEATS = 2  # one datagram may be lost


@dataclass(frozen=True, slots=True)
class Origin:
    """Where to begin: an endpoint, a name or an IP address, and the node ID where it is known."""

    endpoint: Endpoint
    node_id: bytes | None


class Joining:
    """Keeps this process in the network; `populate` fills the routing table once somebody has answered."""

    def __init__(self, peers: Peers, resolve: Resolve, populate: Callable[[], Awaitable[None]]) -> None:
        self._peers = peers
        self._resolve = resolve
        self._populate = populate
        self._bootstrap: list[Origin] = []
        self._listed: list[Origin] = []  # in the domain record
        self._saved: list[Origin] = []
        self._met: dict[Origin, Contact | None] = {}  # None: this very process
        self._wake = asyncio.Event()
        self._finished = asyncio.Condition()
        self._attempts = 0
        self._under_way = False
        self._ended = peers.now() - params.DEAD_BACKOFF_FIRST

    def begin(self, bootstrap: Sequence[Origin], saved: Sequence[Contact]) -> None:
        """Set what is asked, before `run`."""
        self._bootstrap = list(bootstrap)
        self._saved = _origins(saved)

    def listed(self, nodes: Sequence[ContactInfo]) -> None:
        """Set which nodes the domain record lists; with no contact left they are asked now."""
        self._listed = _origins(nodes)
        if not self._peers.table:
            self.wake()

    def wake(self) -> None:
        """Have the next attempt made now."""
        self._wake.set()

    async def attempted(self) -> None:
        """Return when the first attempt has ended."""
        async with self._finished:
            await self._finished.wait_for(lambda: self._attempts > 0)

    def is_over(self) -> bool:
        """Return whether this process is in the network."""
        return bool(self._peers.table) and self._attempts > 0

    async def hurry(self) -> None:
        """Return at once in the network, else when an attempt has ended that was under way or is worth making now."""
        if self.is_over():
            return
        if not self._under_way and not self._wake.is_set():
            if not self._unmet() or self._peers.now() - self._ended < params.DEAD_BACKOFF_FIRST:
                return
            self.wake()
        before = self._attempts
        async with self._finished:
            await self._finished.wait_for(lambda: self._attempts > before)

    async def run(self) -> None:
        """Make attempts for ever; the owner cancels."""
        backoff = params.BOOTSTRAP_RETRY_FIRST
        connected = False
        while True:
            self._wake.clear()
            self._under_way = True
            met = await self._attempt()
            if met or (self._peers.table and not connected):
                await self._populate()
            connected = bool(self._peers.table)
            await self._end_attempt()
            if met:
                backoff = params.BOOTSTRAP_RETRY_FIRST
            if await self._rest(backoff):
                backoff = params.BOOTSTRAP_RETRY_FIRST
            else:
                most = params.BOOTSTRAP_RETRY_CONNECTED if connected else params.BOOTSTRAP_RETRY_LAST
                backoff = min(2 * backoff, most)

    async def _attempt(self) -> bool:
        outcomes = await asyncio.gather(*(self._ask(origin) for origin in self._unmet()))
        return any(outcomes)

    async def _ask(self, origin: Origin) -> bool:
        try:
            endpoints = await self._resolve(origin.endpoint)
        except Failure:
            return False
        for endpoint in endpoints:
            for _ in range(_REPEATS):
                try:
                    self._met[origin] = await self._peers.introduce(endpoint, origin.node_id)
                except TimeoutError:
                    continue
                except OwnEndpoint:
                    self._met[origin] = None
                    return False
                except Failure:
                    break
                return True
        return False

    def _unmet(self) -> list[Origin]:
        origins = [*self._bootstrap, *self._listed]
        if not self._peers.table:
            origins += [*self._saved, *_origins(self._peers.dead)]
        own_id = self._peers.own_id
        return [one for one in dict.fromkeys(origins) if one.node_id != own_id and not self._is_met(one)]

    def _is_met(self, origin: Origin) -> bool:
        if origin not in self._met:
            return False
        contact = self._met[origin]
        return contact is None or not self._peers.liveness.dead(contact)

    async def _end_attempt(self) -> None:
        self._under_way = False
        self._ended = self._peers.now()
        async with self._finished:
            self._attempts += 1
            self._finished.notify_all()

    async def _rest(self, delay: int) -> bool:
        """Wait for `wake` up to `delay` ms, and on until somebody is unmet, or met and dead; return whether it came."""
        while True:
            try:
                async with asyncio.timeout(delay / params.SECOND):
                    await self._wake.wait()
                    return True
            except TimeoutError:
                if self._unmet():
                    return False
            delay = params.BOOTSTRAP_RETRY_CONNECTED


def _origins(nodes: Iterable[Contact | ContactInfo]) -> list[Origin]:
    return [Origin(Endpoint(node.host, node.port), node.node_id) for node in nodes]
