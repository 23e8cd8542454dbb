"""Kademlia as the lookup service of §2.1: the substrate that nodes, gateways and agents are given.

A network with fewer than BUCKET_SIZE other nodes fits the table: a lookup then answers from it without any datagram
while it is fresh (asking everybody anew costs far more), and verifies what is not before returning it.
"""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact, distance
from p2pcore.dht.contacts import load_contacts
from p2pcore.dht.counters import Counters
from p2pcore.dht.hosts import OpenTransport, Resolve, open_udp, resolve, wildcard
from p2pcore.dht.joining import Joining, Origin
from p2pcore.dht.lookup import Lookup
from p2pcore.dht.peers import Peers
from p2pcore.dht.protocol import DhtProtocol
from p2pcore.dht.tasks import OwnedTasks
from p2pcore.dht.upkeep import Upkeep
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Malformed
from p2pcore.networks import numeric
from p2pcore.records import ContactInfo

_SETTLE_ROUNDS = 3  # verification names newcomers, meeting them names more

_log = structlog.get_logger(__name__)


class KademliaSubstrate:
    """One process's place in the DHT: a node (`node`, listening at `listen`) or a client, which answers nobody.

    `listen` None: a port of the system's choice, for clients. Constructed and used on one event loop.
    """

    def __init__(
        self,
        signer: Signer,
        trust: Trust,
        clock: Clock,
        *,
        listen: Endpoint | None,
        node: bool,
        contacts_file: Path,
        open_transport: OpenTransport = open_udp,
        resolve: Resolve = resolve,
        bucket_size: int = params.BUCKET_SIZE,
    ) -> None:
        """Raises ValueError where `node` is asked for without a node's certificate or a listener."""
        if node and (signer.certificate.role != "node" or listen is None):
            raise ValueError(f"a node needs a node's certificate and a listener, not {signer.certificate.role}'s")
        self._signer = signer
        self._trust = trust
        self._clock = clock
        self._listen = listen
        self._node = node
        self._contacts_file = contacts_file
        self._open_transport = open_transport
        self._callbacks: list[Callable[[], None]] = []
        self._tasks: OwnedTasks[str, None] = OwnedTasks()
        self._transport: asyncio.DatagramTransport | None = None
        self._protocol: DhtProtocol | None = None
        self._own: Contact | None = None
        self._peers = Peers(signer.certificate.node_id, self._changed, self._died, bucket_size)
        self._upkeep = Upkeep(self._peers, self._search, contacts_file)
        self._joining = Joining(self._peers, resolve, self._populate)

    async def start(self, bootstrap: Sequence[tuple[str, int, bytes | None]]) -> None:
        """Bind, and begin to join by `bootstrap` (host, port, node ID if known) and the saved contacts.

        On return requests are answered; `joined` waits for the first attempt. Raises OSError.
        """
        saved: tuple[Contact, ...] = ()
        try:
            saved = await asyncio.to_thread(load_contacts, self._contacts_file)
        except (OSError, Malformed) as error:
            _log.warning("saved contacts not read", file=str(self._contacts_file), error=str(error))
        self._transport = await self._open_transport(self._make_protocol, self._listen)
        self._peers.protocol = self._protocol
        if self._node and self._listen is not None:
            host = numeric(self._transport.get_extra_info("sockname")[0]) or self._listen.host
            if wildcard(host):
                host = "::1" if host == "::" else "127.0.0.1"
            self._own = Contact(self._peers.own_id, host, self.port)
        self._joining.begin([Origin(Endpoint(host, port), node_id) for host, port, node_id in bootstrap], saved)
        self._tasks.start("joining", self._joining.run, "dht joining")
        self._tasks.start("upkeep", self._upkeep.run, "dht upkeep")
        self._tasks.start("saving", self._upkeep.keep_saved, "dht contacts")

    def listed(self, nodes: Sequence[ContactInfo]) -> None:
        """Take `nodes`, which the newest domain record lists, as bootstrap nodes too, in place of an older one's."""
        self._joining.listed(nodes)

    async def stop(self) -> None:
        """End every task, save the contacts, close the socket."""
        await self._tasks.stop()
        if self._protocol is not None:
            self._protocol.close()
        await self._peers.stop()
        await self._upkeep.save()

    @property
    def port(self) -> int:
        """The UDP port bound by `start`."""
        assert self._transport is not None, "the substrate has not been started"
        return int(self._transport.get_extra_info("sockname")[1])

    @property
    def own(self) -> Contact | None:
        """This process's own node as a contact; None for a client, or before `start`."""
        return self._own

    @property
    def counters(self) -> Counters:
        """What happened to datagrams since `start`."""
        return self._protocol.counters if self._protocol is not None else Counters()

    async def joined(self) -> bool:
        """Return, when the first attempt to join has ended, whether any node is known."""
        await self._joining.attempted()
        return bool(self._peers.table)

    # --- Substrate ---

    async def lookup(self, key: bytes, k: int) -> tuple[Contact, ...]:
        """Return up to `k` live, verified nodes closest to `key`, nearest first; this process's own node included.

        Takes at most about LOOKUP_DEADLINE and then returns what has answered.
        """
        at_once = self.nearest(key, k)
        if at_once is not None:
            return at_once
        try:
            async with asyncio.timeout(params.LOOKUP_DEADLINE / params.SECOND):
                await self._joining.hurry()
                if self._peers.is_small():
                    await self._settle()
        except TimeoutError:
            pass  # whoever is slow to join or to answer is left out
        if not self._peers.is_small():
            return self._nearest(key, k, await self._search(key, k))
        return self._nearest(key, k, self._good())

    def nearest(self, key: bytes, k: int) -> tuple[Contact, ...] | None:
        """Return what `lookup` would where the table is small and fresh, else None: no task and no timer is needed."""
        self._upkeep.looked_up()
        if not self._joining.is_over() or not self._peers.is_small():
            return None
        if self._peers.meetings() or not self._upkeep.is_fresh(self._peers.now() - params.TABLE_FRESH):
            return None
        return self._nearest(key, k, self._good())

    def known(self) -> tuple[Contact, ...]:
        """Return every verified contact in the routing table, and the own node, in no order."""
        return (*self._peers.table.all(), *([self._own] if self._own else []))

    def report(self, contact: Contact, *, alive: bool) -> None:
        """Tell what a request to `contact` showed; silence has it verified at once and before it is returned."""
        if self._peers.table.get(contact.node_id) != contact:
            return
        if alive:
            self._peers.liveness.heard(contact, self._peers.now())
        else:
            self._peers.liveness.suspect(contact)
            self._peers.verify(contact)

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback` on the event loop whenever a contact is added to or evicted from the table."""
        self._callbacks.append(callback)

    # --- lookups ---

    async def _settle(self) -> None:
        """Return when a small table is fresh: each contact heard lately, each candidate met or silent."""
        for _ in range(_SETTLE_ROUNDS):
            waiting = [*self._upkeep.refresh(self._peers.now() - params.TABLE_FRESH), *self._peers.meetings()]
            if not waiting:
                return
            await asyncio.wait(waiting)

    async def _search(self, target: bytes, k: int = 0) -> tuple[Contact, ...]:
        """Look `target` up iteratively; return the `k` (or a bucket full of) closest others that answered."""
        k = k or self._peers.bucket_size
        self._peers.table.touch(target, self._peers.now())
        now = self._peers.now()
        # All that is known: a seed costs nothing unless it is among the closest, and the dead need substitutes
        seeds = [contact for contact in self._peers.table.all() if not self._peers.liveness.passed_over(contact, now)]
        lookup = Lookup(target, k, seeds, self._peers.find_node, self._peers.own_id, patience=self._peers.patience)
        try:
            async with asyncio.timeout(params.LOOKUP_DEADLINE / params.SECOND):
                await lookup.run()
        except TimeoutError:
            pass  # what has answered by now counts
        return lookup.closest(k)

    async def _populate(self) -> None:
        """Fill the table after joining: the own ID's neighbourhood, then the buckets away from it (Kademlia, §2.3)."""
        await self._search(self._peers.own_id)
        if self._peers.is_small():
            await self._settle()
            return
        await self._upkeep.refresh_distant_buckets()

    def _good(self) -> list[Contact]:
        return [contact for contact in self._peers.table.all() if self._peers.liveness.good(contact)]

    def _nearest(self, key: bytes, k: int, contacts: Sequence[Contact]) -> tuple[Contact, ...]:
        everybody = [*contacts, *([self._own] if self._own else [])]
        return tuple(sorted(everybody, key=lambda contact: distance(contact.node_id, key))[:k])

    # --- events ---

    def _make_protocol(self) -> DhtProtocol:
        self._protocol = DhtProtocol(self._signer, self._trust, self._clock, self._peers, answering=self._node)
        return self._protocol

    def _changed(self) -> None:
        self._upkeep.table_changed()
        if not self._peers.table:
            self._joining.wake()
        for callback in self._callbacks:
            callback()

    def _died(self) -> None:
        self._upkeep.contact_died()
