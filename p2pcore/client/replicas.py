"""Asking the k closest nodes: writes to a quorum, hedged reads, deletes and acknowledgements everywhere (§2.2, §3)."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from p2pcore import names, params
from p2pcore.client import placement
from p2pcore.client.batching import Batcher
from p2pcore.client.peers import Peers
from p2pcore.client.quorum import Quorum
from p2pcore.client.reads import Accept, Asked, BodyReader, Fetched
from p2pcore.client.results import failure_of
from p2pcore.client.tasks import Tasks
from p2pcore.client.versions import VersionChecker, VersionReader
from p2pcore.client.writes import Spread, Target, Upload
from p2pcore.clock import Clock
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import Failure, TemporaryFailure, Unreachable
from p2pcore.names import VersionedKind
from p2pcore.records import (
    Operation,
    Publish,
    PublishedVersion,
    Replication,
    Result,
    VersionStatement,
)

_DRAIN = 10.0  # seconds that `stop` waits for writes past their quorum
_LOOKUPS = 32  # at once for one call


@dataclass(frozen=True, slots=True)
class Written:
    """The nodes that had confirmed when the quorum was reached; more may follow."""

    nodes: tuple[bytes, ...]
    k: int


@dataclass(frozen=True, slots=True)
class Addressed:
    """One operation for every holder of `key`; `since`: when the object was issued."""

    key: bytes
    operation: Operation
    since: int


@dataclass(frozen=True, slots=True)
class Everywhere:
    """Who confirmed, and who did not and why.

    `done`: all nodes that could be found confirmed, at least w of them. A node that was down learns it by repair.
    """

    confirmed: tuple[bytes, ...]
    failed: tuple[tuple[Contact, Failure], ...]
    done: bool


class Replicas:
    """The k nodes of a key as one store. `replication` returns the domain's k and w with their history.

    Owns what goes on in the background after a quorum; `stop` waits for it, then the Batcher may be stopped.
    """

    def __init__(
        self,
        substrate: Substrate,
        peers: Peers,
        batcher: Batcher,
        replication: Callable[[], tuple[Replication, ...]],
        clock: Clock,
        *,
        checker: VersionChecker,
        directory: Path,
        deadline: int = params.WRITE_DEADLINE,
    ) -> None:
        """`directory`: where large bodies are held while they are fetched, as files without names. `deadline`: ms that
        a write waits for its quorum.
        """
        self.substrate = substrate
        self.batcher = batcher
        self.checker = checker
        self._peers = peers
        self._replication = replication
        self._clock = clock
        self._deadline = deadline
        self._reader = BodyReader(substrate=substrate, batcher=batcher, peers=peers, directory=directory)
        self._versions = VersionReader(substrate=substrate, batcher=batcher, checker=checker)
        self._tasks = Tasks()
        self._spreads: dict[Spread, Callable[[], None] | None] = {}  # that are not complete, and who is told then
        self._idle = asyncio.Event()  # there are none

    def current(self) -> Replication:
        """Return the k and w in force now. Raises CannotKnow."""
        return placement.current(self._replication(), self._clock())

    def largest_k(self, since: int) -> int:
        """Return the largest k since `since`. Raises CannotKnow."""
        return placement.largest_k(self._replication(), since)

    async def write(
        self, key: bytes, content: Operation | Upload, *, w: int | None = None, k: int | None = None
    ) -> Written:
        """Write one object to the k nodes closest to `key`; durable on w of them on return, the rest follows.

        `k` and `w` default to those in force. Raises CannotKnow, NoQuorum or the refusal that prevented the quorum
        (`Quorum.failure`), after WRITE_DEADLINE at most.
        """
        now = self.current() if k is None or w is None else None
        target = self.target(key, content, k=k or (now.k if now else 0), w=w or (now.w if now else 0))
        await self.spread([target])
        if not target.quorum.reached:
            raise target.quorum.failure()
        return Written(tuple(target.quorum.confirmed), target.quorum.k)

    def target(
        self,
        key: bytes,
        content: Operation | Upload,
        *,
        k: int,
        w: int,
        after: Target | None = None,
        together: Operation | None = None,
    ) -> Target:
        """Return `content` addressed to the k nodes closest to `key`, for `spread`; Target says what `after` means."""
        return Target(key, content, Quorum(k, w), after=after, together=together)

    async def spread(self, targets: Sequence[Target], *, completed: Callable[[], None] | None = None) -> None:
        """Write all `targets`, what goes to the same node in the same request; return when each is decided.

        Their quorums say how it went. `completed` is called when nothing of it is under way any more.
        """
        spread = Spread(
            targets,
            substrate=self.substrate,
            batcher=self.batcher,
            peers=self._peers,
            own=self._tasks.start,
            completed=self._completed,
        )
        self._spreads[spread] = completed
        await spread.run(self._deadline)

    async def fetch(
        self,
        key: bytes,
        digest: bytes,
        size: int,
        *,
        since: int,
        first: Contact | None = None,
        accept: Accept | None = None,
        asked: Asked | None = None,
    ) -> Fetched:
        """Return a sealed body from any of its replicas, as `BodyReader.fetch`, with the largest k since `since`."""
        return await self._reader.fetch(key, digest, size, self.largest_k(since), first, accept, asked)

    async def everywhere(self, key: bytes, operation: Operation, since: int) -> Everywhere:
        """Send `operation` to all holders of `key`, as `everywhere_many`."""
        (outcome,) = await self.everywhere_many([Addressed(key, operation, since)])
        return outcome

    async def everywhere_many(self, items: Sequence[Addressed]) -> list[Everywhere]:
        """Send each item to all holders of its key: the largest k since its issue, and past it to older holders.

        Returns one outcome per item when every node has answered or failed; per node everything in one request.
        Raises CannotKnow.
        """
        found = await self._holders(items)
        per_node: dict[Contact, list[int]] = {}
        for index, item in enumerate(items):
            for contact in found[item.key]:
                per_node.setdefault(contact, []).append(index)
        answers = [
            self.batcher.post(contact, [items[index].operation for index in indices])
            for contact, indices in per_node.items()
        ]
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        confirmed: list[list[bytes]] = [[] for _ in items]
        failed: list[list[tuple[Contact, Failure]]] = [[] for _ in items]
        for (contact, indices), outcome in zip(per_node.items(), outcomes, strict=True):
            for index, failure in zip(indices, self._failures(contact, outcome, len(indices)), strict=True):
                if failure is None:
                    confirmed[index].append(contact.node_id)
                else:
                    failed[index].append((contact, failure))
        w = self.current().w
        return [
            Everywhere(tuple(yes), tuple(no), done=not no and len(yes) >= w)
            for yes, no in zip(confirmed, failed, strict=True)
        ]

    async def resolve(self, kind: VersionedKind, identifier: str) -> PublishedVersion | None:
        """Return the highest version a majority knows, as `VersionReader.resolve`. Raises CannotKnow."""
        return await self._versions.resolve(kind, identifier)

    async def publish(self, published: PublishedVersion) -> Written:
        """Write a version to the VERSIONED_REPLICAS closest nodes (all there are, if fewer); a majority must confirm.

        Raises NoQuorum, Superseded where more than half know a newer version, Malformed for what is no version.
        """
        statement = published.version.statement
        assert isinstance(statement, VersionStatement)
        key = names.key_of(statement.identifier)
        there = len(await self.substrate.lookup(key, params.VERSIONED_REPLICAS))
        k = max(1, there)
        return await self.write(key, Publish(published), k=k, w=k // 2 + 1)

    async def ask_all(self, contacts: Sequence[Contact], operation: Operation) -> list[Result | Failure]:
        """Return what each of `contacts` answers, in their order."""
        answers = [self.batcher.post(contact, (operation,), expected=1_000) for contact in contacts]
        outcomes = await asyncio.gather(*answers, return_exceptions=True)
        results: list[Result | Failure] = []
        for contact, outcome in zip(contacts, outcomes, strict=True):
            (failure,) = self._failures(contact, outcome, 1)
            results.append(failure or outcome[0])  # type: ignore[index]
        return results

    async def stop(self) -> None:
        """Let writes past their quorum end, for some seconds at most; cancel the tasks that remain."""
        if self._spreads:
            self._idle.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await self._idle.wait()
        await self._tasks.stop()

    def _completed(self, spread: Spread) -> None:
        tell = self._spreads.pop(spread)
        if not self._spreads:
            self._idle.set()
        if tell is not None:
            tell()

    async def _holders(self, items: Sequence[Addressed]) -> dict[bytes, tuple[Contact, ...]]:
        counts: dict[bytes, int] = {}
        for item in items:
            k = placement.widened(self.largest_k(item.since))
            counts[item.key] = max(k, counts.get(item.key, 0))
        found: dict[bytes, tuple[Contact, ...]] = {}
        left = iter(counts.items())

        async def look_up() -> None:
            for key, k in left:
                found[key] = await self.substrate.lookup(key, k)

        await asyncio.gather(*(look_up() for _ in range(min(_LOOKUPS, len(counts)))))
        return found

    def _failures(
        self, contact: Contact, outcome: list[Result] | BaseException, count: int
    ) -> Sequence[Failure | None]:
        if not isinstance(outcome, BaseException):
            return [failure_of(result) for result in outcome]
        if isinstance(outcome, Unreachable):
            self.substrate.report(contact, alive=False)
        failure = outcome if isinstance(outcome, Failure) else TemporaryFailure(repr(outcome))
        return [failure] * count
