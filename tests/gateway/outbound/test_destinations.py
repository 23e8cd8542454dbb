"""Connections per destination, their reuse, and the pause where nobody answers."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dkim
import pytest

from gateway.outbound import params
from gateway.outbound.budget import Budget
from gateway.outbound.courier import Courier
from gateway.outbound.destinations import Destinations
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.errors import NotDelivered
from gateway.outbound.message import Message, compose
from gateway.outbound.model import Attempt, Unit
from gateway.outbound.queue import Queue
from gateway.outbound.session import Session
from p2pcore.crypto.dkim_keys import dkim_record, make_ed25519_dkim_key
from p2pcore.errors import Tampered
from p2pcore.params import DAY
from tests.gateway.outbound.test_session import TIMEOUTS, Hosts
from tests.gateway.outbound.world import new_item
from tests.support.fake_mta import FakeMta
from tests.support.identities import ManualClock


class Connections:
    """A Connector that counts, and refuses while `refusing` is set."""

    def __init__(self, mta: FakeMta) -> None:
        self.single = False
        self.asked = 0
        self.refusing: NotDelivered | None = None
        self._courier = Courier(Hosts(mta.port), "mx.example.org", TIMEOUTS)

    async def connect(self, domain: str, *, besides: str = "") -> Session:
        self.asked += not besides
        if self.refusing is not None:
            raise self.refusing
        return await self._courier.connect(domain, besides=besides)


@pytest.fixture
def connections(mta: FakeMta) -> Connections:
    return Connections(mta)


async def units(queue: Queue, count: int, domain: str = "remote.example") -> list[Unit]:
    for number in range(count):
        await queue.accept(new_item(f"x@{domain}", submission_id=f"{domain}-{number}"))
    return list((await queue.claim(1_000)).units)


async def test_waiting_messages_share_a_connection(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """Ten messages for one destination with one connection allowed go over one."""
    destinations = Destinations(connections, None, clock, per_destination=1)
    results = await asyncio.gather(*(destinations.deliver(unit) for unit in await units(queue, 10)))
    assert {attempt.outcome for attempts in results for attempt in attempts} == {"delivered"}
    assert (mta.connections, len(mta.taken)) == (1, 10)
    await destinations.stop()


async def test_a_delivery_is_one_transaction(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """A hundred recipients at a time; the others stay due, so that a death repeats only what was not recorded."""
    destinations = Destinations(connections, None, clock)
    await queue.accept(new_item(*(f"u{number}@remote.example" for number in range(105))))
    for expected in (range(100), range(100, 105)):
        (unit,) = (await queue.claim(10)).units
        attempts = await destinations.deliver(unit)
        assert [each.number for each in attempts] == list(expected)
        await queue.record(unit.item, attempts)
        queue.release(unit)
    assert [len(taken.forward_paths) for taken in mta.taken] == [100, 5]
    await destinations.stop()


async def test_connections_at_once_are_bounded(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """No destination sees more than its number of connections at once, and all together not more than theirs."""
    destinations = Destinations(connections, None, clock, per_destination=3, connections=2)
    work = await units(queue, 8) + await units(queue, 8, "other.example")
    await asyncio.gather(*(destinations.deliver(unit) for unit in work))
    assert len(mta.taken) == 16
    assert mta.most_at_once == 2
    await destinations.stop()


async def outcomes_of_two(
    queue: Queue, mta: FakeMta, destinations: Destinations, between: Callable[[], None]
) -> list[str]:
    """Deliver two messages; `between` happens while the remote has the first one's content and has not answered."""
    first, second = await units(queue, 2)
    mta.hold = asyncio.Event()
    delivering = asyncio.gather(destinations.deliver(first), destinations.deliver(second))
    await mta.at_dot.wait()
    between()
    mta.hold.set()
    return [attempts[0].outcome for attempts in await delivering]


async def test_a_stale_connection_costs_nothing(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """A remote that hangs up at the second MAIL gets the second message over a new connection."""

    def hang_up() -> None:
        mta.drop_at, mta.drops = "MAIL", 1

    destinations = Destinations(connections, None, clock, per_destination=1)
    assert await outcomes_of_two(queue, mta, destinations, hang_up) == ["delivered", "delivered"]
    assert mta.connections == 2
    await destinations.stop()


async def test_a_dead_destination_is_dialled_once(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """Everything waiting shares the failure, what comes within the pause too; afterwards it is dialled again."""
    destinations = Destinations(connections, None, clock, per_destination=1)
    connections.refusing = NotDelivered("4.4.1", "no answer", "mx")
    work = await units(queue, 5)
    results = await asyncio.gather(*(destinations.deliver(unit) for unit in work))
    assert results == [[Attempt(0, "deferred", "4.4.1", "no answer", "mx")]] * 5
    assert connections.asked == 1
    connections.refusing = None
    assert (await destinations.deliver(work[0]))[0].outcome == "deferred"
    assert connections.asked == 1
    clock.advance(params.DESTINATION_PAUSE)
    assert (await destinations.deliver(work[0]))[0].outcome == "delivered"
    await destinations.stop()


@pytest.mark.parametrize("signed", [False, True])
async def test_a_host_that_takes_7_bits_gets_7_bits(
    queue: Queue, connections: Connections, mta: FakeMta, clock: ManualClock, *, signed: bool
) -> None:
    """RFC 6152 §3: 8-bit text arrives quoted-printable under a DKIM signature that fits; what is signed inside
    bounces with 5.6.3, for a conversion would break that signature."""
    mta.extensions = []
    kind = "multipart/signed; boundary=b" if signed else "text/plain; charset=utf-8"
    head = f"From: alice@example.org\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    content = (head + ("--b\r\n\r\nüber\r\n--b--\r\n" if signed else "über eine Zeile\r\n")).encode()
    await queue.accept(new_item(content=content))
    (unit,) = (await queue.claim(10)).units
    key = make_ed25519_dkim_key()
    destinations = Destinations(connections, DkimSigner("example.org", {"s1": key}), clock)
    (attempt,) = await destinations.deliver(unit)
    await destinations.stop()
    if signed:
        assert (attempt.outcome, attempt.status) == ("failed", "5.6.3")
        assert not mta.taken
        return
    arrived = mta.taken[0].content
    assert b"Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BCber eine Zeile\r\n" in arrived
    assert dkim.verify(arrived, dnsfunc=lambda name, timeout=5: dkim_record(key).encode())


async def test_a_pause_doubles_with_each_failure(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """1, 2, 4, 8, 16 and again 16 minutes; a connection that comes about begins anew with 1."""
    destinations = Destinations(connections, None, clock)
    connections.refusing = NotDelivered("4.4.1", "no answer", "mx")
    (unit,) = await units(queue, 1)
    for minutes in (1, 2, 4, 8, 16, 16):
        await destinations.deliver(unit)
        asked = connections.asked
        clock.advance(minutes * params.DESTINATION_PAUSE - 1)
        await destinations.deliver(unit)
        assert connections.asked == asked
        clock.advance(1)
    connections.refusing = None
    assert (await destinations.deliver(unit))[0].outcome == "delivered"
    connections.refusing = NotDelivered("4.4.1", "no answer", "mx")
    await destinations.deliver(unit)
    clock.advance(params.DESTINATION_PAUSE)
    asked = connections.asked
    await destinations.deliver(unit)
    assert connections.asked == asked + 1
    await destinations.stop()


async def test_after_a_pause_one_worker_tries(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """A destination that was dead is dialled once, however much waits for it."""
    destinations = Destinations(connections, None, clock)
    connections.refusing = NotDelivered("4.4.1", "no answer", "mx")
    work = await units(queue, 4)
    await destinations.deliver(work[0])
    clock.advance(params.DESTINATION_PAUSE)
    asked = connections.asked
    await asyncio.gather(*(destinations.deliver(unit) for unit in work))
    assert connections.asked == asked + 1
    await destinations.stop()


async def test_an_administrator_ends_the_pause(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """After `forget_pauses` the destination is dialled at once."""
    destinations = Destinations(connections, None, clock)
    connections.refusing = NotDelivered("4.4.1", "no answer")
    (unit,) = await units(queue, 1)
    await destinations.deliver(unit)
    connections.refusing = None
    destinations.forget_pauses()
    assert (await destinations.deliver(unit))[0].outcome == "delivered"
    await destinations.stop()


async def test_a_domain_that_takes_no_mail_fails(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """A permanent reason is final for all recipients, and is not remembered: the record may change."""
    destinations = Destinations(connections, None, clock)
    connections.refusing = NotDelivered("5.1.10", "null MX")
    (unit,) = await units(queue, 1)
    assert await destinations.deliver(unit) == [Attempt(0, "failed", "5.1.10", "null MX")]
    connections.refusing = None
    assert (await destinations.deliver(unit))[0].outcome == "delivered"
    await destinations.stop()


async def test_a_damaged_body_is_told_and_hurts_no_other(
    queue: Queue, connections: Connections, clock: ManualClock
) -> None:
    """A body that does not open raises for its own unit; the next one goes over the same connection."""
    destinations = Destinations(connections, None, clock, per_destination=1)
    bad, good = await units(queue, 2)
    assert isinstance(bad.item.sealed.source, Path)
    bad.item.sealed.source.write_bytes(b"nothing")
    results = await asyncio.gather(destinations.deliver(bad), destinations.deliver(good), return_exceptions=True)
    assert isinstance(results[0], Tampered)
    assert not isinstance(results[1], BaseException)
    assert results[1][0].outcome == "delivered"
    assert connections.asked == 1
    await destinations.stop()


async def test_an_unforeseen_failure_is_heard_by_all_who_wait(
    queue: Queue, connections: Connections, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a worker that ended in a way nobody thought of."""

    async def broken(domain: str) -> Session:
        raise ZeroDivisionError(domain)

    monkeypatch.setattr(connections, "connect", broken)
    destinations = Destinations(connections, None, clock, per_destination=1)
    work = await units(queue, 3)
    results = await asyncio.gather(*(destinations.deliver(unit) for unit in work), return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 3
    await destinations.stop()


async def test_an_unforeseen_failure_of_one_message_is_heard_and_hurts_no_other(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a stop, after which the message would be tried again without a pause."""
    destinations = Destinations(connections, None, clock, per_destination=1)
    bad, good = await units(queue, 2)

    def composing(unit: Unit, *arguments: Any, **options: Any) -> Message:
        if unit.item.id == bad.item.id:
            raise ZeroDivisionError
        return compose(unit, *arguments, **options)

    monkeypatch.setattr("gateway.outbound.destinations.compose", composing)
    results = await asyncio.gather(destinations.deliver(bad), destinations.deliver(good), return_exceptions=True)
    assert isinstance(results[0], ZeroDivisionError)
    assert not isinstance(results[1], BaseException)
    assert results[1][0].outcome == "delivered"
    await destinations.stop()


async def test_stopping_cuts_deliveries_off(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """`stop` ends connections; who waited for an outcome is cancelled and has recorded none."""
    mta.hold = asyncio.Event()
    destinations = Destinations(connections, None, clock, per_destination=1)
    tasks = [asyncio.create_task(destinations.deliver(unit)) for unit in await units(queue, 2)]
    await mta.at_dot.wait()
    await destinations.stop()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    mta.hold.set()


async def test_a_budget_is_given_in_order() -> None:
    """No more than the budget is out; a request above all of it gets it alone; a waiter that gives up blocks nobody."""
    budget = Budget(10)
    log: list[str] = []
    release = asyncio.Event()

    async def hold(name: str, octets: int) -> None:
        async with budget.taken(octets):
            log.append(name)
            await release.wait()

    first = asyncio.create_task(hold("first", 6))
    huge = asyncio.create_task(hold("huge", 1_000))
    last = asyncio.create_task(hold("last", 4))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert log == ["first"]
    huge.cancel()
    await asyncio.gather(huge, return_exceptions=True)
    release.set()
    await asyncio.gather(first, last)
    async with budget.taken(1_000):
        assert log == ["first", "last"]


class Domains:
    """A Connector with a port for each domain; `silent` domains never answer, `dialled` counts."""

    single = False

    def __init__(self, ports: dict[str, int], silent: str = "") -> None:
        self.silent = silent
        self.dialled: list[str] = []
        self._couriers = {domain: Courier(Hosts(port), "mx.example.org", TIMEOUTS) for domain, port in ports.items()}

    async def connect(self, domain: str, *, besides: str = "") -> Session:
        self.dialled.append(domain)
        if domain == self.silent:
            await asyncio.Event().wait()
        return await self._couriers[domain].connect(domain, besides=besides)


async def test_a_destination_that_never_greets_costs_one_connection(
    queue: Queue, mta: FakeMta, clock: ManualClock
) -> None:
    """However much waits for it: with two connections in all, the others go on."""
    connector = Domains({"other.example": mta.port}, silent="silent.example")
    destinations = Destinations(connector, None, clock, connections=2)
    work = await units(queue, 6, "silent.example")
    silent = [asyncio.create_task(destinations.deliver(unit)) for unit in work]
    async with asyncio.timeout(10):
        for unit in await units(queue, 3, "other.example"):
            assert (await destinations.deliver(unit))[0].outcome == "delivered"
    assert connector.dialled.count("silent.example") == 1
    await destinations.stop()
    await asyncio.gather(*silent, return_exceptions=True)


async def test_a_long_line_lets_the_others_have_their_turn(
    queue: Queue, mta: FakeMta, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one connection goes round: a destination with one message does not wait for another's thousands."""
    monkeypatch.setattr(params, "MAX_TRANSACTIONS", 2)
    connector = Domains({"long.example": mta.port, "short.example": mta.port})
    destinations = Destinations(connector, None, clock, connections=1)
    work = await units(queue, 6, "long.example") + await units(queue, 1, "short.example")
    await asyncio.gather(*(destinations.deliver(unit) for unit in work))
    assert [taken.forward_paths[0] for taken in mta.taken].index("x@short.example") == 2
    await destinations.stop()


async def test_reports_to_strangers_have_few_connections(queue: Queue, mta: FakeMta, clock: ManualClock) -> None:
    """A stranger's hosts that never answer take none of those that users' mail needs, not even to her own domain."""
    connector = Domains({"other.example": mta.port, "silent.example": mta.port}, silent="silent.example")
    destinations = Destinations(connector, None, clock, connections=2, report_connections=1)
    for number, domain in enumerate(("silent.example", "other.example")):
        await queue.accept(new_item(f"x@{domain}", submission_id=f"report-{number}", reverse_path=""))
        clock.advance(1)
    reports = [asyncio.create_task(destinations.deliver(unit)) for unit in (await queue.claim(9)).units]
    async with asyncio.timeout(10):
        (mine,) = await units(queue, 1, "other.example")
        assert (await destinations.deliver(mine))[0].outcome == "delivered"
    assert connector.dialled == ["silent.example", "other.example"]
    await destinations.stop()
    await asyncio.gather(*reports, return_exceptions=True)


async def test_small_messages_do_not_wait_for_memory_behind_large_ones(
    queue: Queue, mta: FakeMta, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that reads a large message slowly keeps its memory: what is small goes on."""
    monkeypatch.setattr(params, "SMALL", 1_000)
    mta.hold = asyncio.Event()
    other = FakeMta()
    await other.start()
    connector = Domains({"slow.example": mta.port, "other.example": other.port})
    destinations = Destinations(connector, None, clock, memory=8_000, small_memory=4_000)
    for number in range(3):
        await queue.accept(new_item("x@slow.example", submission_id=f"{number}", content=b"a: b\r\n" * 300))
    large = [asyncio.create_task(destinations.deliver(unit)) for unit in (await queue.claim(9)).units]
    await mta.at_dot.wait()
    async with asyncio.timeout(10):
        (small,) = await units(queue, 1, "other.example")
        assert (await destinations.deliver(small))[0].outcome == "delivered"
    mta.hold.set()
    assert [(await each)[0].outcome for each in large] == ["delivered"] * 3
    await destinations.stop()
    await other.stop()


async def test_a_remote_that_has_had_enough_gets_the_rest_over_another_connection(
    queue: Queue, mta: FakeMta, connections: Connections, clock: ManualClock
) -> None:
    """RFC 5321 §3.8: 421 to a later MAIL ends that connection, and is no answer about the message."""

    def have_had_enough() -> None:
        mta.once["MAIL"] = "421 4.7.0 too many messages over this connection"

    destinations = Destinations(connections, None, clock, per_destination=1)
    assert await outcomes_of_two(queue, mta, destinations, have_had_enough) == ["delivered", "delivered"]
    assert mta.connections == 2
    await destinations.stop()


async def test_a_clock_set_back_ends_a_pause(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """A pause of a minute is not a day long because somebody corrects the clock."""
    destinations = Destinations(connections, None, clock)
    connections.refusing = NotDelivered("4.4.1", "no answer")
    (unit,) = await units(queue, 1)
    await destinations.deliver(unit)
    connections.refusing = None
    clock.advance(-DAY)
    assert (await destinations.deliver(unit))[0].outcome == "delivered"
    await destinations.stop()


async def test_a_smarthost_is_one_destination(queue: Queue, connections: Connections, clock: ManualClock) -> None:
    """Mail to twenty domains shares its few connections and, where it does not answer, its pause."""
    connections.single = True
    destinations = Destinations(connections, None, clock, per_destination=1)
    for number in range(20):
        await queue.accept(new_item(f"x@d{number}.example", submission_id=f"{number}"))
    work = (await queue.claim(100, "example.org")).units
    results = await asyncio.gather(*(destinations.deliver(unit) for unit in work))
    assert {attempts[0].outcome for attempts in results} == {"delivered"}
    assert connections.asked == 1
    connections.refusing = NotDelivered("4.4.1", "no answer")
    for unit in work:
        assert (await destinations.deliver(unit))[0].outcome == "deferred"
    assert connections.asked == 2
    await destinations.stop()
