"""Injecting one message: its body and every recipient's entry on w nodes before anybody says "stored".

A small body and the entries for the same node travel in one request, which the node commits in one transaction, the
entries only if it took the body; entries for other nodes follow when the body has its quorum. A large body goes first,
in a PUT per node. So no entry reaches an inbox whose owner could not fetch the body, however often a sender tries.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from p2pcore import params
from p2pcore.client.held_file import HeldFile
from p2pcore.client.quorum import Quorum
from p2pcore.client.replicas import Replicas, Written
from p2pcore.client.writes import Target, Upload
from p2pcore.clock import Clock
from p2pcore.crypto.sealing import NotificationSealer
from p2pcore.crypto.statements import Signer
from p2pcore.errors import Failure
from p2pcore.mail.injection import Injection, Order, RecipientPart, SealedContent, prepare_all
from p2pcore.mail.rounds import Rounds
from p2pcore.records import (
    Append,
    AppendAfter,
    EntryStatement,
    Operation,
    Replication,
    SignedStatement,
    Store,
    Verdicts,
    identity,
)

_ROUND = 256  # messages of one signing round: some 50 ms of sealing at most
_SMALL_ROUND = 24  # entries sealed and signed on the event loop: some 3 ms
_SHARED = 1.0  # seconds that keys of notifications are used for; then they are forgotten
_COMPANY = 0.06  # seconds that a message waits for others to be signed with, while more of them are being stored


class Stored(Struct, frozen=True):
    """`nodes`: the fewest nodes that had confirmed the body or any entry when the answer was given, of `k`."""

    nodes: int
    k: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the body and each entry (in the injection's order) went: the nodes that confirmed, or the failure."""

    body: Written | Failure
    entries: tuple[Written | Failure, ...]


class Sender:
    """Prepares and injects messages signed by `signer`."""

    def __init__(self, replicas: Replicas, signer: Signer, clock: Clock) -> None:
        self._replicas = replicas
        self._signer = signer
        self._clock = clock
        self._sealer = NotificationSealer()
        self._forgetting = False  # a timer will call _forget_keys
        self._rounds: Rounds[Order, Injection] = Rounds(
            self._prepare_all, limit=_ROUND, name="sealing and signing", small=_is_small, patience=_COMPANY
        )

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection:
        """Return the finished statements; concurrent calls share one signature.

        While more messages are being stored than wait it waits for company, _COMPANY at most: a signature costs every
        node and the reader more to verify than this one to make.

        Raises TooLarge, CertificateRefused, Malformed.
        """
        if not self._forgetting:
            self._forget_later()
        return await self._rounds.do(Order(sealed, tuple(parts), verdicts))

    async def inject(self, injection: Injection) -> Stored:
        """Store the body and append every entry; all of it is durable on w nodes on return, the rest follows.

        The caller may remove the body's file as soon as this returns or raises. Raises CannotKnow, NoQuorum, InboxFull,
        NodeFull, … (`Quorum.failure`), after WRITE_DEADLINE at most for each of the two steps of a large body.
        """
        outcome = await self.inject_each(injection)
        written: list[Written] = []
        for part in (outcome.body, *outcome.entries):
            if isinstance(part, Failure):
                raise part
            written.append(part)
        return Stored(min(len(part.nodes) for part in written), written[0].k)

    async def inject_each(self, injection: Injection) -> Outcome:
        """As `inject`, but say for each entry how it went. Raises CannotKnow where k and w are not known."""
        with self._rounds.following():
            return await self._inject_each(injection)

    async def _inject_each(self, injection: Injection) -> Outcome:
        replication = self._replicas.current()
        if injection.body_statement.size <= params.INLINE_BODY:
            octets = await _octets(injection.body)
            body = self._body_target(injection, Store(injection.object, octets), replication)
            entries = [self._entry_target(entry, replication, body) for entry in injection.entries]
            await self._replicas.spread([body, *entries])
        else:
            body = await self._upload(injection, replication)
            entries = [self._entry_target(entry, replication) for entry in injection.entries]
            if body.quorum.reached:
                await self._replicas.spread(entries)
            else:
                for entry in entries:
                    entry.quorum.give_up(body.quorum.failure())
        return Outcome(_outcome(body.quorum), tuple(_outcome(entry.quorum) for entry in entries))

    async def stop(self) -> None:
        """Cancel sealing and signing under way; what was injected is the Replicas' to finish."""
        await self._rounds.stop()

    async def _upload(self, injection: Injection, replication: Replication) -> Target:
        if isinstance(injection.body, bytes):
            body = self._body_target(injection, Upload(injection.object, injection.body), replication)
            await self._replicas.spread([body])
            return body
        held = HeldFile.of(injection.body)
        body = self._body_target(injection, Upload(injection.object, held.path), replication)
        # Not closed before nothing reads it any more: its number would soon be another file's
        await self._replicas.spread([body], completed=held.close)
        return body

    def _body_target(self, injection: Injection, content: Operation | Upload, replication: Replication) -> Target:
        key = injection.body_statement.object_key
        return self._replicas.target(key, content, k=replication.k, w=replication.w)

    def _entry_target(self, entry: SignedStatement, replication: Replication, body: Target | None = None) -> Target:
        """Return the target of an entry; it comes after `body` where that travels in the same requests."""
        statement = entry.statement
        assert isinstance(statement, EntryStatement)
        together = None
        if body is not None and isinstance(body.content, Store):
            together = AppendAfter(entry, identity(body.content.object.statement))
        return self._replicas.target(
            statement.inbox_key, Append(entry), k=replication.k, w=replication.w, after=body, together=together
        )

    def _prepare_all(self, orders: Sequence[Order]) -> Sequence[Injection | Exception]:
        return prepare_all(orders, self._signer, self._sealer, self._clock())

    def _forget_later(self) -> None:
        self._forgetting = True
        asyncio.get_running_loop().call_later(_SHARED, self._forget_keys)

    def _forget_keys(self) -> None:
        self._sealer = NotificationSealer()  # a round in a thread finishes with the one that it has
        self._forgetting = False
        if self._rounds.busy:  # a round that comes late puts keys into this one
            self._forget_later()


def _is_small(orders: Sequence[Order]) -> bool:
    return sum(len(order.parts) for order in orders) <= _SMALL_ROUND


def _outcome(quorum: Quorum) -> Written | Failure:
    return Written(tuple(quorum.confirmed), quorum.k) if quorum.reached else quorum.failure()


async def _octets(body: bytes | Path) -> bytes:
    return body if isinstance(body, bytes) else await asyncio.to_thread(body.read_bytes)
