"""The dispatcher of outgoing mail: takes what is due from the queue, has it tried, and writes down how it went.

Nothing is polled: the queue wakes the dispatcher when mail comes in, when an outcome is recorded and when the next time
in it has come. What is under way is claimed; an outcome that cannot be written down now (a full disk) is kept in memory
and written later, because trying again would send the message twice. Nothing new is begun meanwhile: were the process
to die then, all that was sent since would be sent once more.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Protocol

import structlog

from gateway.mail.dsn import wanted
from gateway.outbound import params
from gateway.outbound.destinations import refused
from gateway.outbound.errors import NotDelivered, QueueUnusable
from gateway.outbound.model import Attempt, KeptInjection, OwedReport, Unit, Work
from gateway.outbound.next_host import Settled
from gateway.outbound.queue import Queue
from p2pcore.client.tasks import Tasks
from p2pcore.errors import Failure, Tampered

log = structlog.get_logger("mail")

_DRAIN = 10.0  # seconds that deliveries under way get when the gateway stops
_UNFORESEEN = NotDelivered("4.3.0", "local error")


class Delivery(Protocol):
    """The way into our own domain: gateway.outbound.network.NetworkDelivery."""

    async def deliver(self, unit: Unit) -> list[Attempt]:
        """Return how it went."""
        ...


class MxDelivery(Protocol):
    """The way out: gateway.outbound.destinations.Destinations."""

    async def deliver(self, unit: Unit, settled: Settled) -> list[Attempt]:
        """Return how it went, as far as `settled` was not told; a recipient without an attempt stays due."""
        ...

    @property
    def single(self) -> bool: ...

    def forget_pauses(self) -> None: ...

    async def stop(self) -> None: ...


class Reports(Protocol):
    """gateway.outbound.bounce.Reporter."""

    async def make(self, owed: OwedReport) -> str: ...

    async def inject(self, kept: KeptInjection) -> bool: ...


class Outbound:
    """Empties `queue`: recipients of `domain` by `network`, all others by `mx`. It opens and closes none of them."""

    def __init__(
        self,
        queue: Queue,
        mx: MxDelivery,
        network: Delivery,
        reports: Reports,
        domain: str,
        *,
        under_way: int = params.MAX_UNDER_WAY,
        record_retry: int = params.RECORD_RETRY,
        nodes_pause: int = params.NODES_PAUSE,
    ) -> None:
        self._queue = queue
        self._mx = mx
        self._network = network
        self._reports = reports
        self._domain = domain
        self._apart = domain if mx.single else None
        self._under_way = under_way
        self._record_retry = record_retry / 1_000
        self._nodes_pause = nodes_pause
        self._nodes = asyncio.Event()
        self._dispatcher = Tasks()
        self._deliveries = Tasks()
        self._room = asyncio.Event()
        self._count = 0
        self._writable = asyncio.Event()
        self._writable.set()
        self._unwritten = 0

    async def start(self) -> None:
        """Begin with what is due, also from before a crash."""
        self._dispatcher.start(self._dispatch(), "outgoing mail")
        self._dispatcher.start(self._follow_nodes(), "nodes that come back")

    async def stop(self) -> None:
        """Begin nothing new; what is under way gets some seconds, then its connections are cut and it stays due."""
        await self._dispatcher.stop()
        await self._deliveries.stop(drain=_DRAIN)
        await self._mx.stop()

    def nodes_came(self) -> None:
        """Try soon what our own network put off: a node is there that was not."""
        self._nodes.set()

    async def retry(self, item_id: int | None = None) -> int:
        """Try now, also where a destination is being given a pause; return the number of recipients."""
        self._mx.forget_pauses()
        return await self._queue.retry(item_id)

    async def _dispatch(self) -> None:
        while True:
            try:
                await self._queue.wait(self._apart)
                await self._writable.wait()
                work = await self._queue.claim(self._under_way - self._count, self._apart)
            except Exception as failure:  # whatever it is, mail that waits must not wait for a restart
                log.exception("queue unusable", error=repr(failure))
                await asyncio.sleep(self._record_retry)  # a disk does not tell when it is well again
                continue
            self._begin(work)
            while self._count >= self._under_way:
                self._room.clear()
                await self._room.wait()

    async def _follow_nodes(self) -> None:
        while True:
            await self._nodes.wait()
            self._nodes.clear()
            try:
                await self._queue.hasten(self._domain, self._nodes_pause)
            except Exception as failure:  # it is tried at its own time then
                log.exception("queue unusable", error=repr(failure))
            await asyncio.sleep(self._nodes_pause / 1_000)  # at most so often, whatever comes and goes

    def _begin(self, work: Work) -> None:
        for unit in work.units:
            self._start(unit, self._attempt(unit), f"delivery of {unit.item.id} to {unit.domain}")
        for owed in work.reports:
            self._start(owed, self._report(owed), f"report on {owed.item.id}")
        for kept in work.injections:
            self._start(kept, self._inject(kept), f"storing report {kept.id}")

    def _start(self, claimed: Unit | OwedReport | KeptInjection, work: Coroutine[None, None, None], name: str) -> None:
        self._count += 1
        self._deliveries.start(work, name).add_done_callback(lambda _: self._ended(claimed))

    def _ended(self, claimed: Unit | OwedReport | KeptInjection) -> None:
        self._count -= 1
        self._room.set()
        self._queue.release(claimed)

    async def _attempt(self, unit: Unit) -> None:
        written = partial(self._write_down, unit)
        try:
            if unit.domain == self._domain:
                attempts = await self._network.deliver(unit)
            else:
                attempts = await self._mx.deliver(unit, written)
        except Tampered as failure:
            log.exception("failed", where="outgoing mail", item=unit.item.id, error=str(failure))
            attempts = refused(unit, NotDelivered("5.3.0", "the message is damaged in the queue"))
        except (Failure, OSError) as failure:
            log.warning("deferred", item=unit.item.id, destination=unit.domain, detail=str(failure))
            attempts = refused(unit, NotDelivered("4.3.0", "local error"))
        except Exception as error:
            log.exception("failed", where="outgoing mail", item=unit.item.id, error=repr(error))
            attempts = refused(unit, _UNFORESEEN)
        await written(attempts)

    async def _write_down(self, unit: Unit, attempts: Sequence[Attempt]) -> None:
        await self._surely(lambda: self._queue.record(unit.item, attempts), first=True)
        _tell(unit, attempts)

    async def _report(self, owed: OwedReport) -> None:
        made = await self._surely(lambda: self._reports.make(owed))
        log.info("report", id=owed.item.submission_id, item=owed.item.id, to=owed.item.reverse_path, result=made)

    async def _inject(self, kept: KeptInjection) -> None:
        stored = await self._surely(lambda: self._reports.inject(kept))
        log.info("reported" if stored else "report deferred", item=kept.item_id)

    async def _surely(self, write: Callable[[], Coroutine[None, None, object]], *, first: bool = False) -> object:
        """Do what writes to the queue until it is written; its claim is kept meanwhile, so nothing is tried twice.

        `first`: before anything else is begun.
        """
        holding_up = False
        try:
            while True:
                try:
                    return await write()
                except Exception as failure:
                    log.exception("failed", where="outgoing queue", error=repr(failure))
                    if first and not holding_up and isinstance(failure, QueueUnusable | OSError):
                        holding_up = True
                        self._unwritten += 1
                        self._writable.clear()
                    await asyncio.sleep(self._record_retry)  # a disk does not tell when it is well again
        finally:
            self._unwritten -= holding_up
            if not self._unwritten:
                self._writable.set()


def _tell(unit: Unit, attempts: Sequence[Attempt]) -> None:
    recipients = {each.number: each for each in unit.recipients}
    for attempt in attempts:
        recipient = recipients[attempt.number]
        event = {"delivered": "sent", "deferred": "deferred", "failed": "bounced"}[attempt.outcome]
        if event == "bounced" and not (unit.item.reverse_path and wanted("failed", recipient.notify)):
            event = "undeliverable"  # a bounce is told to somebody: this is not
        log.info(
            event,
            id=unit.item.submission_id,
            item=unit.item.id,
            reverse_path=unit.item.reverse_path,
            forward_path=recipient.forward_path,
            remote=attempt.remote,
            status=attempt.status,
            reply=attempt.reply,
        )
