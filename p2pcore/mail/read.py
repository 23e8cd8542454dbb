"""Reading one's inbox: the superset of what its replicas hold, watched, so that news comes at once (§3.2)."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from p2pcore import params
from p2pcore.client.peers import Peers
from p2pcore.client.placement import widened
from p2pcore.client.replicas import Replicas
from p2pcore.client.tasks import Tasks
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, TemporaryFailure, UnknownCertificate
from p2pcore.mail.judging import InboxJudge, Outcome
from p2pcore.mail.superset import Superset
from p2pcore.mail.watch import Watch
from p2pcore.records import AcknowledgeStatement, EntryStatement, InboxPage, SignedStatement

_BATCHES = 4  # pages waiting for the reader; more wait on their nodes
_EACH = 0.01  # seconds per entry that a reader who was given several at once waits before she is given more
_TOGETHER = 0.3  # and at most
_GATHER = 0.6  # seconds at most that a busy reader's nodes are not asked again
_PLACEMENT = 5 * params.MINUTE  # between lookups of the inbox's nodes without any change noticed
_UNPLACED = params.SECOND  # until the next, where the last could not be made
_SETTLE = 1.0  # seconds that changes of the routing table are gathered for, before one lookup
_OLDER_HOLDERS = params.HOUR  # between reads of nodes past the k closest
_LONGEST_READ = 600.0  # seconds for one of them: a node may say for ever that there is more

Seen = Callable[[Sequence[bytes]], Awaitable[frozenset[bytes]]]

_log = logging.getLogger(__name__)


class ReceivedEntry(msgspec.Struct, frozen=True):
    """An entry whose signature and signer's role hold; `node` reported it, so it most likely has the body."""

    identity: bytes
    statement: EntryStatement
    certificate: Certificate
    node: Contact


def _quiet(_identity: bytes, _failure: Failure) -> None:
    """Entries that do not verify are logged only."""


class InboxReader:
    """The inbox of `inbox_key`, whose owner signs the requests of `peers`.

    `instance` is this agent's: an acknowledgement by another one counts only as the owner signed it, and is given to
    `foreign` (two agents would split the mail), each once, if it was made after this agent began (`began`, in ms):
    what is older is of one that this one came after, as on a new machine. Entries that do not verify go to `refused`
    with the reason, and are not looked at again. `seen` tells which entries are durably ours: what a node says we
    acknowledged is then believed for these only; without it, only as the owner signed it.
    """

    def __init__(
        self,
        replicas: Replicas,
        peers: Peers,
        inbox_key: bytes,
        instance: bytes,
        clock: Clock,
        *,
        foreign: Callable[[bytes], None],
        began: int = 0,
        refused: Callable[[bytes, Failure], None] = _quiet,
        seen: Seen | None = None,
    ) -> None:
        self._replicas = replicas
        self._substrate = replicas.substrate
        self._peers = peers
        self._inbox_key = inbox_key
        self._instance = instance
        self._clock = clock
        self._foreign = foreign
        self._alone_until = began + params.DIRECT_SKEW  # as far as the clock of the machine before may have been ahead
        self._refused = refused
        self._seen = seen
        self._known_foreign: set[bytes] = set()
        self._superset = Superset()
        self._judge = InboxJudge(replicas, inbox_key)
        self._turn = asyncio.Lock()  # of a page whose entries are being verified
        self._watches: dict[Contact, asyncio.Task[None]] = {}
        self._queue: asyncio.Queue[list[ReceivedEntry]] = asyncio.Queue(_BATCHES)
        self._moved = asyncio.Event()
        self._wanted = asyncio.Event()  # nothing has been found since the reader last waited
        self._wanted.set()
        self._pause = 0.0  # seconds until the next batch is asked for
        self._tasks = Tasks()

    async def start(self) -> None:
        """Begin to watch the inbox's nodes."""
        self._substrate.on_change(self._moved.set)
        self._tasks.start(self._keep_placed(), "inbox placement")
        self._tasks.start(self._read_older_holders(), "inbox on older holders")

    async def stop(self) -> None:
        """End the watching; entries not yet taken are on the nodes still."""
        self._watches.clear()
        await self._tasks.stop()

    async def next_batch(self) -> list[ReceivedEntry]:
        """Return the entries that are new to us, at least one, oldest first per node; waits for them.

        While nobody takes them, pages are not asked for: memory is bounded by a few pages per node, and what is
        found while the reader is busy with a batch comes together when it asks for the next.
        """
        if self._pause:  # more are under way: asked for in one go they cost a fraction
            await asyncio.sleep(self._pause)
        if self._queue.empty():
            self._wanted.set()
        batch = list(await self._queue.get())
        while not self._queue.empty():
            batch.extend(self._queue.get_nowait())
        self._pause = min(_EACH * len(batch), _TOGETHER) if len(batch) > 1 else 0.0
        return batch

    def reopen(self, entry: bytes) -> None:
        """Give `entry` out again at the next reading from zero: it could not be handled now."""
        self._superset.reopen(entry)

    @property
    def watched(self) -> tuple[Contact, ...]:
        """The nodes that are watched now."""
        return tuple(self._watches)

    async def _keep_placed(self) -> None:
        told = ""
        while True:
            self._moved.clear()
            try:
                await self._place()
                pause, told = _PLACEMENT, ""
            except TemporaryFailure as failure:
                pause, reason = _UNPLACED, str(failure)
                if reason != told:
                    _log.info("inbox placement: %s", reason)
                told = reason
            try:
                async with asyncio.timeout(pause / 1_000):
                    await self._moved.wait()
            except TimeoutError:
                continue
            await asyncio.sleep(_SETTLE)

    async def _place(self) -> None:
        """Watch exactly the k closest, k the largest since the oldest entry there may be. Raises CannotKnow."""
        k = self._replicas.largest_k(self._clock() - params.MAX_LIFETIME)
        closest = await self._substrate.lookup(self._inbox_key, k)
        for contact in set(self._watches) - set(closest):
            self._watches.pop(contact).cancel()
        for contact in closest:
            if contact not in self._watches:
                task = self._tasks.start(self._watch(contact).run(), f"inbox on {contact.endpoint}")
                task.add_done_callback(lambda ended, contact=contact: self._watch_ended(contact, ended))  # type: ignore[misc]
                self._watches[contact] = task

    def _watch_ended(self, contact: Contact, task: "asyncio.Task[None]") -> None:
        """Place again after a watch that ended by itself, which only a defect can make it do (it is in the log)."""
        if self._watches.get(contact) is task:
            del self._watches[contact]
            self._moved.set()

    async def _read_older_holders(self) -> None:
        """Read nodes past the k closest now and then: they may hold what repair has not brought closer (§2.2)."""
        while True:
            await asyncio.sleep(_OLDER_HOLDERS / 1_000)
            try:
                k = self._replicas.largest_k(self._clock() - params.MAX_LIFETIME)
                contacts = await self._substrate.lookup(self._inbox_key, widened(k))
            except TemporaryFailure as failure:
                _log.info("inbox on older holders: %s", failure)
                continue
            for contact in contacts[k:]:
                try:
                    async with asyncio.timeout(_LONGEST_READ):
                        await self._watch(contact).read_all()
                except Failure as failure:
                    _log.info("inbox on %s: %s", contact.endpoint, failure)
                except TimeoutError:
                    _log.warning("inbox on %s: not read to its end in %.0f s", contact.endpoint, _LONGEST_READ)

    def _watch(self, contact: Contact) -> Watch:
        return Watch(
            contact,
            self._inbox_key,
            peers=self._peers,
            substrate=self._substrate,
            clock=self._clock,
            apply=self._apply,
            instance=self._instance if self._seen else b"",  # what is durably ours is known without them
        )

    async def _apply(self, contact: Contact, page: InboxPage) -> None:
        """Hand on what is new in `page`; return when the reader wants more, or after _GATHER.

        Asked again at once, every node would report each entry in a page of its own while the reader is busy.
        """
        fresh = await self._fresh(contact, page)
        if fresh:
            self._wanted.clear()
            try:
                await self._queue.put(fresh)
            except asyncio.CancelledError:
                self._reopen(fresh)
                raise
        with suppress(TimeoutError):
            async with asyncio.timeout(_GATHER):
                await self._wanted.wait()

    async def _fresh(self, contact: Contact, page: InboxPage) -> list[ReceivedEntry]:
        """Settle what `page` says; return its entries that are good and in no page before."""
        await self._take_acknowledged(contact, page.acknowledged)
        async with self._turn:  # one page at a time: what it has in common with the next one is verified once
            candidates = self._superset.candidates(page)
            outcomes = await self._judge.entries([signed for _, signed in candidates])
            found = [
                None if isinstance(outcome, UnknownCertificate) else self._settled(contact, *candidate, outcome)
                for candidate, outcome in zip(candidates, outcomes, strict=True)
            ]
        try:
            for index, (candidate, outcome) in enumerate(zip(candidates, outcomes, strict=True)):
                if isinstance(outcome, UnknownCertificate):
                    asked = await self._judge.entry(contact, candidate[1])
                    found[index] = self._settled(contact, *candidate, asked)
        except asyncio.CancelledError:
            self._reopen(entry for entry in found if entry is not None)
            raise
        return [entry for entry in found if entry is not None]

    def _reopen(self, entries: Iterable[ReceivedEntry]) -> None:
        """Let another node give `entries`: the one that gave them is no longer watched."""
        for entry in entries:
            self._superset.reopen(entry.identity)

    async def _take_acknowledged(self, contact: Contact, acknowledged: Sequence[SignedStatement]) -> None:
        """Settle what was acknowledged; a node's word alone must not hide an entry that we never had."""
        ours: set[bytes] = set()
        to_judge: list[SignedStatement] = []
        for signed in acknowledged:
            statement = signed.statement
            if isinstance(statement, AcknowledgeStatement) and statement.instance == self._instance and self._seen:
                ours.update(statement.entries)
            else:
                to_judge.append(signed)
        if ours and self._seen:
            self._superset.settle_all(await self._seen(tuple(ours)))
        refused: list[Failure] = []
        for signed, outcome in zip(to_judge, await self._judge.acknowledgements(contact, to_judge), strict=True):
            if isinstance(outcome, Failure):
                refused.append(outcome)
            elif isinstance(signed.statement, AcknowledgeStatement):
                self._believe(signed.statement)
        if refused:
            _log.warning(
                "%s gave %d acknowledgements that are not believed: %s", contact.endpoint, len(refused), refused[0]
            )

    def _believe(self, statement: AcknowledgeStatement) -> None:
        self._superset.settle_all(statement.entries)
        if statement.instance == self._instance or statement.issued <= self._alone_until:
            return
        if statement.instance not in self._known_foreign:
            self._known_foreign.add(statement.instance)
            self._foreign(statement.instance)

    def _settled(
        self, contact: Contact, entry: bytes, signed: SignedStatement, outcome: Outcome
    ) -> ReceivedEntry | None:
        """Return an entry that is good and in no page before; refuse one that is not good."""
        if isinstance(outcome, Failure):
            self._refuse(contact, entry, signed, outcome)
        elif isinstance(signed.statement, EntryStatement) and self._superset.settle(entry):
            return ReceivedEntry(entry, signed.statement, outcome, contact)
        return None

    def _refuse(self, contact: Contact, entry: bytes, signed: SignedStatement, failure: Failure) -> None:
        _log.warning("entry %s from %s is not accepted: %s", entry.hex(), contact.endpoint, failure)
        if isinstance(failure, TemporaryFailure | UnknownCertificate):
            return  # another node, or this one in an hour, may know the certificate
        if self._superset.refuse(entry, signed):
            self._refused(entry, failure)
