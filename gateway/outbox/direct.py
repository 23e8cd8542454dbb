"""Other domains' recipients by MX from the agent itself, where the operator wants that (§5: a peer may be a gateway).

| the connection, or the process, ends | what happens |
|---|---|
| before the final dot | tried again |
| after it, before the reply is recorded | tried again: the remote may get it twice (RFC 1047) |

Outcomes are recorded after each transaction with a destination, however long the others take; where that fails (a full
disk) it is repeated, and not the delivery.

No DKIM signature: the domain's signing keys are its gateways'.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from gateway.mail.trace import date_time
from gateway.outbound.errors import NotDelivered
from gateway.outbound.message import Message as WireMessage
from gateway.outbound.message import sendable, written
from gateway.outbound.model import Attempt, QueuedRecipient, destination_of
from gateway.outbound.mx import Target
from gateway.outbound.next_host import with_next_host
from gateway.outbound.params import MAX_TRANSACTION_RECIPIENTS
from gateway.outbox import contents
from gateway.outbox.model import LOCAL_ERROR, Message, Outcome, Recipient, State
from gateway.outbox.params import DESTINATIONS_AT_ONCE
from gateway.outbox.store import OutboxStore

log = structlog.get_logger("outbox")

Ended = Callable[[dict[int, Outcome]], Awaitable[None]]
"""Records outcomes; durable on return, raises nothing."""

_STATES: dict[str, State] = {"delivered": "delivered", "deferred": "pending", "failed": "failed"}


class Connection(Protocol):
    """An open connection to a destination: gateway.outbound.session.Session."""

    @property
    def target(self) -> Target: ...

    @property
    def in_doubt(self) -> bool: ...

    @property
    def takes_eight_bit(self) -> bool: ...

    async def deliver(self, message: WireMessage) -> list[Attempt]:
        """Return how it went for each recipient."""
        ...

    async def quit(self) -> None: ...

    def abort(self) -> None: ...


class Courier(Protocol):
    """Finds and dials destinations: gateway.outbound.courier.Courier. `single`: there is one, whatever the domain."""

    @property
    def single(self) -> bool: ...

    async def connect(self, domain: str, *, besides: str = "") -> Connection:
        """Return a connection to one of the domain's hosts, but `besides`. Raises NotDelivered."""
        ...


class DirectDelivery:
    """Delivers to destinations, one transaction after the other at each."""

    def __init__(self, store: OutboxStore, courier: Courier, domain: str) -> None:
        self._store = store
        self._courier = courier
        self._domain = domain

    async def deliver(self, message: Message, recipients: Sequence[Recipient], ended: Ended) -> None:
        """Try all `recipients` once and tell `ended` the outcomes, by number. Raises StoreError, OSError.

        Raises nothing where something may have been delivered.
        """
        copies = await asyncio.to_thread(self._copies, message)
        destinations: dict[str, list[QueuedRecipient]] = {}
        for recipient in recipients:
            domain = destination_of(recipient.forward_path)
            destinations.setdefault("" if self._courier.single else domain, []).append(_queued(recipient, domain))
        room = asyncio.Semaphore(DESTINATIONS_AT_ONCE)

        async def visit(domain: str, group: Sequence[QueuedRecipient]) -> None:
            async with room:
                for start in range(0, len(group), MAX_TRANSACTION_RECIPIENTS):
                    part = tuple(group[start : start + MAX_TRANSACTION_RECIPIENTS])
                    try:
                        outcomes = await self._visit(domain, copies, part, ended)
                    except Exception as error:  # whatever it is, it cuts off no delivery to another destination
                        log.exception("attempt failed", id=message.id, destination=domain, error=repr(error))
                        outcomes = {each.number: LOCAL_ERROR for each in part}
                    await ended(outcomes)

        async with asyncio.TaskGroup() as tasks:
            for domain, group in destinations.items():
                tasks.create_task(visit(domain, group), name=f"delivery to {domain}")

    async def _visit(
        self, domain: str, copies: "_Copies", recipients: tuple[QueuedRecipient, ...], ended: Ended
    ) -> dict[int, Outcome]:
        """Return how it went for those of whom `ended` was not told meanwhile."""

        async def settled(attempts: Sequence[Attempt]) -> None:
            await ended(_outcomes(attempts))

        async def put_off(other: Connection, numbers: Collection[int]) -> list[Attempt]:
            again = tuple(each for each in recipients if each.number in numbers)
            return await other.deliver(copies.of(other, again))

        try:
            connection = await self._courier.connect(domain)
        except NotDelivered as failure:
            outcome = Outcome(
                "failed" if failure.permanent else "pending", failure.status, failure.reply, failure.remote
            )
            return {recipient.number: outcome for recipient in recipients}
        try:
            attempts = await connection.deliver(copies.of(connection, recipients))
            attempts = await with_next_host(self._courier, domain, connection, attempts, put_off, settled)
        finally:
            await connection.quit()
        return _outcomes(attempts)

    def _copies(self, message: Message) -> "_Copies":
        """Return what is sent to each kind of host. Raises StoreError, OSError."""
        received = f"Received: by {self._domain} with ESMTPA id {message.id};\r\n\t{date_time(message.accepted)}\r\n"
        content = b"".join(contents.pieces(self._store.files, message.content))

        def copy(*, eight_bit: bool) -> WireMessage:
            octets = received.encode() + sendable(content, eight_bit=eight_bit)
            return written(octets, message.reverse_path, (), ret=message.ret, envelope_id=message.envelope_id)

        whole = copy(eight_bit=True)
        return _Copies(whole, whole if whole.body == "7BIT" else copy(eight_bit=False))


@dataclass(frozen=True, slots=True)
class _Copies:
    """A message for hosts that take 8-bit content and for those that do not; without recipients."""

    eight_bit: WireMessage
    seven_bit: WireMessage

    def of(self, connection: Connection, recipients: tuple[QueuedRecipient, ...]) -> WireMessage:
        """Return the one that the host takes."""
        return replace(self.eight_bit if connection.takes_eight_bit else self.seven_bit, recipients=recipients)


def _outcomes(attempts: Sequence[Attempt]) -> dict[int, Outcome]:
    return {
        each.number: Outcome(_STATES[each.outcome], each.status, each.reply, each.remote, each.success)
        for each in attempts
    }


def _queued(recipient: Recipient, domain: str) -> QueuedRecipient:
    return QueuedRecipient(
        number=recipient.number,
        forward_path=recipient.forward_path,
        domain=domain,
        notify=recipient.notify,
        orcpt=recipient.orcpt,
        state="pending",
        next_attempt=recipient.next_attempt,
        attempts=recipient.attempts,
        last_attempt=recipient.last_attempt,
        status=recipient.status,
        reply=recipient.reply,
        remote=recipient.remote,
    )
