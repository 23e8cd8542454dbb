"""Runs checked operations: bodies to files, one transaction per request, then the wake-ups that follow from it."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import apsw

from p2pcore import params
from p2pcore.client.results import failure_of
from p2pcore.client.tasks import shared
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import BodyNotHeld, Failure, NodeFull, TooLarge
from p2pcore.node import certificates
from p2pcore.node.admission import Admission
from p2pcore.node.bodies import BodyFiles
from p2pcore.node.heads import Heads
from p2pcore.node.inbox_reads import InboxReads
from p2pcore.node.nonces import Nonces
from p2pcore.node.operations import Effects, LargeBody, Operations, Reading, Step, Writing, outcome
from p2pcore.node.rates import Rates
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Storage, Transaction
from p2pcore.node.uses import Uses
from p2pcore.node.watchers import Watchers
from p2pcore.records import Batch, BatchReply, Operation, Publish, PublishedVersion, Result, Store, decode

T = TypeVar("T")

_ANSWER: Final = params.MAX_BATCH  # octets of values in one reply
_VERIFIERS: Final = 2  # threads
_SMALL_CHECK: Final = 48  # operations checked where they came: a few ms at most, one signature where they share a tree
_SMALL_OCTETS: Final = 512 << 10  # of bodies and versions to digest among them

CROWDED: Final = 0.9  # of the quota: from here on garbage collection is wanted
_FOR_WANT_OF_ROOM: Final = (NodeFull.http_status, BodyNotHeld.http_status)

MakeRoom = Callable[[int], Awaitable[bool]]  # octets wanted → whether some were made
Greeted = Callable[[bytes], None]  # ID of a node

_log = logging.getLogger(__name__)


class Service:
    """What the HTTP server, repair and expiry share. Used from the event loop."""

    def __init__(
        self,
        settings: NodeSettings,
        storage: Storage,
        bodies: BodyFiles,
        admission: Admission,
        nonces: Nonces,
        clock: Clock,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.bodies = bodies
        self.admission = admission
        self.nonces = nonces
        self.clock = clock
        self.watchers = Watchers()
        self.rates = Rates(settings.limits, clock)
        self.threads = ThreadPoolExecutor(_VERIFIERS, "node-verify")
        self.heads = Heads(storage, admission, self.threads)
        self.inbox_reads = InboxReads(storage, self.watchers, self.heads, clock)
        self.uses = Uses(storage, clock)
        self.operations = Operations(settings, admission, storage, bodies, self.inbox_reads.last, self.uses)
        self.crowded = asyncio.Event()  # more than CROWDED of the quota is taken
        self.make_room: MakeRoom = no_room
        self.stored = asyncio.Event()  # bodies or entries, by whomever
        self.greeted: Greeted = nobody_minds
        self._under_way: set[asyncio.Task[Any]] = set()
        self._arriving: Counter[bytes] = Counter()  # octets of large bodies, by signer

    async def batch(self, octets: bytes, carrier: Certificate, created: int) -> BatchReply:
        """Carry out an encoded Batch that `carrier` signed at `created` (ms). Raises Malformed, RateLimited."""
        batch = decode(Batch, octets)
        # Each costs a verification; the first was counted with the request
        self.rates.take(carrier, max(0, len(batch.operations) + len(batch.certificates) - 1))
        results = await self.carry_out(batch, carrier, created)
        return BatchReply(tuple(results), self.clock(), self.heads.newest)

    async def carry_out(self, batch: Batch, carrier: Certificate, created: int) -> list[Result]:
        """Check and `run` the operations of `batch`, presented by `carrier`."""
        if _is_small(batch):
            steps = self._check(batch, carrier)
        else:
            steps = await asyncio.get_running_loop().run_in_executor(self.threads, self._check, batch, carrier)
        return await self.run(steps, created)

    async def run(self, steps: Sequence[Step], created: int) -> list[Result]:
        """Apply `steps` in order, in one transaction, and return a result for each; what succeeded is durable.

        `created` is when the request was signed (ms; 0: this node's own doing).
        """
        if any(isinstance(step, Writing | LargeBody) for step in steps):
            return await self._to_its_end(self._write_making_room(steps, created))
        results = await self.storage.read(lambda db: _read_all(steps, db))
        await self.nonces.settle(created)
        return results

    async def step(self, step: Writing, created: int, file: str = "") -> None:
        """Apply one step; durable on return. Raises its failure; `file` is removed where no row came to name it."""
        if file:
            results = await self._to_its_end(self._write([step], created, [file]))
        else:
            results = await self.run([step], created)
        failure = failure_of(results[0])
        if failure is not None:
            raise failure

    async def clear(self, size: int) -> None:
        """Let garbage collection make room for a body of `size` octets where the quota has none."""
        wanted = sum(self._arriving.values()) + size
        if self.storage.octets + wanted > self.settings.quota:
            await self.make_room(wanted)

    @contextmanager
    def room(self, size: int, signer: Certificate) -> Iterator[None]:
        """Set `size` octets aside for a body of `signer` while it arrives.

        Raises NodeFull before any of it takes disk: the quota, the signer's share, or the disk has no such room.
        """
        arriving = sum(self._arriving.values())
        taken = self.storage.octets + arriving
        if taken + size > self.settings.quota:
            raise NodeFull(f"{taken} of {self.settings.quota} octets are taken")
        own = self._arriving[signer.fingerprint]
        certificates.check_share(self.settings, signer, self.storage.octets_of(signer.fingerprint) + own + size)
        free = self.storage.free() - arriving
        if free - size < self.settings.limits.disk_reserve:
            raise NodeFull(f"{free} octets are free on the disk")
        self._arriving[signer.fingerprint] += size
        try:
            yield
        finally:
            self._arriving[signer.fingerprint] -= size
            if not self._arriving[signer.fingerprint]:
                del self._arriving[signer.fingerprint]

    async def drain(self) -> None:
        """Wait for what callers that went away left under way."""
        while self._under_way:
            await asyncio.wait(self._under_way)

    async def _to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what `work` returns; where the caller is cancelled, `work` still goes on to its end.

        A commit is followed by wake-ups and removals that must not be lost with the client's connection.
        """
        task = asyncio.get_running_loop().create_task(work, name="node-write")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await shared(task)

    def _check(self, batch: Batch, carrier: Certificate) -> list[Step]:
        for der in batch.certificates:
            try:
                self.admission.trust.add(der)
            except Failure as failure:
                _log.info("certificate that %s sent along: %s", carrier.fingerprint.hex(), failure)
        return self.operations.check_all(batch.operations, carrier)

    async def _write_making_room(self, steps: Sequence[Step], created: int) -> list[Result]:
        """As `_write`; what finds no room within the quota is tried once more where garbage collection made some."""
        results = await self._write(steps, created, [])
        refused = [place for place, result in enumerate(results) if result.status in _FOR_WANT_OF_ROOM]
        if not refused:
            return results
        size = sum(_size(steps[place]) for place in refused)
        if self.storage.octets + size > self.settings.quota and await self.make_room(size):
            again = await self._write([steps[place] for place in refused], created, [])
            for place, result in zip(refused, again, strict=True):
                results[place] = result
        return results

    async def _write(self, steps: Sequence[Step], created: int, files: list[str]) -> list[Result]:
        """Carry `steps` out; `files` are those written for them, removed where the transaction fails."""
        horizon = self.nonces.due(created)
        ready = await self._write_files(steps, files)

        def work(transaction: Transaction) -> tuple[list[Result], Effects]:
            effects = Effects()  # made here: a work may be run again
            self.nonces.write(transaction, horizon)
            return _apply_all(ready, transaction, effects), effects

        try:
            results, effects = await self.storage.write(work)
        except BaseException:
            await self.bodies.remove(files)
            raise
        self.nonces.confirm(horizon)
        self.watchers.wake(effects.inboxes)
        if self.storage.octets > self.settings.quota * CROWDED:
            self.crowded.set()
        if effects.objects or effects.inboxes:
            self.stored.set()
        for node_id in effects.greeted:
            self.greeted(node_id)
        if effects.heads:
            await self.heads.load()
        await self.bodies.remove(effects.files)
        return results

    async def _write_files(self, steps: Sequence[Step], files: list[str]) -> list[Step]:
        """Write large bodies to files, named in `files`, and return the steps that store them."""
        if not any(isinstance(step, LargeBody) for step in steps):
            return list(steps)
        ready = await asyncio.gather(*(self._write_file(step, files) for step in steps))
        return list(ready)

    async def _write_file(self, step: Step, files: list[str]) -> Step:
        if not isinstance(step, LargeBody):
            return step
        try:
            name = await self.bodies.write(step.octets)
        except Failure as failure:
            return failure
        files.append(name)
        return self.operations.store(step.admitted, file=name)


def _size(step: Step) -> int:
    """Return about how many octets of the quota `step` takes."""
    match step:
        case Writing():
            return step.size
        case LargeBody():
            return len(step.octets)
    return 0


async def no_room(_octets: int) -> bool:
    """Make no room: there is no garbage collection."""
    return False


def nobody_minds(_node_id: bytes) -> None:
    """Do nothing about a node that has just been started: there is no repair."""


def _is_small(batch: Batch) -> bool:
    """Return whether checking costs less than a thread's two wake-ups, or not much more."""
    if batch.certificates or len(batch.operations) > _SMALL_CHECK:
        return False
    return sum(map(_digested, batch.operations)) <= _SMALL_OCTETS


def _digested(operation: Operation) -> int:
    """Return how many octets are digested to check `operation`, statements aside."""
    match operation:
        case Store(body=octets) | Publish(published=PublishedVersion(content=octets)):
            return len(octets)
    return 0


def _apply_all(steps: Sequence[Step], transaction: Transaction, effects: Effects) -> list[Result]:
    results = []
    left = _ANSWER
    for step in steps:
        result = _DONE
        if isinstance(step, Writing):
            try:
                step.apply(transaction, effects)
            except Failure as failure:
                result = outcome(failure)
        else:
            transaction.ledger.flush(transaction.db)  # it may ask for what the steps before it have changed
            result = _read_one(step, transaction.db, left)
            left -= len(result.value)
        results.append(result)
    return results


def _read_all(steps: Sequence[Step], db: apsw.Connection) -> list[Result]:
    results = []
    left = _ANSWER
    for step in steps:
        results.append(_read_one(step, db, left))
        left -= len(results[-1].value)
    return results


def _read_one(step: Step, db: apsw.Connection, left: int) -> Result:
    """Return the result of a step that does not write, whose value may have `left` octets."""
    if isinstance(step, Failure):
        return outcome(step)
    assert isinstance(step, Reading)
    try:
        value = step.apply(db, left)
    except Failure as failure:
        return outcome(failure)
    if len(value) > left:
        return outcome(TooLarge(f"the answers of this batch exceed {_ANSWER} octets"))
    return Result(200, value=value)


_DONE: Final = Result(200)
