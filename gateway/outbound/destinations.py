"""Few connections per destination, each used for many messages, and a pause where no host answers.

A destination's deliveries wait in one line. One worker opens the first connection; once that has come about, up to
DESTINATION_CONNECTIONS workers serve the line, each over one connection, until one is lost. A worker ends when the line
is empty. Each new connection waits its turn among those of all destinations, so a long line holds up no short one, and
a destination that never greets costs one connection. Reports to strangers have lines of their own, and
REPORT_CONNECTIONS for all of them.

Where a worker finds no host that takes a connection, everything waiting in the line is deferred with that same reason,
and so is what comes within DESTINATION_PAUSE: a dead destination with a thousand messages is dialled once a minute, not
a thousand times. The pause doubles with each failure in a row, up to DESTINATION_PAUSE_LAST; the first connection that
comes about ends all this. With a smarthost there is one destination.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Protocol

from gateway.outbound import params
from gateway.outbound.budget import Budget
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.errors import NotDelivered
from gateway.outbound.message import Message, compose
from gateway.outbound.model import Attempt, Unit
from gateway.outbound.next_host import Settled, with_next_host
from gateway.outbound.session import Session, Stale
from p2pcore.client.tasks import Tasks
from p2pcore.clock import Clock
from p2pcore.errors import Failure

_MAX_DOUBLINGS = 32


class Connector(Protocol):
    """Opens connections: gateway.outbound.courier.Courier. `single`: all to one host, whatever the domain."""

    @property
    def single(self) -> bool: ...

    async def connect(self, domain: str, *, besides: str = "") -> Session:
        """`besides`: the one host that is not wanted. Raises NotDelivered."""
        ...


@dataclass(slots=True, eq=False)
class _Delivery:
    unit: Unit
    settled: Settled | None
    done: "asyncio.Future[list[Attempt]]"


@dataclass(frozen=True, slots=True)
class _Pause:
    """`failures` in a row; the last one, `failure`, is the answer from `since` until `until`."""

    since: int
    until: int
    failure: NotDelivered
    failures: int

    def holds(self, now: int) -> bool:
        """A clock that was set back ends the pause, instead of making it days long."""
        return self.since <= now < self.until


@dataclass(slots=True)
class _Line:
    """`answers`: a connection has come about, and none was lost since."""

    domain: str
    stranger: bool
    waiting: deque[_Delivery] = field(default_factory=deque)
    workers: int = 0
    answers: bool = False


class Destinations:
    """Delivers units by MX, or, where `single`, to a smarthost. `signer` None: nothing is signed."""

    def __init__(
        self,
        courier: Connector,
        signer: DkimSigner | None,
        clock: Clock,
        *,
        connections: int = params.CONNECTIONS,
        report_connections: int = params.REPORT_CONNECTIONS,
        per_destination: int = params.DESTINATION_CONNECTIONS,
        pause: int = params.DESTINATION_PAUSE,
        pause_last: int = params.DESTINATION_PAUSE_LAST,
        memory: int = params.MEMORY,
        small_memory: int = params.SMALL_MEMORY,
    ) -> None:
        self._courier = courier
        self._signer = signer
        self._clock = clock
        self._per_destination = per_destination
        self._pause = pause
        self._pause_last = pause_last
        self.single = courier.single
        self._lines: dict[tuple[str, bool], _Line] = {}
        self._pauses: dict[str, _Pause] = {}
        self._connections = asyncio.Semaphore(connections)
        self._for_strangers = asyncio.Semaphore(report_connections)
        self._memory = Budget(memory - small_memory)
        self._small_memory = Budget(small_memory)
        self._tasks = Tasks()

    async def deliver(self, unit: Unit, settled: Settled | None = None) -> list[Attempt]:
        """Return how it went for each recipient of `unit`, or for as many as one transaction has: the others stay due.

        So what a death of the process may repeat, since its outcome was not recorded, is bounded. Before the others are
        tried at another host, which may take minutes, `settled` is told what is over, and that is not returned.
        """
        pause = self._pauses.get(unit.domain)
        if pause is not None and pause.holds(self._clock()):
            return refused(unit, pause.failure)
        delivery = _Delivery(unit, settled, asyncio.get_running_loop().create_future())
        stranger = not unit.item.reverse_path
        line = self._lines.setdefault((unit.domain, stranger), _Line(unit.domain, stranger))
        line.waiting.append(delivery)
        self._staff(line)
        try:
            return await delivery.done
        finally:
            if delivery in line.waiting:
                line.waiting.remove(delivery)

    def forget_pauses(self) -> None:
        """Dial again at once: an administrator asked for it."""
        self._pauses.clear()

    async def stop(self) -> None:
        """End all connections; deliveries under way are cancelled."""
        await self._tasks.stop()

    def _most(self, line: _Line) -> int:
        return self._per_destination if line.answers else 1

    def _staff(self, line: _Line) -> None:
        """Have as many workers as the line may have, and has deliveries for."""
        for _ in range(min(self._most(line) - line.workers, len(line.waiting))):
            line.workers += 1
            self._tasks.start(self._work(line), f"mail to {line.domain or 'the smarthost'}")

    async def _work(self, line: _Line) -> None:
        try:
            while line.waiting and line.workers <= self._most(line):
                async with self._turn(line):
                    if line.waiting:  # other workers may have done it all meanwhile
                        await self._serve(line)
        except NotDelivered as failure:
            self._remember(line.domain, failure)
            for delivery in line.waiting:
                _answer(delivery, refused(delivery.unit, failure))
            line.waiting.clear()
        except Exception as error:
            for delivery in line.waiting:
                _fail(delivery, error)
            line.waiting.clear()
            raise
        finally:
            line.workers -= 1
            if not line.workers:
                for delivery in line.waiting:
                    delivery.done.cancel()
                if self._lines.get((line.domain, line.stranger)) is line:
                    del self._lines[line.domain, line.stranger]

    @asynccontextmanager
    async def _turn(self, line: _Line) -> AsyncIterator[None]:
        async with self._for_strangers if line.stranger else nullcontext(), self._connections:
            yield

    async def _serve(self, line: _Line) -> None:
        """Serve the line over one connection, as long as it is usable. Raises NotDelivered: there is no connection."""
        session = await self._courier.connect(line.domain)
        self._pauses.pop(line.domain, None)
        line.answers = True
        self._staff(line)
        try:
            while session.usable and line.waiting:
                delivery = line.waiting.popleft()
                if delivery.done.done():
                    continue
                try:
                    attempts = await self._send(session, delivery.unit)
                    line.answers = session.is_open
                    _answer(delivery, await self._at_next_host(session, delivery, attempts))
                except Stale:
                    line.waiting.appendleft(delivery)
                    return
                except (Failure, OSError) as error:
                    _fail(delivery, error)
                except Exception as error:  # noqa: BLE001 - whoever waits for it logs it
                    _fail(delivery, error)
                    session.abort()  # nobody knows what was said over it
                    return
                except BaseException:
                    delivery.done.cancel()
                    raise
        except BaseException:
            session.abort()  # no time for politeness: somebody waits for this to stop
            raise
        await session.quit()

    async def _send(self, session: Session, unit: Unit) -> list[Attempt]:
        """Return how it went for as many recipients as one transaction has."""
        one = replace(unit, recipients=unit.recipients[: params.MAX_TRANSACTION_RECIPIENTS])
        size = unit.item.sealed.content_size
        # What reads slowly keeps its message in memory for long: small ones never wait for large ones
        budget = self._small_memory if size <= params.SMALL else self._memory
        async with budget.taken(2 * size):
            message = await self._compose(one, eight_bit=session.takes_eight_bit)
            return await session.deliver(message)

    async def _at_next_host(self, session: Session, delivery: _Delivery, attempts: list[Attempt]) -> list[Attempt]:
        unit = delivery.unit

        async def deliver(other: Session, numbers: Collection[int]) -> list[Attempt]:
            put_off = tuple(each for each in unit.recipients if each.number in numbers)
            return await self._send(other, replace(unit, recipients=put_off))

        return await with_next_host(self._courier, unit.domain, session, attempts, deliver, delivery.settled)

    async def _compose(self, unit: Unit, *, eight_bit: bool) -> Message:
        return await asyncio.to_thread(compose, unit, self._signer, eight_bit=eight_bit)

    def _remember(self, destination: str, failure: NotDelivered) -> None:
        if failure.permanent:
            return  # asking DNS again costs little, and a new record counts at once
        last = self._pauses.pop(destination, None)
        now = self._clock()
        if last is not None and last.holds(now):
            self._pauses[destination] = last  # several workers found the same
            return
        if len(self._pauses) >= params.MAX_PAUSES:
            self._pauses.pop(next(iter(self._pauses)))
        failures = 1 if last is None else last.failures + 1
        length = min(self._pause << min(failures - 1, _MAX_DOUBLINGS), self._pause_last)
        self._pauses[destination] = _Pause(now, now + length, failure, failures)


def refused(unit: Unit, failure: NotDelivered | Failure) -> list[Attempt]:
    """Return one and the same outcome for every recipient of `unit`."""
    if isinstance(failure, NotDelivered):
        outcome = (failure.status, failure.reply, failure.remote)
        permanent = failure.permanent
    else:
        outcome = (failure.status, str(failure), "")
        permanent = not failure.temporary
    return [Attempt(each.number, "failed" if permanent else "deferred", *outcome) for each in unit.recipients]


def _answer(delivery: _Delivery, attempts: list[Attempt]) -> None:
    if not delivery.done.done():
        delivery.done.set_result(attempts)


def _fail(delivery: _Delivery, error: Exception) -> None:
    if not delivery.done.done():
        delivery.done.set_exception(error)
