"""Operations for the same node travel in one request: gathered only while a request to that node is under way.

An operation for an idle peer leaves at once (with whatever else became ready in the same turn of the event loop). While
its request is under way, what comes in for that peer waits and leaves together, under one transport signature: GATHER
after the answer, for what the answer sets free follows soon, or as soon as a request is full; a second request
starts early only when a whole one's worth is waiting. So a single message pays no delay (a fixed one triples
its latency), and load pays no signature per message.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Protocol

from p2pcore import params
from p2pcore.client.peers import Peers
from p2pcore.dht.contact import Contact
from p2pcore.errors import Failure, PermanentFailure, Refused, TemporaryFailure, TooLarge, Unreachable
from p2pcore.records import (
    Acknowledge,
    AcknowledgeStatement,
    Append,
    EntryStatement,
    Offer,
    Operation,
    Publish,
    Result,
    SignedStatement,
    Store,
)

BATCH_OPERATIONS = 512  # well below MAX_BATCH_OPERATIONS: an answer should not keep the others waiting for long
BATCH_OCTETS = 4 << 20  # of request and expected answer; MAX_BATCH (8 MiB) bounds each of them
WAITING_OCTETS = 64 << 20  # waiting for one peer: a node that lags so far behind counts as unreachable
IN_FLIGHT = 2  # requests to one peer
GATHER = 0.001  # seconds that what waited for an answer goes on waiting for company
_OVERHEAD = 600  # octets: a signed statement with its Merkle path, generously

Answer = asyncio.Future[list[Result]]


class Addressee(Protocol):
    """Whoever is told how a request went, on the event loop; a future is one."""

    def done(self) -> bool:
        """Return whether nobody cares any more."""

    def set_result(self, results: list[Result], /) -> None:
        """Take one Result per operation, in order."""

    def set_exception(self, failure: Failure, /) -> None:
        """Take the Failure that the whole request met."""


@dataclass(frozen=True, slots=True)
class Load:
    """Operations that travel in the same request if they fit one; `weight`: about the octets they take in it."""

    operations: Sequence[Operation]
    weight: int

    @classmethod
    def of(cls, operations: Sequence[Operation], expected: int = 0) -> "Load":
        """Return the load of `operations`, whose answers may have `expected` octets in all."""
        return cls(operations, sum([weight_of(operation) for operation in operations]) + expected)

    @property
    def fits(self) -> bool:
        """Whether one request takes it."""
        return self.weight <= BATCH_OCTETS and len(self.operations) <= BATCH_OPERATIONS


@dataclass(slots=True)
class _Parcel:
    operations: Sequence[Operation]
    weight: int
    answer: Addressee


class Batcher:
    """Gathers operations per peer and sends them as batch requests over `peers`."""

    def __init__(self, peers: Peers) -> None:
        self._peers = peers
        self._lanes: dict[Contact, _Lane] = {}

    def post(self, contact: Contact, operations: Sequence[Operation], *, expected: int = 0) -> Answer:
        """Return a future of one Result per operation, in order; they travel in the same request if they fit one.

        `expected` is how many octets the answers may have in all. The future fails with the Failure that the whole
        request met; Unreachable where WAITING_OCTETS are waiting for `contact` already. Raises TooLarge.
        """
        load = Load.of(operations, expected)
        if load.fits:
            return self._post(contact, load)
        return asyncio.ensure_future(_joined([self._post(contact, part) for part in _split(operations, expected)]))

    def send(self, contact: Contact, load: Load, addressee: Addressee) -> None:
        """As `post`, but tell `addressee`, which costs less than a future. Never before this returns."""
        if load.fits:
            self._lane(contact).post(load, addressee)
        else:
            self.post(contact, load.operations).add_done_callback(partial(_hand_on, addressee))

    def _post(self, contact: Contact, load: Load) -> Answer:
        answer: Answer = asyncio.get_running_loop().create_future()
        self._lane(contact).post(load, answer)
        return answer

    def _lane(self, contact: Contact) -> "_Lane":
        lane = self._lanes.get(contact)
        if lane is None:
            lane = self._lanes[contact] = _Lane(self._peers, contact, self._lanes)
        return lane

    async def submit(self, contact: Contact, operation: Operation, *, expected: int = 0) -> Result:
        """Return the Result of one operation. Raises the Failure that the request met."""
        return (await self.post(contact, (operation,), expected=expected))[0]

    async def stop(self) -> None:
        """Cancel what is under way; everybody waiting gets Unreachable."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            await lane.stop()


class _Lane:
    """One peer's waiting parcels and the requests to it that are under way; removes itself when idle."""

    def __init__(self, peers: Peers, contact: Contact, lanes: dict[Contact, "_Lane"]) -> None:
        self._peers = peers
        self._contact = contact
        self._lanes = lanes
        self._waiting: deque[_Parcel] = deque()
        self._weight = 0
        self._filled = asyncio.Event()  # what waits is a whole request's worth, or has waited for GATHER
        self._couriers: set[asyncio.Task[None]] = set()

    def post(self, load: Load, answer: Addressee) -> None:
        parcel = _Parcel(load.operations, load.weight, answer)
        if self._weight > WAITING_OCTETS:
            failure = Unreachable(f"{self._contact.endpoint}: {self._weight} octets wait for it already")
            asyncio.get_running_loop().call_soon(_fail, (parcel,), failure)
            return
        self._waiting.append(parcel)
        self._weight += load.weight
        if self._full:
            self._filled.set()
        if not self._couriers or (self._full and len(self._couriers) < IN_FLIGHT):
            courier = asyncio.create_task(self._deliver(), name=f"batches to {self._contact.endpoint}")
            self._couriers.add(courier)
            courier.add_done_callback(self._ended)

    @property
    def _full(self) -> bool:
        return self._weight >= BATCH_OCTETS or len(self._waiting) >= BATCH_OPERATIONS

    async def _deliver(self) -> None:
        courier = asyncio.current_task()
        assert courier is not None
        try:
            while self._waiting and (len(self._couriers) == 1 or self._full):
                parcels = self._take()
                if parcels:
                    await self._send(parcels)
                    await self._gather()
        finally:
            # here and not in the done callback, which runs a turn later: what is posted in between would lie unsent
            self._couriers.discard(courier)

    async def _gather(self) -> None:
        """Where something waits already, wait GATHER for more, or until a request is full."""
        if not self._waiting or self._full:
            return
        self._filled.clear()
        over = asyncio.get_running_loop().call_later(GATHER, self._filled.set)
        try:
            await self._filled.wait()
        finally:
            over.cancel()

    def _take(self) -> list[_Parcel]:
        """Return the parcels that fit one request, oldest first; those nobody waits for any more are dropped."""
        parcels: list[_Parcel] = []
        operations = weight = 0
        while self._waiting:
            following = self._waiting[0]
            full = operations + len(following.operations) > BATCH_OPERATIONS or weight + following.weight > BATCH_OCTETS
            if parcels and full:
                break
            self._waiting.popleft()
            self._weight -= following.weight
            if following.answer.done():
                continue
            parcels.append(following)
            operations += len(following.operations)
            weight += following.weight
        return parcels

    async def _send(self, parcels: list[_Parcel]) -> None:
        try:
            results = await self._peers.call(
                self._contact, list(chain.from_iterable(parcel.operations for parcel in parcels))
            )
        except (Refused, PermanentFailure) as failure:
            if len(parcels) == 1:
                _fail(parcels, failure)
            else:  # one bad operation must not fail the others that happened to travel with it
                for parcel in parcels:
                    await self._send([parcel])
            return
        except Failure as failure:
            _fail(parcels, failure)
            return
        except asyncio.CancelledError:
            _fail(parcels, Unreachable("stopping"))
            raise
        except Exception as error:
            _fail(parcels, TemporaryFailure(f"{self._contact.endpoint}: {type(error).__name__}"))
            raise
        start = 0
        for parcel in parcels:
            end = start + len(parcel.operations)
            _tell(parcel.answer, results[start:end])
            start = end

    def _ended(self, courier: asyncio.Task[None]) -> None:
        if not courier.cancelled() and (error := courier.exception()) is not None:
            _fail(self._waiting, TemporaryFailure(f"{self._contact.endpoint}: {type(error).__name__}"))
            self._waiting.clear()
            self._weight = 0
            _report(error, f"{courier.get_name()} ended")
        if not self._couriers and not self._waiting and self._lanes.get(self._contact) is self:
            del self._lanes[self._contact]

    async def stop(self) -> None:
        couriers = list(self._couriers)
        for courier in couriers:
            courier.cancel()
        await asyncio.gather(*couriers, return_exceptions=True)
        _fail(self._waiting, Unreachable("stopping"))
        self._waiting.clear()


def _fail(parcels: Sequence[_Parcel] | deque[_Parcel], failure: Failure) -> None:
    for parcel in parcels:
        _tell(parcel.answer, type(failure)(*failure.args))  # a traceback of its own for each


def _tell(addressee: Addressee, answer: list[Result] | Failure) -> None:
    if addressee.done():
        return
    try:
        if isinstance(answer, Failure):
            addressee.set_exception(answer)
        else:
            addressee.set_result(answer)
    except Exception as error:  # noqa: BLE001 - reported; the others that travelled with it are not its victims
        _report(error, "an answer was not taken")


def _report(error: BaseException, message: str) -> None:
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _hand_on(addressee: Addressee, answer: Answer) -> None:
    failure = Unreachable("stopping") if answer.cancelled() else answer.exception()
    if failure is None:
        _tell(addressee, answer.result())
    else:
        _tell(addressee, failure if isinstance(failure, Failure) else TemporaryFailure(repr(failure)))


async def _joined(answers: Sequence[Answer]) -> list[Result]:
    parts = await asyncio.gather(*answers, return_exceptions=True)
    results: list[Result] = []
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        results.extend(part)
    return results


def _split(operations: Sequence[Operation], expected: int) -> list[Load]:
    """Return consecutive parts that fit one request each. Raises TooLarge for a single giant."""
    share = expected // max(len(operations), 1)
    weights = [weight_of(operation) + share for operation in operations]
    if max(weights, default=0) > params.MAX_BATCH:
        raise TooLarge(f"an operation of {max(weights)} octets does not fit a batch request")
    parts: list[Load] = []
    start = total = 0
    for index, weight in enumerate(weights):
        if index > start and (total + weight > BATCH_OCTETS or index - start >= BATCH_OPERATIONS):
            parts.append(Load(operations[start:index], total))
            start, total = index, 0
        total += weight
    return [*parts, Load(operations[start:], total)]


def weight_of(operation: Operation) -> int:
    """Return about how many octets `operation` takes in a request."""
    match operation:
        case Store(body=content):
            return _OVERHEAD + len(content)
        case Append(entry=SignedStatement(statement=EntryStatement(notification=sealed))):
            return _OVERHEAD + len(sealed)
        case Publish(published=published):
            return _OVERHEAD + len(published.content)
        case Acknowledge(acknowledgement=SignedStatement(statement=AcknowledgeStatement(entries=entries))):
            return _OVERHEAD + 34 * len(entries)
        case Offer(identities=identities):
            return _OVERHEAD + 34 * len(identities)
        case _:
            return _OVERHEAD
