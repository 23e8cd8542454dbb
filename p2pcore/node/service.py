"""Runs checked operations: bodies to files, one transaction per request, then the wake-ups that follow from it."""

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import apsw

from p2pcore import params
from p2pcore.client.results import failure_of
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure, NodeFull, TooLarge
from p2pcore.node.admission import Admission
from p2pcore.node.bodies import BodyFiles
from p2pcore.node.heads import Heads
from p2pcore.node.inbox_reads import InboxReads
from p2pcore.node.nonces import Nonces
from p2pcore.node.operations import Effects, LargeBody, Operations, Reading, Step, Writing, outcome
from p2pcore.node.rates import Rates
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Storage, Transaction
from p2pcore.node.watchers import Watchers
from p2pcore.records import Batch, BatchReply, Result, Store, decode

T = TypeVar("T")

_ANSWER: Final = params.MAX_BATCH  # octets of values in one reply
_VERIFIERS: Final = 2  # threads
_SMALL_CHECK: Final = 32  # operations checked where they came: a few ms at most, one signature where they share a tree
_SMALL_OCTETS: Final = 512 << 10  # of bodies to digest among them

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
        self.operations = Operations(settings, admission, storage, bodies, self.inbox_reads.last)
        self._under_way: set[asyncio.Task[Any]] = set()
        self._arriving = 0  # octets of large bodies

    async def batch(self, octets: bytes, carrier: Certificate, created: int) -> BatchReply:
        """Carry out an encoded Batch that `carrier` signed at `created` (ms). Raises Malformed, RateLimited."""
        batch = decode(Batch, octets)
        self.rates.take(carrier, max(1, len(batch.operations) + len(batch.certificates)))  # each costs a verification
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
            return await self._to_its_end(self._write(steps, created, []))
        results = await self.storage.read(lambda db: _read_all(steps, db))
        await self.nonces.settle(created)
        return results

    async def step(self, step: Writing, created: int, file: str = "") -> None:
        """Apply one step; durable on return. Raises its failure; `file` is removed where no row came to name it."""
        results = await self._to_its_end(self._write([step], created, [file] if file else []))
        failure = failure_of(results[0])
        if failure is not None:
            raise failure

    @contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Set `size` octets aside for a body while it arrives. Raises NodeFull before any of it takes disk."""
        taken = self.storage.octets + self._arriving
        if taken + size > self.settings.quota:
            raise NodeFull(f"{taken} of {self.settings.quota} octets are taken")
        self._arriving += size
        try:
            yield
        finally:
            self._arriving -= size

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
        return await asyncio.shield(task)

    def _check(self, batch: Batch, carrier: Certificate) -> list[Step]:
        for der in batch.certificates:
            try:
                self.admission.trust.add(der)
            except Failure as failure:
                _log.info("certificate that %s sent along: %s", carrier.fingerprint.hex(), failure)
        return [self.operations.check(operation, carrier) for operation in batch.operations]

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


def _is_small(batch: Batch) -> bool:
    """Return whether checking costs less than a thread's two wake-ups, or not much more."""
    if batch.certificates or len(batch.operations) > _SMALL_CHECK:
        return False
    return sum(len(each.body) for each in batch.operations if isinstance(each, Store)) <= _SMALL_OCTETS


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
        value = step.apply(db)
    except Failure as failure:
        return outcome(failure)
    if len(value) > left:
        return outcome(TooLarge(f"the answers of this batch exceed {_ANSWER} octets"))
    return Result(200, value=value)


_DONE: Final = Result(200)
