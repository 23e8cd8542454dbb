"""Several objects written at once, each to the k nodes closest to its key; per node everything in one request.

A node that fails is replaced by the next closest, up to `widened(k)` nodes per object. The spread is decided when every
object has w confirmations or can no longer get them; what is still under way then goes on until it is complete. Answers
arrive as callbacks of futures that the Batcher owns (and tasks that this spread's owner owns), so that a small message
costs one request per node and no task of its own.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from p2pcore.client.batching import Batcher
from p2pcore.client.peers import Peers
from p2pcore.client.placement import widened
from p2pcore.client.quorum import Quorum
from p2pcore.client.results import failure_of
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, NoQuorum, TemporaryFailure, Unreachable
from p2pcore.records import Operation, Result, SignedStatement

Own = Callable[[Coroutine[None, None, None], str], "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class Upload:
    """A large body, in a PUT of its own; `source` must stay readable until the spread is complete."""

    object: SignedStatement
    source: Path | bytes


@dataclass(slots=True, eq=False)
class Target:
    """One object to write: to the nodes closest to `key`, until `quorum` is decided and then complete."""

    key: bytes
    content: Operation | Upload
    quorum: Quorum
    contacts: dict[bytes, Contact] = field(default_factory=dict)


class Spread:
    """One round of writing; `own` starts a task with an owner and a name."""

    def __init__(
        self, targets: Sequence[Target], *, substrate: Substrate, batcher: Batcher, peers: Peers, own: Own
    ) -> None:
        self.targets = targets
        self._substrate = substrate
        self._batcher = batcher
        self._peers = peers
        self._own = own
        self._changed = asyncio.Event()
        self.completed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, deadline: int) -> None:
        """Ask the closest nodes; return when all targets are decided, at the latest after `deadline` ms.

        Their quorums then say how it went; `completed` is done when nothing is under way any more.
        """
        try:
            async with asyncio.timeout(deadline / 1_000):
                await self._begin()
                while not all(target.quorum.decided for target in self.targets):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass  # the quorums say what is missing
        finally:
            self._note()

    async def _begin(self) -> None:
        keys = list({target.key: target.quorum.k for target in self.targets})
        largest = {key: max(target.quorum.k for target in self.targets if target.key == key) for key in keys}
        found = dict(
            zip(keys, await asyncio.gather(*(self._substrate.lookup(key, largest[key]) for key in keys)), strict=True)
        )
        per_node: dict[Contact, list[Target]] = {}
        for target in self.targets:
            closest = found[target.key][: target.quorum.k]
            if len(closest) < target.quorum.w:  # DESIGN §6: w is never lowered by circumstance
                target.quorum.give_up(NoQuorum(f"{len(closest)} nodes are known"))
                continue
            for contact in closest:
                if target.quorum.ask(contact.node_id):
                    per_node.setdefault(contact, []).append(target)
        for contact, targets in per_node.items():
            self._send(contact, targets)

    def _send(self, contact: Contact, targets: Sequence[Target]) -> None:
        small = [target for target in targets if not isinstance(target.content, Upload)]
        operations = [target.content for target in small if not isinstance(target.content, Upload)]
        if operations:
            answer = self._batcher.post(contact, operations)
            answer.add_done_callback(lambda done: self._answered(contact, small, done))
        for target in targets:
            if isinstance(target.content, Upload):
                self._own(self._upload(contact, target, target.content), f"store on {contact.endpoint}")

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

    def _answered(self, contact: Contact, targets: Sequence[Target], answer: "asyncio.Future[list[Result]]") -> None:
        error = TemporaryFailure("stopped") if answer.cancelled() else answer.exception()
        if error is not None:
            failure = error if isinstance(error, Failure) else TemporaryFailure(repr(error))
            for target in targets:
                self._count(contact, target, failure)
        else:
            for target, result in zip(targets, answer.result(), strict=True):
                self._count(contact, target, failure_of(result))
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
                    self._send(contact, (target,))
                    break
        finally:
            quorum.searching -= 1
            self._note()

    def _note(self) -> None:
        self._changed.set()
        if not self.completed.done() and all(target.quorum.complete for target in self.targets):
            self.completed.set_result(None)
