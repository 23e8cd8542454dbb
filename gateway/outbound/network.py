"""Recipients of our own domain: into their inboxes, by the primitives that mail from outside takes (docs/flow.md §3).

Finished statements are kept in the queue before the first append, and a later try repeats exactly those, so however
often this is tried, and wherever it was killed, an inbox has the message once.
"""

from collections.abc import Sequence
from typing import Protocol

from gateway.mail.trace import MethodResult, authentication_results, return_path
from gateway.outbound.model import Attempt, KeptInjection, QueuedRecipient, QueueItem, Unit
from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure, PermanentFailure, TooLarge
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent
from p2pcore.mail.names import Recipients
from p2pcore.mail.send import Outcome
from p2pcore.records import Verdicts


class Names(Protocol):
    """Whom an address means: p2pcore.mail.names.DomainNames."""

    async def recipient(self, address: str) -> Recipients: ...


class Injector(Protocol):
    """Stores messages: p2pcore.mail.send.Sender, signing as this gateway."""

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection: ...

    async def inject_each(self, injection: Injection) -> Outcome: ...


class Keeper(Protocol):
    """Keeps finished statements: gateway.outbound.queue.Queue."""

    async def network_injections(self, item: QueueItem) -> list[KeptInjection]: ...

    async def keep_injection(
        self, item: QueueItem, injection: Injection, covers: dict[int, tuple[int, ...]]
    ) -> KeptInjection: ...


class NetworkDelivery:
    """Delivers units of our own domain. `hostname` is this gateway's name in trace and verdicts."""

    def __init__(self, names: Names, injector: Injector, queue: Keeper, hostname: str) -> None:
        self._names = names
        self._injector = injector
        self._queue = queue
        self._hostname = hostname

    async def deliver(self, unit: Unit) -> list[Attempt]:
        """Return how it went for each recipient of `unit`. Raises QueueUnusable."""
        attempts: dict[int, Attempt] = {}
        waiting = {each.number: each for each in unit.recipients}
        for kept in await self._queue.network_injections(unit.item):
            again = [waiting.pop(number) for number in kept.covers if number in waiting]
            if again:
                attempts |= await self._inject(kept, again)
        while waiting:
            fresh = await self._keep(unit.item, waiting, attempts)
            if fresh is not None:
                attempts |= await self._inject(fresh, [waiting.pop(number) for number in fresh.covers])
        return [attempts[each.number] for each in unit.recipients]

    async def _keep(
        self, item: QueueItem, waiting: dict[int, QueuedRecipient], attempts: dict[int, Attempt]
    ) -> KeptInjection | None:
        """Finish and keep statements for `waiting`, or for as many of it as one body can have.

        Who cannot be reached leaves it and gets an outcome.
        """
        certificates: dict[bytes, tuple[Certificate, str]] = {}
        inboxes: dict[int, tuple[Certificate, ...]] = {}
        for number, recipient in list(waiting.items()):
            try:
                found = (await self._names.recipient(recipient.forward_path)).certificates
                theirs = {one.inbox_key: (one, recipient.forward_path) for one in found}
                if len(theirs) > params.MAX_DELETE_RIGHTS:
                    raise TooLarge(f"the address leads to more than {params.MAX_DELETE_RIGHTS} users")
            except Failure as failure:
                attempts[number] = _refused(number, failure)
                del waiting[number]
                continue
            if len(certificates.keys() | theirs.keys()) <= params.MAX_DELETE_RIGHTS:
                inboxes[number] = found
                for inbox, each in theirs.items():
                    certificates.setdefault(inbox, each)
        if not inboxes:
            return None
        trace = self._trace(item)
        parts = [RecipientPart(each, item.reverse_path, path, trace) for each, path in certificates.values()]
        verdicts = Verdicts(gateway=self._hostname, authenticated=item.submitter)
        try:
            injection = await self._injector.prepare(item.sealed, parts, verdicts)
        except Failure as failure:
            attempts |= {number: _refused(number, failure) for number in inboxes}
            for number in inboxes:
                del waiting[number]
            return None
        order = {inbox_key: index for index, inbox_key in enumerate(certificates)}
        covers = {number: tuple(order[each.inbox_key] for each in found) for number, found in inboxes.items()}
        return await self._queue.keep_injection(item, injection, covers)

    async def _inject(self, kept: KeptInjection, recipients: Sequence[QueuedRecipient]) -> dict[int, Attempt]:
        try:
            outcome = await self._injector.inject_each(kept.injection)
        except Failure as failure:
            return {each.number: _refused(each.number, failure) for each in recipients}
        return {each.number: _attempt(each.number, outcome, kept.covers[each.number]) for each in recipients}

    def _trace(self, item: QueueItem) -> bytes:
        results = [MethodResult("auth", "pass", (("smtp.auth", item.submitter),))]  # RFC 8601 §2.7.4
        fields = return_path(item.reverse_path) + authentication_results(self._hostname, results)
        return fields.encode() + item.trace  # never our verdicts last: a content may begin with a continuation line


def _attempt(number: int, outcome: Outcome, entries: Sequence[int]) -> Attempt:
    parts = [outcome.body, *(outcome.entries[index] for index in entries)]
    failures = [part for part in parts if isinstance(part, Failure)]
    if failures:
        return _refused(number, failures[0])
    fewest = min((part for part in parts if not isinstance(part, Failure)), key=lambda part: len(part.nodes))
    reply = f"stored on {len(fewest.nodes)} of {fewest.k} nodes"
    # Her agent has yet to fetch it: handed on, and not delivered (RFC 3464 §2.3.3)
    return Attempt(number, "delivered", "2.6.0", reply, success="relayed")


def _refused(number: int, failure: Failure) -> Attempt:
    """What nodes find wrong with us (Refused) says nothing of the recipient and may be put right: it is tried again."""
    permanent = isinstance(failure, PermanentFailure)
    status = failure.status if permanent else f"4{failure.status[1:]}"
    return Attempt(number, "failed" if permanent else "deferred", status, str(failure))
