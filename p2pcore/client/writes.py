"""Several objects written at once, each to the k nodes closest to its key; per node everything in one request.

A node that fails is replaced by the next closest, up to `widened(k)` nodes per object. The spread is decided when every
object has w confirmations or can no longer get them; what is still under way then goes on until it is complete.

An object may come after another (an entry after its body): to a node it goes in the same request as the other, on the
condition that the node holds that, or else not before the other has its quorum. So nothing is left of it where the
other is refused. What still waits for that when the time is over is never sent.

The Batcher tells how each request went, without a future or a task of its own, so that a small message costs one
request per node and little else; only large bodies are uploaded in tasks, which this spread's owner owns.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p2pcore.client.batching import Batcher, Load
from p2pcore.client.peers import Peers
from p2pcore.client.placement import widened
from p2pcore.client.quorum import Quorum
from p2pcore.client.results import failure_of
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import BodyNotHeld, Failure, NoQuorum, TemporaryFailure, Unreachable
from p2pcore.records import Operation, Result, SignedStatement

Own = Callable[[Coroutine[None, None, None], str], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class Upload:
    """A large body, in a PUT of its own; `source` must stay readable until the spread is complete."""

    object: SignedStatement
    source: Path | bytes


@dataclass(slots=True, eq=False)
class Target:
    """One object to write: to the nodes closest to `key`, until `quorum` is decided and then complete.

    With `after` it goes to a node that is sent that as well as `together`, which the node answers with BodyNotHeld
    where it does not hold the other; to any other node as `content`, once `after` has its quorum.
    """

    key: bytes
    content: Operation | Upload
    quorum: Quorum
    contacts: dict[bytes, Contact] = field(default_factory=dict)
    after: "Target | None" = None
    together: Operation | None = None


class Spread:
    """One round of writing; `own` starts a task with an owner and a name.

    `completed` is called when nothing is under way any more.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        substrate: Substrate,
        batcher: Batcher,
        peers: Peers,
        own: Own,
        completed: Callable[["Spread"], None],
    ) -> None:
        self.targets = targets
        self._substrate = substrate
        self._batcher = batcher
        self._peers = peers
        self._own = own
        self._decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._held_back: list[tuple[Contact, Target]] = []  # until what they come after is decided
        self._over = False
        self._incomplete = True
        self._completed = completed
        self._loaded: _Loaded | None = None

    async def run(self, deadline: int) -> None:
        """Ask the closest nodes; return when all targets are decided, at the latest after `deadline` ms.

        Their quorums then say how it went.
        """
        try:
            async with asyncio.timeout(deadline / 1_000):
                await self._begin()
                self._note()
                await self._decided
        except TimeoutError:
            pass  # the quorums say what is missing
        finally:
            self._over = True
            self._note()

    async def _begin(self) -> None:
        largest: dict[bytes, int] = {}
        for target in self.targets:
            largest[target.key] = max(target.quorum.k, largest.get(target.key, 0))
        found = await self._find(largest)
        per_node: dict[Contact, list[Target]] = {}
        for target in self.targets:
            closest = found[target.key][: target.quorum.k]
            if len(closest) < target.quorum.w:  # w is never lowered by circumstance
                target.quorum.give_up(NoQuorum(f"{len(closest)} nodes are known"))
                continue
            for contact in closest:
                if target.quorum.ask(contact.node_id):
                    per_node.setdefault(contact, []).append(target)
        for contact, targets in per_node.items():
            alone = [each for each in targets if each.after and each.after not in targets]
            if alone:
                self._held_back += [(contact, each) for each in alone]
                targets = [each for each in targets if each not in alone]
            self._send(contact, targets)
        self._release()

    async def _find(self, largest: Mapping[bytes, int]) -> dict[bytes, tuple[Contact, ...]]:
        """Return for each key the k nodes closest to it, by key → k."""
        found: dict[bytes, tuple[Contact, ...]] = {}
        for key, k in largest.items():
            at_once = self._substrate.nearest(key, k)
            if at_once is None:
                lookups = (self._substrate.lookup(key, k) for key, k in largest.items())
                return dict(zip(largest, await asyncio.gather(*lookups), strict=True))
            found[key] = at_once
        return found

    def _send(self, contact: Contact, targets: Sequence[Target]) -> None:
        loaded = self._loaded
        if loaded is None or loaded.targets != targets:  # most often the k nodes are sent the same
            loaded = self._loaded = _Loaded.of(targets)
        for target, upload in loaded.uploads:
            self._own(self._upload(contact, target, upload), f"store on {contact.endpoint}")
        if loaded.small:
            self._batcher.send(contact, loaded.load, _Sent(self, contact, loaded))

    def _release(self) -> None:
        """Send what was held back where its time has come, end it where that will not come."""
        held, self._held_back = self._held_back, []
        ready: dict[Contact, list[Target]] = {}
        for contact, target in held:
            assert target.after is not None
            before = target.after.quorum
            if before.reached or contact.node_id in before.confirmed:
                ready.setdefault(contact, []).append(target)
            elif before.decided or self._over:
                target.quorum.fail(contact.node_id, before.failure())
            else:
                self._held_back.append((contact, target))
        for contact, targets in ready.items():
            self._send(contact, targets)

    async def _upload(self, contact: Contact, target: Target, upload: Upload) -> None:
        failure: Failure | None = TemporaryFailure("stopped")
        try:
            await self._peers.put_body(contact, upload.object, upload.source)
            failure = None
        except Failure as error:
            failure = error
        finally:
            self._count(contact, target, failure)
            self._note()

    def answered(self, contact: Contact, loaded: "_Loaded", results: Sequence[Result]) -> None:
        """Take what `contact` answered."""
        for target, operation, result in zip(loaded.small, loaded.load.operations, results, strict=True):
            outcome = failure_of(result)
            if isinstance(outcome, BodyNotHeld) and operation is not target.content:
                self._held_back.append((contact, target))
            else:
                self._count(contact, target, outcome)
        self._note()

    def failed(self, contact: Contact, loaded: "_Loaded", failure: Failure) -> None:
        """Take the failure that the whole request to `contact` met."""
        for target in loaded.small:
            self._count(contact, target, failure)
        self._note()

    def _count(self, contact: Contact, target: Target, failure: Failure | None) -> None:
        quorum = target.quorum
        if failure is None:
            quorum.confirm(contact.node_id)
            target.contacts[contact.node_id] = contact
            return
        if isinstance(failure, Unreachable):
            self._substrate.report(contact, alive=False)
        if quorum.fail(contact.node_id, failure):
            quorum.searching += 1
            self._own(self._replace(target), "replace a failed node")

    async def _replace(self, target: Target) -> None:
        quorum = target.quorum
        try:
            for contact in await self._substrate.lookup(target.key, widened(quorum.k)):
                if quorum.ask(contact.node_id):
                    if target.after is None:
                        self._send(contact, (target,))
                    else:
                        self._held_back.append((contact, target))
                    break
        finally:
            quorum.searching -= 1
            self._note()

    def _note(self) -> None:
        if self._held_back:
            self._release()
        for target in self.targets:
            if not target.quorum.decided:
                return
        if not self._decided.done():
            self._decided.set_result(None)
        for target in self.targets:
            if not target.quorum.complete:
                return
        if self._incomplete:
            self._incomplete = False
            self._completed(self)


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What goes to a node: `small` targets as the operations of `load`, in the same order, and `uploads`."""

    targets: Sequence[Target]
    small: Sequence[Target]
    load: Load
    uploads: Sequence[tuple[Target, Upload]]

    @classmethod
    def of(cls, targets: Sequence[Target]) -> "_Loaded":
        small: list[Target] = []
        operations: list[Operation] = []
        uploads: list[tuple[Target, Upload]] = []
        for target in targets:
            if isinstance(target.content, Upload):
                uploads.append((target, target.content))
                continue
            small.append(target)
            operations.append(target.together if target.together and target.after in targets else target.content)
        return cls(targets, small, Load.of(operations), uploads)


@dataclass(slots=True)
class _Sent:
    """A request under way, as the Batcher's addressee."""

    spread: Spread
    contact: Contact
    loaded: _Loaded

    def done(self) -> bool:
        return False

    def set_result(self, results: list[Result]) -> None:
        self.spread.answered(self.contact, self.loaded, results)

    def set_exception(self, failure: Failure) -> None:
        self.spread.failed(self.contact, self.loaded, failure)
