"""Reports to senders, from the outcome to the inbox."""

import email
import email.policy

import pytest

from gateway.outbound import params
from gateway.outbound.bounce import Reporter
from gateway.outbound.model import Attempt, OwedReport
from gateway.outbound.queue import Queue
from p2pcore.errors import CannotKnow, NoQuorum
from tests.gateway.outbound.world import FakeNetwork, make_network, new_item
from tests.support.identities import ManualClock, World


@pytest.fixture
def network(clock: ManualClock) -> FakeNetwork:
    return make_network(World(clock=clock))


@pytest.fixture
def reporter(network: FakeNetwork, queue: Queue, clock: ManualClock) -> Reporter:
    return Reporter(network, network, queue, "example.org", "mx.example.org", clock)


async def owed_after_failure(queue: Queue, **options: str) -> OwedReport:
    await queue.accept(new_item("x@remote.example", "y@remote.example", **options))  # type: ignore[arg-type]
    (unit,) = (await queue.claim(10)).units
    failed = [Attempt(0, "failed", "5.1.1", "550 5.1.1 no such user", "mx.remote.example")]
    await queue.record(unit.item, [*failed, Attempt(1, "delivered", "2.0.0", "250 ok", "mx.remote.example")])
    (owed,) = (await queue.claim(10)).reports
    return owed


async def test_a_failure_is_reported_in_the_senders_inbox(
    queue: Queue, network: FakeNetwork, reporter: Reporter
) -> None:
    """Null reverse-path, from mailer-daemon, about the failed recipient only, once; then the item is gone."""
    owed = await owed_after_failure(queue)
    assert await reporter.make(owed) == "made"
    queue.release(owed)
    work = await queue.claim(10)
    assert work.reports == ()
    assert await reporter.inject(work.injections[0])
    ((notification, content),) = network.mail_of("alice")
    message = email.message_from_bytes(content, policy=email.policy.default)
    assert notification.reverse_path == ""
    assert notification.forward_path == "alice@example.org"
    assert notification.trace == b"Return-Path: <>\r\n"
    assert message["From"].addresses[0].addr_spec == "mailer-daemon@example.org"
    assert b"Final-Recipient: rfc822; x@remote.example" in content
    assert b"y@remote.example" not in content
    assert b"Subject: hello" in content
    assert await queue.items() == []


async def test_a_report_is_repeated_exactly_until_it_is_stored(
    queue: Queue, network: FakeNetwork, reporter: Reporter, clock: ManualClock
) -> None:
    """Without quorum it is repeated later, with the same statements: the inbox has it once."""
    owed = await owed_after_failure(queue)
    await reporter.make(owed)
    (kept,) = (await queue.claim(10)).injections
    network.refusing = NoQuorum("1 of 3")
    assert not await reporter.inject(kept)
    queue.release(kept)
    assert (await queue.claim(10)).injections == ()
    clock.advance(params.REPORT_RETRY)
    network.refusing = None
    (again,) = (await queue.claim(10)).injections
    assert await reporter.inject(again)
    assert network.injections[0].encode() == network.injections[1].encode()
    assert len(network.mail_of("alice")) == 1


async def test_a_report_waits_until_its_reader_can_be_found(
    queue: Queue, network: FakeNetwork, reporter: Reporter, clock: ManualClock
) -> None:
    """Not knowing the sender's certificate now postpones the report; it is still owed."""
    owed = await owed_after_failure(queue)
    network.failing["alice@example.org"] = CannotKnow("no certificate")
    assert await reporter.make(owed) == "postponed"
    queue.release(owed)
    assert (await queue.claim(10)).reports == ()
    clock.advance(params.REPORT_RETRY)
    network.failing.clear()
    (owed,) = (await queue.claim(10)).reports
    assert await reporter.make(owed) == "made"


async def test_a_report_that_nobody_can_get_is_dropped(queue: Queue, network: FakeNetwork, reporter: Reporter) -> None:
    """A sender who is no address any more gets no report, and the item ends."""
    owed = await owed_after_failure(queue, reverse_path="gone@example.org")
    assert await reporter.make(owed) == "dropped"
    assert await queue.items() == []


async def test_reports_are_given_up_in_the_end(
    queue: Queue, network: FakeNetwork, reporter: Reporter, clock: ManualClock
) -> None:
    """What cannot be stored for as long as mail is tried is given up, kept or not."""
    owed = await owed_after_failure(queue)
    await reporter.make(owed)
    (kept,) = (await queue.claim(10)).injections
    network.refusing = NoQuorum("1 of 3")
    clock.advance(params.GIVE_UP_AFTER)
    assert not await reporter.inject(kept)
    assert await queue.items() == []


async def test_the_whole_message_is_returned_when_asked_for(
    queue: Queue, network: FakeNetwork, reporter: Reporter
) -> None:
    """RET=FULL returns the content."""
    owed = await owed_after_failure(queue, ret="FULL")
    await reporter.make(owed)
    (kept,) = (await queue.claim(10)).injections
    await reporter.inject(kept)
    ((_, content),) = network.mail_of("alice")
    assert b"message/rfc822" in content
    assert b"\r\n..two\r\n" in content
