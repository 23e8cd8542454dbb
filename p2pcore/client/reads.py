"""Fetching one sealed body from any of its replicas: hedged, checked, widened past k (§2.2, §3.3)."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from p2pcore import params
from p2pcore.client.batching import Batcher
from p2pcore.client.gathered import Gathered
from p2pcore.client.hedging import Hedge, Progress
from p2pcore.client.held_file import HeldFile
from p2pcore.client.peers import Peers
from p2pcore.client.placement import widened
from p2pcore.client.results import value_of
from p2pcore.client.tasks import shared
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import CannotKnow, NoGoodCopy, Refused, Tampered, Unreachable
from p2pcore.records import Fetch, FetchedBody, ObjectStatement, Result, SignedStatement, decode

Accept = Callable[[Contact, SignedStatement], Awaitable[None]]  # raises Failure: this replica's statement is no good

_IN_THREAD = 64 << 10  # octets: hashing more than this on the event loop would be felt


@dataclass(frozen=True, slots=True)
class Fetched:
    """A sealed body with the digest asked for; its statement is as `node` gave it, checked by `accept` only."""

    object: SignedStatement
    body: bytes | HeldFile
    node: Contact

    def close(self) -> None:
        if isinstance(self.body, HeldFile):
            self.body.close()


@dataclass(frozen=True, slots=True)
class Asked:
    """A small body that a node has been asked for, among others: its result is number `index` of `answers`."""

    answers: "asyncio.Future[list[Result]]"
    index: int
    since: float  # by the event loop's clock

    async def result(self) -> Result:
        """Return the node's result. Raises the Failure that the request met."""
        return (await shared(self.answers))[self.index]


class BodyReader:
    """Fetches bodies; large ones go to nameless files in `directory`."""

    def __init__(self, *, substrate: Substrate, batcher: Batcher, peers: Peers, directory: Path) -> None:
        self._substrate = substrate
        self._batcher = batcher
        self._peers = peers
        self._directory = directory

    async def fetch(
        self,
        key: bytes,
        digest: bytes,
        size: int,
        k: int,
        first: Contact | None = None,
        accept: Accept | None = None,
        asked: Asked | None = None,
    ) -> Fetched:
        """Return the sealed body of `size` octets; a body above INLINE_BODY as a file that the caller closes.

        `first` is asked before all others (the node that reported the entry most likely has the body), unless it has
        been `asked` already; the next replica is asked where `accept` raises a Failure. Raises CannotKnow where none of
        the closest `widened(k)` nodes gave it: it may exist on a node that is down. That is NoGoodCopy where some gave
        other octets or another statement: one of them that lies is enough for it, so it proves no more.
        """

        async def accepted(contact: Contact, fetched: Fetched) -> Fetched:
            if accept is not None:
                try:
                    await accept(contact, fetched.object)
                except BaseException as error:
                    fetched.close()
                    if isinstance(error, Refused) and not error.temporary:
                        raise Tampered(str(error)) from error
                    raise
            return fetched

        async def small(contact: Contact, _progress: Progress) -> Fetched:
            answer = asked if contact == first else None
            return await accepted(contact, await self._small(contact, key, digest, size, answer))

        async def large(contact: Contact, progress: Progress) -> Fetched:
            return await accepted(contact, await self._large(contact, key, digest, size, progress))

        hedge: Hedge[Fetched] = Hedge(small if size <= params.INLINE_BODY else large, discard=Fetched.close)
        head_start = asyncio.get_running_loop().time() - asked.since if asked is not None else 0.0
        fetched = await hedge.first_good(self._candidates(key, k, first), head_start=head_start)
        for contact, failure in hedge.failures.items():
            if isinstance(failure, Unreachable):
                self._substrate.report(contact, alive=False)
        if fetched is None:
            said = "; ".join(f"{contact.endpoint}: {failure}" for contact, failure in hedge.failures.items())
            bad = sum(isinstance(failure, Tampered) for failure in hedge.failures.values())
            if bad:
                raise NoGoodCopy(f"body {key.hex()}: {bad} of {len(hedge.failures)} nodes gave a bad copy ({said})")
            raise CannotKnow(f"body {key.hex()}: none of {len(hedge.failures)} nodes gave it ({said})")
        return fetched

    async def _candidates(self, key: bytes, k: int, first: Contact | None) -> AsyncIterator[Contact]:
        asked: set[bytes] = set()
        if first is not None:
            asked.add(first.node_id)
            yield first
        for count in (k, widened(k)):
            for contact in await self._substrate.lookup(key, count):
                if contact.node_id not in asked:
                    asked.add(contact.node_id)
                    yield contact

    async def _small(self, contact: Contact, key: bytes, digest: bytes, size: int, asked: Asked | None) -> Fetched:
        if asked is not None:
            result = await asked.result()
        else:
            result = await self._batcher.submit(contact, Fetch(key, digest), expected=size)
        if len(result.value) > _IN_THREAD:
            fetched = await asyncio.to_thread(small_body, contact, result, key, digest)
        else:
            fetched = small_body(contact, result, key, digest)
        return Fetched(fetched.object, fetched.body, contact)

    async def _large(self, contact: Contact, key: bytes, digest: bytes, size: int, progress: Progress) -> Fetched:
        held = HeldFile.temporary(self._directory)
        try:
            unwritten = Gathered(params.SEGMENT_SIZE)
            left = size

            async def sink(piece: bytes) -> None:
                nonlocal left
                progress()
                left -= len(piece)
                if unwritten.add(piece) and left:  # what comes last is written with the rest of it
                    await asyncio.to_thread(held.file.writelines, unwritten.take())

            signed = await self._peers.get_body(contact, key, digest, sink, size)  # raises Tampered on another digest
            _check(signed, key, digest)
            await asyncio.to_thread(_finish, held, unwritten)
        except BaseException:
            held.close()
            raise
        return Fetched(signed, held, contact)


def small_body(contact: Contact, result: Result, key: bytes, digest: bytes) -> FetchedBody:
    """Return the sealed body that `contact` answered a Fetch with; its statement's signature is not looked at.

    Raises the failure that `result` names, Malformed, Tampered.
    """
    fetched = decode(FetchedBody, value_of(result))
    _check(fetched.object, key, digest)
    if hashlib.sha256(fetched.body).digest() != digest:
        raise Tampered(f"{contact.endpoint}: body {key.hex()} does not match its digest")
    return fetched


def _finish(held: HeldFile, unwritten: Gathered) -> None:
    held.file.writelines(unwritten.take())
    held.file.flush()


def _check(signed: SignedStatement, key: bytes, digest: bytes) -> None:
    statement = signed.statement
    if not isinstance(statement, ObjectStatement) or statement.object_key != key or statement.digest != digest:
        raise Tampered(f"object {key.hex()}: the statement is another object's")
