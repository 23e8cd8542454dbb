"""Outgoing mail from acceptance to remote, inbox or report: real DNS, SMTP and queue on loopback."""

import asyncio
import email
import email.policy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dkim
import pytest
import structlog.testing
import uvloop

from gateway.outbound.errors import QueueUnusable
from gateway.outbound.model import Attempt, QueueItem, Unit, Work
from gateway.outbound.next_host import Settled
from gateway.outbound.queue import Queue
from gateway.outbound.schedule import Schedule
from p2pcore.clock import system_clock
from p2pcore.crypto.dkim_keys import dkim_record
from p2pcore.endpoint import Endpoint
from p2pcore.errors import NoQuorum
from p2pcore.mail.injection import Injection
from tests.gateway.outbound.machine import DKIM_KEY, SOON, Machine, until
from tests.gateway.outbound.world import CONTENT, KEY, new_item
from tests.support.fake_dns import FakeDns
from tests.support.fake_mta import FakeMta


async def test_mail_reaches_the_domains_mx_signed(machine: Machine, mta: FakeMta, dns: FakeDns) -> None:
    """What the remote stored carries our trace and a DKIM signature that verifies; the queue is empty afterwards."""
    await machine.queue.accept(new_item())
    await machine.emptied()
    (taken,) = mta.taken
    assert taken.forward_paths == ["x@remote.example"]
    assert taken.content.startswith(new_item().trace + b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/simple;")
    assert taken.content.endswith(CONTENT)
    assert dkim.verify(taken.content, dnsfunc=lambda name, timeout=5: dkim_record(DKIM_KEY).encode())
    assert dns.asked["remote.example", "MX"] == 1


async def test_one_message_goes_all_its_ways(machine: Machine, mta: FakeMta) -> None:
    """Out by MX, into our own domain, and back to the sender as a report about who does not exist."""
    mta.refusals["gone@remote.example"] = "550 5.1.1 no such user"
    await machine.queue.accept(
        new_item("x@remote.example", "gone@remote.example", "bob@example.org", "x@null.example", "nobody@example.org")
    )
    await machine.emptied()
    assert [taken.forward_paths for taken in mta.taken] == [["x@remote.example"]]
    assert len(machine.network.mail_of("bob")) == 1
    reports = [content for _, content in machine.network.mail_of("alice")]
    reported = b"".join(reports)
    for path, status in (
        ("gone@remote.example", "5.1.1"),
        ("x@null.example", "5.1.10"),
        ("nobody@example.org", "5.1.1"),
    ):
        message = next(report for report in reports if f"rfc822; {path}".encode() in report)
        assert f"Final-Recipient: rfc822; {path}\r\nAction: failed\r\nStatus: {status}\r\n".encode() in message
        assert reported.count(f"Final-Recipient: rfc822; {path}".encode()) == 1
    assert b"x@remote.example" not in reported.replace(b"To: x@remote.example", b"")


async def test_a_smarthost_gets_one_copy_for_all_domains(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """RFC 5321 §4.5.4.1: one transaction for ten domains; each recipient has her own reply, retry and report."""
    mta.refusals["x@d3.example"] = "550 5.1.1 no such user"
    mta.once["x@d7.example"] = "450 4.2.0 greylisted"
    machine = Machine(tmp_path, dns, 1, SOON, smarthost=Endpoint("127.0.0.1", mta.port))
    await machine.start()
    domains = [f"d{number}.example" for number in range(10)]
    await machine.queue.accept(new_item("bob@example.org", *(f"x@{domain}" for domain in domains)))
    await machine.emptied()
    at_once = [f"x@{domain}" for domain in domains if domain not in ("d3.example", "d7.example")]
    assert [taken.forward_paths for taken in mta.taken] == [at_once, ["x@d7.example"]]
    assert len(machine.network.mail_of("bob")) == 1
    ((_, report),) = machine.network.mail_of("alice")
    assert report.count(b"Final-Recipient:") == 1
    assert b"Final-Recipient: rfc822; x@d3.example\r\nAction: failed\r\nStatus: 5.1.1\r\n" in report
    await machine.stop()


async def test_a_deferral_is_tried_again_and_only_for_whom_it_concerns(machine: Machine, mta: FakeMta) -> None:
    """The one who was put off gets it later; the other got it once."""
    mta.once["b@remote.example"] = "450 4.2.0 greylisted"
    await machine.queue.accept(new_item("a@remote.example", "b@remote.example"))
    await machine.emptied()
    assert [taken.forward_paths for taken in mta.taken] == [["a@remote.example"], ["b@remote.example"]]
    assert mta.taken[0].content == mta.taken[1].content


async def test_a_dead_host_is_passed_over(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """The preferred MX does not answer: the next one takes the mail, in the same attempt."""
    dns.add("d.example. MX 10 dead.d.example.\nd.example. MX 20 mx.d.example.")
    dns.add("dead.d.example. A 127.0.0.2\nmx.d.example. A 127.0.0.1")
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item("x@d.example"))
    await machine.emptied()
    assert len(mta.taken) == 1
    await machine.stop()


async def test_the_sender_hears_of_delay_and_failure(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """First a report that it is delayed, then one that it has failed, each once; then it is over."""
    dns.add("remote.example. A 127.0.0.1")
    mta.refusals["MAIL"] = "451 4.3.0 not now"
    machine = Machine(tmp_path, dns, mta.port, Schedule(first=20, last=40, delayed_after=100, give_up_after=400))
    await machine.start()
    await machine.queue.accept(new_item())
    await machine.emptied()
    reports = [
        email.message_from_bytes(content, policy=email.policy.default)["Subject"]
        for _, content in machine.network.mail_of("alice")
    ]
    assert sorted(reports) == ["Mail could not be delivered", "Mail is delayed, delivery is still being tried"]
    assert mta.taken == []
    await machine.stop()


async def test_a_lost_final_reply_means_a_second_copy_and_nothing_else(machine: Machine, mta: FakeMta) -> None:
    """The connection dies between the dot and the 250: sent again, with the same octets, until a 250 is read."""
    mta.drop_at, mta.drops = "dot", 1
    await machine.queue.accept(new_item())
    await machine.emptied()
    assert len(mta.taken) == 2
    assert mta.taken[0].content == mta.taken[1].content


async def test_what_was_queued_before_the_start_is_delivered(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """A queue that was filled by an earlier process is emptied by the next."""
    dns.add("remote.example. A 127.0.0.1")
    earlier = Queue(tmp_path / "queue", KEY, system_clock)
    await earlier.open()
    await earlier.accept(new_item())
    await earlier.close()
    machine = Machine(tmp_path, dns, mta.port, SOON)
    await machine.start()
    await machine.emptied()
    assert len(mta.taken) == 1
    await machine.stop()


async def test_an_outcome_that_cannot_be_recorded_is_kept_and_not_repeated(
    machine: Machine, mta: FakeMta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full the delivered mail is not sent again; it is recorded when the disk has room."""
    record = machine.queue.record
    refusals = 3

    async def full(item: object, attempts: object) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise QueueUnusable("disk full")
        await record(item, attempts)  # type: ignore[arg-type]

    monkeypatch.setattr(machine.queue, "record", full)
    await machine.queue.accept(new_item())
    await machine.emptied()
    assert refusals == 0
    assert len(mta.taken) == 1


async def test_an_unforeseen_error_defers(machine: Machine, mta: FakeMta, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug in a way out costs an attempt, never the message."""
    deliver = machine.destinations.deliver
    broken = 1

    async def sometimes(unit: Unit, settled: Settled) -> list[Attempt]:
        nonlocal broken
        if broken:
            broken -= 1
            raise ZeroDivisionError
        return await deliver(unit, settled)

    monkeypatch.setattr(machine.destinations, "deliver", sometimes)
    await machine.queue.accept(new_item())
    await machine.emptied()
    assert len(mta.taken) == 1


async def test_an_unforeseen_error_of_the_queue_costs_a_pause(
    machine: Machine, mta: FakeMta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due is claimed at the next look; the dispatcher does not end."""
    claim = machine.queue.claim
    broken = 1

    async def sometimes(room: int, apart: str | None) -> Work:
        nonlocal broken
        if broken:
            broken -= 1
            raise ZeroDivisionError
        return await claim(room, apart)

    monkeypatch.setattr(machine.queue, "claim", sometimes)
    await machine.queue.accept(new_item())
    await machine.emptied()
    assert len(mta.taken) == 1


async def test_a_damaged_message_fails_with_a_report(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """A body that rotted on disk is not sent; its sender hears of it."""
    dns.add("remote.example. A 127.0.0.1")
    machine = Machine(tmp_path, dns, mta.port, SOON)
    await machine.queue.open()
    await machine.queue.accept(new_item())
    (body,) = (tmp_path / "queue" / "bodies").iterdir()
    body.write_bytes(b"rot")
    await machine.outbound.start()
    await machine.emptied()
    assert mta.taken == []
    ((_, report),) = machine.network.mail_of("alice")
    assert b"the message is damaged in the queue" in report
    await machine.stop()


async def test_held_mail_goes_on_retry(machine: Machine, mta: FakeMta) -> None:
    """`retry` of an item tries it at once, also where its destination is being given a pause."""
    mta.refusals["MAIL"] = "451 4.3.0 not now"
    await machine.queue.accept(new_item())
    await until(lambda: any(command.startswith("MAIL") for command in mta.commands))
    (item,) = await machine.queue.items()
    await machine.queue.hold(item.id)
    mta.refusals.clear()
    await machine.outbound.retry(item.id)
    await machine.emptied()
    assert len(mta.taken) == 1


async def test_stopping_leaves_what_is_not_finished_due(tmp_path: Path, dns: FakeDns, mta: FakeMta) -> None:
    """A stop in the middle of a delivery records nothing that did not happen; the next start delivers."""
    dns.add("remote.example. A 127.0.0.1")
    mta.drop_at = "connect"
    machine = Machine(tmp_path, dns, mta.port, Schedule())
    await machine.start()
    await machine.queue.accept(new_item())
    await until(lambda: mta.connections)
    await machine.stop()
    mta.drop_at = None
    again = Machine(tmp_path, dns, mta.port, Schedule())
    await again.start()
    await again.outbound.retry()
    await again.emptied()
    assert len(mta.taken) == 1
    await again.stop()


def test_it_works_on_uvloop_as_in_production(tmp_path: Path) -> None:
    """The same delivery on uvloop, whose transports are classes of their own."""

    async def deliver() -> int:
        dns, mta = FakeDns("remote.example. A 127.0.0.1"), FakeMta(drop_at="content", drops=1)
        await dns.start()
        await mta.start()
        machine = Machine(tmp_path, dns, mta.port, SOON)
        await machine.start()
        await machine.queue.accept(new_item(content=CONTENT + (b"x" * 70 + b"\r\n") * 10_000))
        await machine.emptied()
        await machine.stop()
        await mta.stop()
        await dns.stop()
        return len(mta.taken)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(deliver()) == 1


async def test_what_is_removed_under_way_ends_there(machine: Machine, mta: FakeMta, tmp_path: Path) -> None:
    """Its attempt comes to its end, and of the item, its body and its reports nothing is left."""
    mta.hold = asyncio.Event()
    mta.refusals["dot"] = "550 5.7.1 no"
    await machine.queue.accept(new_item())
    await mta.at_dot.wait()
    (item,) = await machine.queue.items()
    assert await machine.queue.remove(item.id)
    mta.hold.set()
    await machine.queue.accept(new_item("x@null.example", submission_id="s-2"))
    await machine.emptied()
    assert not list((tmp_path / "queue" / "bodies").iterdir())
    (report,) = machine.network.mail_of("alice")
    assert b"x@null.example" in report[1]


async def test_what_is_held_under_way_is_kept_back_afterwards(machine: Machine, mta: FakeMta) -> None:
    """The attempt may still deliver it; where it is put off, only `retry` tries it again."""
    mta.hold = asyncio.Event()
    mta.once["dot"] = "451 4.3.0 later"
    await machine.queue.accept(new_item())
    await mta.at_dot.wait()
    (item,) = await machine.queue.items()
    assert await machine.queue.hold(item.id) == 1
    mta.hold.set()
    async with asyncio.timeout(20):
        while not (await machine.queue.items())[0].recipients[0].attempts:  # noqa: ASYNC110 - as in `emptied`
            await asyncio.sleep(0.01)
    (item,) = await machine.queue.items()
    assert (item.recipients[0].state, mta.taken) == ("held", [])
    assert await machine.outbound.retry(item.id) == 1
    await machine.emptied()
    assert len(mta.taken) == 1


async def test_nothing_is_begun_while_an_outcome_cannot_be_written(
    machine: Machine, mta: FakeMta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk one message may be sent that is not noted; a death of the process then repeats that one only."""
    record, full = machine.queue.record, asyncio.Event()
    broken = True

    async def recording(item: QueueItem, attempts: Sequence[Attempt]) -> None:
        if broken:
            full.set()
            raise QueueUnusable("disk full")
        await record(item, attempts)

    monkeypatch.setattr(machine.queue, "record", recording)
    await machine.queue.accept(new_item("x@remote.example"))
    await full.wait()
    await machine.queue.accept(new_item("y@remote.example", submission_id="s-2"))
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert len(mta.taken) == 1
    broken = False
    await machine.emptied()
    assert [taken.forward_paths for taken in mta.taken] == [["x@remote.example"], ["y@remote.example"]]


@pytest.mark.parametrize(("reverse_path", "notify"), [("", "NEVER"), ("alice@example.org", "NEVER")])
async def test_a_failure_that_nobody_hears_of_is_no_bounce(machine: Machine, reverse_path: str, notify: str) -> None:
    """The log says "bounced" only where a report is owed: about a report, or without one asked for, it says so."""
    with structlog.testing.capture_logs() as logs:
        await machine.queue.accept(new_item("x@null.example", reverse_path=reverse_path, notify=notify))
        await machine.queue.accept(new_item("x@null.example", submission_id="s-2"))
        await machine.emptied()
    events = {each["id"]: each["event"] for each in logs if each["event"] in ("bounced", "undeliverable")}
    assert events == {"s-1": "undeliverable", "s-2": "bounced"}
    assert len(machine.network.mail_of("alice")) == 1


async def test_a_report_that_cannot_be_written_is_tried_later(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that nobody foresaw holds up no other report, and is not repeated without a pause."""
    prepare, failing = machine.network.prepare, [ZeroDivisionError("unforeseen")]

    async def preparing(*arguments: Any) -> Injection:
        if failing:
            raise failing.pop()
        return await prepare(*arguments)

    monkeypatch.setattr(machine.network, "prepare", preparing)
    await machine.queue.accept(new_item("x@null.example"))
    await until(lambda: not failing)
    await machine.queue.accept(new_item("x@null.example", submission_id="s-2"))
    await until(lambda: machine.network.mail_of("alice"))
    async with asyncio.timeout(20):
        while await machine.queue.count() != 1:  # noqa: ASYNC110 - as in `emptied`
            await asyncio.sleep(0.01)
    assert not (await machine.queue.claim(100)).reports  # it is owed, and not before its time


async def test_a_node_that_comes_back_ends_the_wait(tmp_path: Path, dns: FakeDns) -> None:
    """What our own network put off is tried as soon as there are nodes again; a stranger's mail waits its time."""
    dns.add("remote.example. A 127.0.0.1")
    machine = Machine(tmp_path, dns, 1, Schedule(), nodes_pause=1)
    machine.network.refusing = NoQuorum("0 of 2 nodes")
    await machine.start()
    await machine.queue.accept(new_item("bob@example.org", "x@remote.example"))
    async with asyncio.timeout(20):
        while not all(each.attempts for each in (await machine.queue.items())[0].recipients):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    machine.network.refusing = None
    machine.outbound.nodes_came()
    await until(lambda: machine.network.mail_of("bob"))
    (item,) = await machine.queue.items()
    assert {each.forward_path: each.attempts for each in item.recipients}["x@remote.example"] == 1
    await machine.stop()
