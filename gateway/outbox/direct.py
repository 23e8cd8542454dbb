"""Other domains' recipients by MX from the agent itself, where the operator wants that (§5: a peer may be a gateway).

| the connection, or the process, ends | what happens |
|---|---|
| before the final dot | tried again |
| after it, before the reply is recorded | tried again: the remote may get it twice (RFC 1047) |

Each destination's outcomes are recorded as soon as it has answered, however long the others take; where that fails (a
full disk) it is repeated, and not the delivery.

No DKIM signature: the domain's signing keys are its gateways'.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from gateway.mail.trace import date_time
from gateway.outbound.errors import NotDelivered
from gateway.outbound.message import Message as WireMessage
from gateway.outbound.model import Attempt, QueuedRecipient, destination_of
from gateway.outbound.mx import Target
from gateway.outbound.next_host import with_next_host
from gateway.outbox import contents
from gateway.outbox.model import Message, Outcome, Recipient, State
from gateway.outbox.params import DESTINATIONS_AT_ONCE
from gateway.outbox.store import OutboxStore

Ended = Callable[[dict[int, Outcome]], Awaitable[None]]
"""Records outcomes; durable on return, raises nothing."""

_STATES: dict[str, State] = {"delivered": "delivered", "deferred": "pending", "failed": "failed"}


class Connection(Protocol):
    """An open connection to a destination: gateway.outbound.session.Session."""

    @property
    def target(self) -> Target: ...

    @property
    def in_doubt(self) -> bool: ...

    async def deliver(self, message: WireMessage) -> list[Attempt]:
        """Return how it went for each recipient."""
        ...

    async def quit(self) -> None: ...

    def abort(self) -> None: ...


class Courier(Protocol):
    """Finds and dials destinations: gateway.outbound.courier.Courier."""

    async def connect(self, domain: str, *, besides: str = "") -> Connection:
        """Return a connection to one of the domain's hosts, but `besides`. Raises NotDelivered."""
        ...


class DirectDelivery:
    """Delivers to destinations, one connection for each."""

    def __init__(self, store: OutboxStore, courier: Courier, domain: str) -> None:
        self._store = store
        self._courier = courier
        self._domain = domain

    async def deliver(self, message: Message, recipients: Sequence[Recipient], ended: Ended) -> None:
        """Try all `recipients` once and tell `ended` the outcomes, by number. Raises StoreError, OSError.

        Raises nothing where something may have been delivered.
        """
        content = await asyncio.to_thread(self._stuffed, message)
        destinations: dict[str, list[Recipient]] = {}
        for recipient in recipients:
            destinations.setdefault(destination_of(recipient.forward_path), []).append(recipient)
        room = asyncio.Semaphore(DESTINATIONS_AT_ONCE)

        async def visit(domain: str, group: Sequence[Recipient]) -> None:
            async with room:
                await ended(await self._visit(domain, _wire(message, group, domain, *content)))

        async with asyncio.TaskGroup() as tasks:
            for domain, group in destinations.items():
                tasks.create_task(visit(domain, group), name=f"delivery to {domain}")

    async def _visit(self, domain: str, message: WireMessage) -> dict[int, Outcome]:
        async def put_off(other: Connection, numbers: Collection[int]) -> list[Attempt]:
            recipients = tuple(each for each in message.recipients if each.number in numbers)
            return await other.deliver(replace(message, recipients=recipients))

        try:
            connection = await self._courier.connect(domain)
        except NotDelivered as failure:
            outcome = Outcome(
                "failed" if failure.permanent else "pending", failure.status, failure.reply, failure.remote
            )
            return {recipient.number: outcome for recipient in message.recipients}
        try:
            attempts = await connection.deliver(message)
            attempts = await with_next_host(self._courier, domain, connection, attempts, put_off)
        finally:
            await connection.quit()
        return {
            each.number: Outcome(_STATES[each.outcome], each.status, each.reply, each.remote, each.success)
            for each in attempts
        }

    def _stuffed(self, message: Message) -> tuple[bytes, int]:
        """Return trace and content, dot-stuffed but for the final dot, and their size before that."""
        received = f"Received: by {self._domain} with ESMTPA id {message.id};\r\n\t{date_time(message.accepted)}\r\n"
        pieces = contents.stuffed(contents.pieces(self._store.files, message.content))
        return received.encode() + b"".join(pieces).removesuffix(b".\r\n"), len(received) + message.content.size


def _wire(message: Message, group: Sequence[Recipient], domain: str, stuffed: bytes, size: int) -> WireMessage:
    return WireMessage(
        reverse_path=message.reverse_path,
        recipients=tuple(
            QueuedRecipient(
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
            for recipient in group
        ),
        stuffed=stuffed,
        size=size,
        body="7BIT" if stuffed.isascii() else "8BITMIME",
        utf8_header=not stuffed[: stuffed.find(b"\r\n\r\n")].isascii(),
        ret=message.ret,
        envelope_id=message.envelope_id,
    )
