"""Our dealings with other nodes: introductions, questions, who enters the routing table and who leaves it.

A contact heard of from others, or one that asks us something, is only a candidate: it enters after it has itself
answered a request of ours (a ping-back) with a node's certificate. An endpoint that was verified is kept until it
stays silent, so that a relay cannot take a node's place by answering for it. Two words are exchanged at first
acquaintance, Ping and Pong with both certificates; after that no request carries one unless the peer has forgotten us.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht import datagrams
from p2pcore.dht.contact import Contact
from p2pcore.dht.liveness import Liveness
from p2pcore.dht.protocol import Answer, DhtProtocol
from p2pcore.dht.table import Table
from p2pcore.dht.tasks import OwnedTasks
from p2pcore.endpoint import Endpoint
from p2pcore.errors import Failure, Malformed, UnknownCertificate, Unreachable
from p2pcore.records import FindNode, Nodes, Ping

_ATTEMPTS = 2  # of an introduction or verification before it ends: one datagram may be lost
_Outcome = Contact | Failure | TimeoutError  # of an introduction, for everyone who waits for it


class Peers:
    """The verified contacts of `own_id` and what is known of the rest; the protocol's listener.

    `changed` is called when a contact is added or evicted, `died` when one died, known or not.
    """

    def __init__(
        self,
        own_id: bytes,
        changed: Callable[[], None],
        died: Callable[[], None],
        bucket_size: int = params.BUCKET_SIZE,
    ) -> None:
        self.own_id = own_id
        self.bucket_size = bucket_size
        self._loop = asyncio.get_running_loop()
        self.table = Table(own_id, self.now(), bucket_size)
        self.liveness = Liveness()
        self.dead: OrderedDict[Contact, None] = OrderedDict()  # verified once and silent now
        self.protocol: DhtProtocol | None = None  # set as soon as there is a socket
        self._changed = changed
        self._died = died
        self._acquainted: OrderedDict[Contact, None] = OrderedDict()  # each knows the other's certificate
        self._pinged_back: OrderedDict[Contact, int] = OrderedDict()
        self._introductions: OwnedTasks[tuple[Endpoint, bytes | None, bool], _Outcome] = OwnedTasks()
        self._begun: dict[tuple[Endpoint, bytes | None], int] = {}  # when the first introductions under way were begun
        self._verifications: OwnedTasks[Contact, None] = OwnedTasks()
        self._meetings: OwnedTasks[Contact, None] = OwnedTasks()

    def now(self) -> int:
        """Return the event loop's time in ms."""
        return int(self._loop.time() * params.SECOND)

    def is_small(self) -> bool:
        """Return whether the table has room for every node of a network like the one known."""
        return len(self.table) < self.bucket_size

    # --- asking ---

    async def find_node(self, contact: Contact, target: bytes) -> list[Contact]:
        """Return the contacts that `contact` knows closest to `target`; asked once.

        Raises TimeoutError, Failure (Unreachable at once for the dead).
        """
        if self.liveness.passed_over(contact, self.now()):
            raise Unreachable(f"node at {contact.endpoint} is dead")
        return self._hear_of(await self._talk(contact, FindNode(target)))

    def patience(self, contact: Contact) -> float:
        """Return after how many seconds of silence a lookup goes on without the contact."""
        return self.liveness.patience(contact) / params.SECOND

    async def introduce(self, endpoint: Endpoint, node_id: bytes | None) -> Contact:
        """Return the verified contact at `endpoint` (an IP address); asked once. Raises TimeoutError, Failure.

        Who comes while an introduction is under way shares it, or begins a second one where it takes long.
        """
        known = Contact(node_id, endpoint.host, endpoint.port) if node_id is not None else None
        began = self._begun.get((endpoint, node_id))
        again = began is not None and self.now() - began >= self.liveness.patience(known)
        task = self._introductions.start(
            (endpoint, node_id, again),
            lambda: self._introduce(endpoint, node_id, again=again),
            f"dht introduction to {endpoint}",
        )
        if task is None:
            raise Unreachable("the DHT is being stopped")
        outcome = await asyncio.shield(task)
        if isinstance(outcome, Contact):
            return outcome
        raise outcome

    async def _introduce(self, endpoint: Endpoint, node_id: bytes | None, *, again: bool) -> _Outcome:
        if not again:
            self._begun[endpoint, node_id] = self.now()
        try:
            answer = await self._ask(endpoint, node_id, Ping(), introduce=True)
        except (Failure, TimeoutError) as failure:
            return failure
        finally:
            if not again:
                del self._begun[endpoint, node_id]
        contact = Contact(answer.certificate.node_id, endpoint.host, endpoint.port)
        self._acquainted[contact] = None
        if len(self._acquainted) > params.MAX_PEER_STATES:
            self._acquainted.popitem(last=False)
        self._admit(contact)
        return contact

    async def _talk(self, contact: Contact, request: datagrams.Request) -> Answer:
        if contact in self._acquainted:
            try:
                return await self._request(contact, request)
            except UnknownCertificate:
                self._acquainted.pop(contact, None)
        await self.introduce(contact.endpoint, contact.node_id)
        return await self._request(contact, request)

    async def _request(self, contact: Contact, request: datagrams.Request) -> Answer:
        answer = await self._ask(contact.endpoint, contact.node_id, request, introduce=False)
        self._admit(contact)
        return answer

    async def _ask(
        self, endpoint: Endpoint, node_id: bytes | None, request: datagrams.Request, *, introduce: bool
    ) -> Answer:
        if self.protocol is None:
            raise Unreachable("the DHT has not been started")
        contact = Contact(node_id, endpoint.host, endpoint.port) if node_id is not None else None
        timeout = self.liveness.timeout(contact)
        return await self.protocol.ask(endpoint, node_id, request, timeout, introduce=introduce)

    # --- who is in the table ---

    def verify(self, contact: Contact) -> "asyncio.Task[None] | None":
        """Return the task that ends when a contact of the table has answered or twice not; it also hears of others."""
        return self._verifications.start(contact, lambda: self._verify(contact), f"dht verification of {contact.host}")

    async def _verify(self, contact: Contact) -> None:
        for _ in range(_ATTEMPTS):
            try:
                answer = await self._talk(contact, FindNode(self.own_id))
            except TimeoutError:
                continue
            except Failure:
                return
            self._hear_of(answer)
            return
        # Undecided: go on without those who waited for two attempts
        if self.table.get(contact.node_id) == contact and not self.liveness.good(contact):
            self._loop.call_soon(self.verify, contact)

    def meet(self, contact: Contact) -> "asyncio.Task[None] | None":
        """Return the task that ends when a candidate has entered the table or not answered; None: too many."""
        if self._meetings.get(contact) is None and len(self._meetings) >= params.MAX_PING_BACKS:
            return None
        return self._meetings.start(contact, lambda: self._meet(contact), f"dht meeting with {contact.host}")

    def meeting(self, contact: Contact) -> bool:
        """Return whether a meeting with the contact is under way."""
        return self._meetings.get(contact) is not None

    def meetings(self) -> "list[asyncio.Task[None]]":
        """Return the meetings under way with candidates that have not failed before."""
        return [task for contact, task in self._meetings.items() if not self.liveness.deaths(contact)]

    async def _meet(self, contact: Contact) -> None:
        known = self.table.get(contact.node_id)
        if known is not None and known != contact and not await self._gone(known):
            return
        for _ in range(_ATTEMPTS):
            try:
                await self.introduce(contact.endpoint, contact.node_id)
                return
            except TimeoutError:
                continue
            except Failure:
                # What answers, but not as it must, is asked again no sooner than what is silent
                self.liveness.bury(contact, self.now())
                self._died()
                return

    async def _gone(self, contact: Contact) -> bool:
        for _ in range(params.STRIKES):
            verification = self.verify(contact)
            if verification is None:
                break
            await asyncio.wait([verification])
            if self.table.get(contact.node_id) != contact:
                return True
            if self.liveness.good(contact):
                break
        return False

    def _admit(self, contact: Contact) -> None:
        known = self.table.get(contact.node_id)
        if known is not None and known != contact:
            return
        self.dead.pop(contact, None)
        addition = self.table.add(contact)
        if addition.challenged is not None:
            self.verify(addition.challenged)  # Kademlia, §2.2: an old contact stays as long as it answers
        if addition.added:
            self._changed()

    def _evict(self, contact: Contact) -> None:
        self.dead[contact] = None
        if len(self.dead) > params.MAX_DEAD:
            self.dead.popitem(last=False)
        replacement = self.table.remove(contact.node_id)
        if replacement is not None:
            self.liveness.suspect(replacement)
        self._changed()

    def _hear_of(self, answer: Answer) -> list[Contact]:
        heard: list[Contact] = []
        if not isinstance(answer.payload, Nodes):
            return heard
        known = self.table.get
        for info in answer.payload.contacts:
            if info.node_id == self.own_id:
                continue
            try:
                heard.append(known(info.node_id) or datagrams.check_contact(info))
            except Malformed:
                continue
        if self.is_small():
            self._meet_all(heard)
        return heard

    def _meet_all(self, candidates: Iterable[Contact]) -> None:
        now = self.now()
        for contact in candidates:
            if self.table.get(contact.node_id) is None and not self.liveness.blocked(contact, now):
                self.meet(contact)

    # --- protocol.Listener ---

    def closest(self, target: bytes, asker: bytes) -> list[Contact]:
        """Return the contacts to answer with: the closest that nothing speaks against."""
        candidates = (contact for contact in self.table.nearest(target) if contact.node_id != asker)
        return list(islice(self.liveness.good_among(candidates), self.bucket_size))

    def requested(self, certificate: Certificate, source: Endpoint) -> None:
        """Note the request of a verified peer; a node that is not in the table is pinged back."""
        if certificate.role != "node":
            return
        contact = Contact(certificate.node_id, source.host, source.port)
        now = self.now()
        if self.table.get(contact.node_id) == contact:
            self.liveness.heard(contact, now)
        elif now - self._pinged_back.get(contact, now - params.PING_BACK_INTERVAL) >= params.PING_BACK_INTERVAL:
            self._pinged_back[contact] = now
            self._pinged_back.move_to_end(contact)
            if len(self._pinged_back) > params.MAX_PEER_STATES:
                self._pinged_back.popitem(last=False)
            self.meet(contact)

    def answered(self, contact: Contact, sent: int) -> None:
        """Note a verified answer."""
        self.liveness.answered(contact, sent, self.now())

    def missed(self, contact: Contact, sent: int) -> None:
        """Note a timeout: the contact is verified until it answers, or evicted."""
        listed = self.table.get(contact.node_id) == contact
        if self.liveness.missed(contact, sent, self.now()):
            if listed:
                self._evict(contact)
            self._died()
        elif listed and not self.liveness.good(contact):
            self.verify(contact)

    async def stop(self) -> None:
        """End every exchange under way."""
        for tasks in (self._meetings, self._verifications, self._introductions):
            await tasks.stop()
