"""One attempt for one message: each due recipient by its route, then all outcomes and reports in one transaction."""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial

import structlog

from gateway.mail import dsn
from gateway.mailbox.database import Transaction
from gateway.mailbox.errors import StoreError
from gateway.outbox import contents, handover, owed, reports, rows
from gateway.outbox.direct import DirectDelivery
from gateway.outbox.gateways import GatewayDelivery
from gateway.outbox.model import LOCAL_ERROR, KeptInjection, Message, Outcome, Recipient
from gateway.outbox.network import NetworkDelivery
from gateway.outbox.params import OutboxLimits
from gateway.outbox.routes import Router, Routes
from gateway.outbox.schedule import next_attempt
from gateway.outbox.store import OutboxStore
from p2pcore import params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure

log = structlog.get_logger("outbox")


class Attempts:
    """Makes attempts; several at once for different messages."""

    def __init__(
        self,
        store: OutboxStore,
        router: Router,
        network: NetworkDelivery,
        gateways: GatewayDelivery,
        direct: DirectDelivery | None,
        clock: Clock,
        limits: OutboxLimits,
    ) -> None:
        self._store = store
        self._router = router
        self._network = network
        self._gateways = gateways
        self._direct = direct
        self._clock = clock
        self._limits = limits

    async def attempt(self, message_id: str) -> None:
        """Try every due recipient of a message once; outcomes and reports are durable on return.

        Raises StoreError, OSError where they could not be kept.
        """
        message = await self._store.read(rows.load, message_id)
        if message is None:
            return
        pending = [recipient for recipient in message.recipients if recipient.state == "pending"]
        due = _due(pending, self._clock())
        routes = await self._router.routes(due)
        async with asyncio.TaskGroup() as tasks:
            by_network = tasks.create_task(
                _surely(message, routes.by_network, self._by_network(message, routes)), name="by network"
            )
            by_gateway = tasks.create_task(
                _surely(message, routes.relayed, self._by_gateway(message, routes.relayed)), name="by gateway"
            )
            by_mx = tasks.create_task(self._by_mx(message, routes.direct), name="by MX")
        await self._record(message, by_network.result() | by_gateway.result() | by_mx.result())

    async def _recorded(self, message: Message, outcomes: Mapping[int, Outcome]) -> None:
        """Record outcomes that came about once and for all: repeated until it is done, since they are not."""
        while True:
            try:
                return await self._record(message, outcomes)
            except (StoreError, OSError) as error:
                log.exception("outcomes not recorded", id=message.id, error=repr(error))
                await asyncio.sleep(self._limits.record_retry / params.SECOND)  # a disk does not tell when it is well

    async def _by_network(self, message: Message, routes: Routes) -> dict[int, Outcome]:
        outcomes: dict[int, Outcome] = {}
        for number, recipients in routes.kept.items():
            outcomes |= await self._inject(message, recipients, number)
        for start in range(0, len(routes.found), params.MAX_DELETE_RIGHTS):
            part = routes.found[start : start + params.MAX_DELETE_RIGHTS]
            outcomes |= await self._inject_first(message, part)
        return outcomes

    async def _inject_first(
        self, message: Message, found: Sequence[tuple[Recipient, Certificate]]
    ) -> dict[int, Outcome]:
        recipients = [recipient for recipient, _ in found]
        try:
            kept = await self._network.prepare(message, found)
        except Failure as failure:
            return {recipient.number: Outcome.of(failure) for recipient in recipients}
        except (StoreError, OSError) as error:
            return _all_deferred(message, recipients, error)
        return await self._injected(message, kept, recipients, range(len(recipients)))

    async def _inject(self, message: Message, recipients: Sequence[Recipient], number: int) -> dict[int, Outcome]:
        kept = await self._store.read(handover.injection, number)
        entries = [recipient.entry or 0 for recipient in recipients]
        return await self._injected(message, kept, recipients, entries)

    async def _injected(
        self, message: Message, kept: KeptInjection, recipients: Sequence[Recipient], entries: Sequence[int]
    ) -> dict[int, Outcome]:
        try:
            outcomes = await self._network.deliver(kept, entries)
        except (Failure, StoreError, OSError) as error:
            return _all_deferred(message, recipients, error)
        return {recipient.number: outcome for recipient, outcome in zip(recipients, outcomes, strict=True)}

    async def _by_gateway(self, message: Message, recipients: Sequence[Recipient]) -> dict[int, Outcome]:
        if not recipients:
            return {}
        try:
            return await self._gateways.deliver(message, recipients)
        except (Failure, StoreError, OSError) as error:
            return _all_deferred(message, recipients, error)

    async def _by_mx(self, message: Message, recipients: Sequence[Recipient]) -> dict[int, Outcome]:
        if not recipients or self._direct is None:
            return {}
        try:
            await self._direct.deliver(message, recipients, partial(self._recorded, message))
        except (Failure, StoreError, OSError) as error:
            return _all_deferred(message, recipients, error)
        return {}

    async def _record(self, message: Message, outcomes: Mapping[int, Outcome]) -> None:
        now = self._clock()
        until = message.accepted + self._limits.give_up_after
        final = {number: _given_up(outcome) if now >= until else outcome for number, outcome in outcomes.items()}
        due = reports.due(message, final, now, self._limits.delayed_after)
        content = await self._beginning(message) if due else b""
        await self._store.write(self._keep, message, final, due, content, now, until)
        for recipient in message.recipients:
            if recipient.number in final:
                outcome = final[recipient.number]
                log.info(
                    "deferred" if outcome.state == "pending" else outcome.state,
                    id=message.id,
                    forward_path=recipient.forward_path,
                    status=outcome.status,
                    reply=outcome.reply,
                    remote=outcome.remote,
                    attempts=recipient.attempts + 1,
                )

    async def _beginning(self, message: Message) -> bytes:
        """Return what a report needs of the content; b"" where it cannot be read, for the report matters more."""
        length = dsn.MAX_RETURNED + 1
        try:
            return await asyncio.to_thread(contents.beginning, self._store.files, message.content, length)
        except (StoreError, OSError):
            log.exception("content not readable", id=message.id)
            return b""

    def _keep(
        self,
        transaction: Transaction,
        message: Message,
        outcomes: Mapping[int, Outcome],
        due: Mapping[dsn.Action, Sequence[Recipient]],
        content: bytes,
        now: int,
        until: int,
    ) -> None:
        """Outcomes, reports and, when nothing is left to do, the end of the message: one transaction."""
        if rows.load(transaction.database, message.id) is None:  # removed meanwhile
            return
        by_number = {recipient.number: recipient for recipient in message.recipients}
        rows.record(
            transaction,
            message.id,
            {
                number: (
                    outcome,
                    next_attempt(now, by_number[number].attempts + 1, until, unreached=outcome.unreached),
                )
                for number, outcome in outcomes.items()
            },
            now,
        )
        for action, recipients in due.items():
            report = reports.text(
                message,
                action,
                recipients,
                outcomes,
                domain=self._router.domain,
                content=content,
                now=now,
                retry_until=until,
            )
            purpose = f"{action} {' '.join(str(recipient.number) for recipient in recipients)}"
            owed.owe(transaction, message.id, purpose, now, report)
        rows.set_delayed(transaction, message.id, [recipient.number for recipient in due.get("delayed", ())])
        rows.finish(transaction, message.id)


async def _surely(
    message: Message, recipients: Sequence[Recipient], outcomes: Awaitable[dict[int, Outcome]]
) -> dict[int, Outcome]:
    """Return `outcomes`; what nobody foresaw puts off its own recipients, and cuts no other way short."""
    try:
        return await outcomes
    except Exception as error:
        log.exception("attempt failed", id=message.id, error=repr(error))
        return dict.fromkeys((recipient.number for recipient in recipients), LOCAL_ERROR)


def _due(pending: Sequence[Recipient], now: int) -> list[Recipient]:
    """Return who is tried now: all of a parcel go together, a part under its envelope ID would lose the others."""
    due = [recipient for recipient in pending if recipient.next_attempt <= now]
    parcels = {recipient.parcel for recipient in due if recipient.parcel is not None}
    return [recipient for recipient in pending if recipient in due or recipient.parcel in parcels]


def _given_up(outcome: Outcome) -> Outcome:
    """The last attempt's deferral is a failure."""
    if outcome.state != "pending":
        return outcome
    return Outcome("failed", dsn.EXPIRED, outcome.reply, outcome.remote)


def _all_deferred(message: Message, recipients: Sequence[Recipient], error: Exception) -> dict[int, Outcome]:
    log.error("attempt failed", id=message.id, error=repr(error))
    return {recipient.number: LOCAL_ERROR for recipient in recipients}
