"""A domain with several hosts: what one puts off the next one takes, once, and what is over is written down before."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import structlog.testing

from gateway.outbound.message import Message, compose
from gateway.outbound.model import Unit
from gateway.outbound.schedule import Schedule
from p2pcore.errors import Tampered
from tests.gateway.outbound.machine import Machine
from tests.gateway.outbound.world import new_item
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import DropPoint, FakeMta


@pytest.mark.parametrize("at", ["MAIL", "x@d.example", "DATA", "dot"])
async def test_what_one_host_puts_off_the_next_one_takes(tmp_path: Path, dns: FakeDns, mta: FakeMta, at: str) -> None:
    """In the same attempt, and only who was put off; RFC 5321 §5.1 has the hosts tried until one takes the mail."""
    dns.add("d.example. MX 10 full.d.example.\nd.example. MX 20 mx.d.example.")
    dns.add("full.d.example. A 127.0.0.2\nmx.d.example. A 127.0.0.1")
    full = FakeMta(refusals={at: "452 4.3.1 disk full"})
    await full.start("127.0.0.2", mta.port)
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item("x@d.example", "y@d.example"))
    await machine.emptied()
    assert full.connections == 1
    taken = [path for each in (*full.taken, *mta.taken) for path in each.forward_paths]
    assert sorted(taken) == ["x@d.example", "y@d.example"]
    assert [each.forward_paths for each in mta.taken] == [
        ["x@d.example"] if "@" in at else ["x@d.example", "y@d.example"]
    ]
    await machine.stop()
    await full.stop()


@pytest.mark.parametrize("at", ["MAIL", "RCPT", "DATA"])
async def test_a_server_that_dies_leaves_its_mail_to_the_next_host(
    tmp_path: Path, dns: FakeDns, mta: FakeMta, at: DropPoint
) -> None:
    """It greets and hangs up before the final dot, so it has nothing: the mail need not wait until it is repaired."""
    dns.add("d.example. MX 10 ill.d.example.\nd.example. MX 20 mx.d.example.")
    dns.add("ill.d.example. A 127.0.0.2\nmx.d.example. A 127.0.0.1")
    ill = FakeMta(drop_at=at)
    await ill.start("127.0.0.2", mta.port)
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item("x@d.example"))
    await machine.emptied()
    assert (ill.connections, len(mta.taken)) == (1, 1)
    await machine.stop()
    await ill.stop()


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), Tampered("rot"), ZeroDivisionError()])
async def test_what_goes_wrong_at_the_next_host_undoes_nothing(
    tmp_path: Path, dns: FakeDns, mta: FakeMta, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Who got the message from the first host does not get it again, and who was put off there still is."""
    dns.add("d.example. MX 10 full.d.example.\nd.example. MX 20 mx.d.example.")
    dns.add("full.d.example. A 127.0.0.2\nmx.d.example. A 127.0.0.1")
    full = FakeMta(refusals={"y@d.example": "452 4.2.2 mailbox full"})
    await full.start("127.0.0.2", mta.port)
    composed: list[Unit] = []

    def composing(unit: Unit, *arguments: Any, **options: Any) -> Message:
        composed.append(unit)
        if len(composed) > 1:
            raise error
        return compose(unit, *arguments, **options)

    monkeypatch.setattr("gateway.outbound.destinations.compose", composing)
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item("x@d.example", "y@d.example"))
    async with asyncio.timeout(20):
        while not (await machine.queue.items())[0].recipients[1].attempts:  # noqa: ASYNC110 - as in `emptied`
            await asyncio.sleep(0.01)
    (item,) = await machine.queue.items()
    assert len(composed) == 2
    assert [(each.state, each.status) for each in item.recipients] == [("delivered", "2.0.0"), ("pending", "4.2.2")]
    await machine.stop()
    await full.stop()


async def test_who_has_the_message_is_written_down_before_another_host_is_tried(
    tmp_path: Path, dns: FakeDns, mta: FakeMta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that keeps us waiting for minutes makes no second copy of a stop meanwhile; each is told of once."""
    monkeypatch.setattr("gateway.outbound.service._DRAIN", 0.0)
    dns.add("d.example. MX 10 mx.d.example.\nd.example. MX 20 slow.d.example.")
    dns.add("mx.d.example. A 127.0.0.1\nslow.d.example. A 127.0.0.2")
    mta.refusals = {"y@d.example": "450 4.2.0 greylisted", "z@d.example": "550 5.1.1 no such user"}
    dialled, greet = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        await greet.wait()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.2", mta.port):
        machine = Machine(tmp_path, dns, mta.port, Schedule())
        await machine.start()
        with structlog.testing.capture_logs() as logs:
            await machine.queue.accept(new_item("x@d.example", "y@d.example", "z@d.example"))
            await dialled.wait()
            (item,) = await machine.queue.items()
            assert [each.state for each in item.recipients] == ["delivered", "pending", "failed"]
            greet.set()
            async with asyncio.timeout(20):
                while not (await machine.queue.items())[0].recipients[1].attempts:  # noqa: ASYNC110 - as in `emptied`
                    await asyncio.sleep(0.01)
        await machine.stop()
    told = [(each["event"], each["forward_path"]) for each in logs if "forward_path" in each]
    assert told == [("sent", "x@d.example"), ("bounced", "z@d.example"), ("deferred", "y@d.example")]


async def test_what_may_have_arrived_is_not_sent_to_the_next_host(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """A connection lost after the dot leaves a doubt, which a second host would make two mails of."""
    dns.add("d.example. MX 10 gone.d.example.\nd.example. MX 20 mx.d.example.")
    dns.add("gone.d.example. A 127.0.0.2\nmx.d.example. A 127.0.0.1")
    gone = FakeMta(drop_at="dot")
    await gone.start("127.0.0.2", mta.port)
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item("x@d.example"))
    async with asyncio.timeout(20):
        while not (await machine.queue.items())[0].recipients[0].attempts:  # noqa: ASYNC110 - as in `emptied`
            await asyncio.sleep(0.01)
    assert (len(gone.taken), mta.taken) == (1, [])
    await machine.stop()
    await gone.stop()
