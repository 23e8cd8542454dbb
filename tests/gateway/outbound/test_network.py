"""Recipients of our own domain: injected once, with statements that were kept before."""

import pytest

from gateway.outbound.model import Attempt, Unit
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from p2pcore import params
from p2pcore.errors import CannotKnow, InboxFull, NodeFull, NotAuthorised
from tests.gateway.outbound.world import CONTENT, FakeNetwork, make_network, new_item
from tests.support.identities import ManualClock


@pytest.fixture
def network() -> FakeNetwork:
    return make_network()


def delivery(network: FakeNetwork, queue: Queue) -> NetworkDelivery:
    return NetworkDelivery(network, network, queue, "mx.example.org")


async def unit_for(queue: Queue, *paths: str) -> Unit:
    await queue.accept(new_item(*paths))
    (unit,) = (await queue.claim(10)).units
    return unit


def by_number(attempts: list[Attempt]) -> list[tuple[str, str]]:
    return [(attempt.outcome, attempt.status) for attempt in attempts]


async def test_a_recipient_gets_content_trace_and_who_sent_it(queue: Queue, network: FakeNetwork) -> None:
    """The content is untouched; the trace has Return-Path, Received and auth=pass; verdicts name her."""
    unit = await unit_for(queue, "bob@example.org")
    attempts = await delivery(network, queue).deliver(unit)
    assert attempts == [Attempt(0, "delivered", "2.6.0", "stored on 2 of 3 nodes", success="relayed")]
    ((notification, content),) = network.mail_of("bob")
    assert content == CONTENT
    assert notification.reverse_path == "alice@example.org"
    assert notification.verdicts.authenticated == "alice@example.org"
    assert notification.trace == (
        b"Return-Path: <alice@example.org>\r\n"
        b"Authentication-Results: mx.example.org;\r\n\tauth=pass\r\n\t smtp.auth=alice@example.org\r\n"
        + new_item().trace
    )


async def test_an_alias_reaches_everybody_once(queue: Queue, network: FakeNetwork) -> None:
    """An alias and one of its members in one message: one entry per inbox, an outcome per forward-path."""
    unit = await unit_for(queue, "all@example.org", "bob@example.org")
    attempts = await delivery(network, queue).deliver(unit)
    assert by_number(attempts) == [("delivered", "2.6.0"), ("delivered", "2.6.0")]
    assert [len(network.mail_of(name)) for name in ("alice", "bob", "carol")] == [1, 1, 1]


async def test_more_users_than_one_body_may_have_get_several(
    queue: Queue, network: FakeNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Aliases may lead to more users than a body has delete rights for; only one that does so alone is too large."""
    monkeypatch.setattr(params, "MAX_DELETE_RIGHTS", 2)
    unit = await unit_for(queue, "alice@example.org", "all@example.org", "bob@example.org", "carol@example.org")
    attempts = await delivery(network, queue).deliver(unit)
    delivered = ("delivered", "2.6.0")
    assert by_number(attempts) == [delivered, ("failed", "5.3.4"), delivered, delivered]
    assert [len(injection.entries) for injection in network.injections] == [2, 1]
    assert [len(network.mail_of(name)) for name in ("alice", "bob", "carol")] == [1, 1, 1]


async def test_a_repetition_is_the_same_statements(queue: Queue, network: FakeNetwork, clock: ManualClock) -> None:
    """Refused for now, then tried again: exactly the first statements, so the inbox has the message once."""
    unit = await unit_for(queue, "bob@example.org", "carol@example.org")
    network.entry_failures["carol"] = InboxFull("full")
    first = await delivery(network, queue).deliver(unit)
    assert by_number(first) == [("delivered", "2.6.0"), ("deferred", "4.2.2")]
    await queue.record(unit.item, first)
    queue.release(unit)
    network.entry_failures.clear()
    await queue.retry()
    (again,) = (await queue.claim(10)).units
    assert [each.forward_path for each in again.recipients] == ["carol@example.org"]
    second = await delivery(network, queue).deliver(again)
    assert by_number(second) == [("delivered", "2.6.0")]
    await queue.record(again.item, second)
    assert network.injections[0].encode() == network.injections[1].encode()
    assert [len(network.mail_of(name)) for name in ("bob", "carol")] == [1, 1]
    assert await queue.items() == []


async def test_statements_are_kept_before_the_first_append(queue: Queue, network: FakeNetwork) -> None:
    """When injection begins, its statements are in the queue already."""
    unit = await unit_for(queue, "bob@example.org")
    network.refusing = CannotKnow("no nodes")
    assert by_number(await delivery(network, queue).deliver(unit)) == [("deferred", "4.4.3")]
    (kept,) = await queue.network_injections(unit.item)
    assert kept.injection.encode() == network.injections[0].encode()
    network.refusing = None
    assert by_number(await delivery(network, queue).deliver(unit)) == [("delivered", "2.6.0")]
    assert len(network.mail_of("bob")) == 1


async def test_who_cannot_be_resolved_has_an_outcome_of_their_own(queue: Queue, network: FakeNetwork) -> None:
    """No such address is final, not knowing is not; the others get the message now."""
    network.failing["carol@example.org"] = CannotKnow("no certificate")
    unit = await unit_for(queue, "nobody@example.org", "carol@example.org", "bob@example.org")
    attempts = await delivery(network, queue).deliver(unit)
    assert by_number(attempts) == [("failed", "5.1.1"), ("deferred", "4.4.3"), ("delivered", "2.6.0")]
    await queue.record(unit.item, attempts)
    network.failing.clear()
    queue.release(unit)
    await queue.retry()
    (again,) = (await queue.claim(10)).units
    assert by_number(await delivery(network, queue).deliver(again)) == [("delivered", "2.6.0")]
    assert len(network.mail_of("bob")) == 1


@pytest.mark.parametrize("failure", [NodeFull("full"), NotAuthorised("who are you")])
async def test_what_the_nodes_refuse_is_tried_again(queue: Queue, network: FakeNetwork, failure: Exception) -> None:
    """Nodes that are full, or that do not accept this gateway, say nothing about the recipient."""
    unit = await unit_for(queue, "bob@example.org")
    network.refusing = failure  # type: ignore[assignment]
    (attempt,) = await delivery(network, queue).deliver(unit)
    assert attempt.outcome == "deferred"
    assert attempt.status.startswith("4.")
