"""p2pcore.mail.names: whom an address means, and whether mail for it can be taken now: the answers to RCPT."""

import asyncio
import logging
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.errors import (
    CannotKnow,
    Failure,
    InboxDormant,
    InboxFull,
    NodeFull,
    NoQuorum,
    NoSuchAddress,
    NotOurDomain,
)
from p2pcore.mail.names import DomainNames
from p2pcore.records import (
    InboxStatus,
)
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, names_over
from tests.support.identities import START


@pytest.mark.parametrize(
    ("address", "users"),
    [
        ("alice@example.org", ["alice@example.org"]),
        ('"Alice"+news@EXAMPLE.ORG', None),
        ("ALICE+news@Example.Org", ["alice@example.org"]),
        ("team@example.org", ["alice@example.org", "bob@example.org"]),
        ("Postmaster@example.org", ["alice@example.org"]),
    ],
)
async def test_an_address_is_accepted_for_its_users(
    gateway_names: DomainNames, address: str, users: list[str] | None
) -> None:
    """Name in the record and certificate found: accept."""
    if users is None:
        with pytest.raises(Failure):
            await gateway_names.recipient(address)
        return
    recipients = await gateway_names.recipient(address)
    assert [certificate.primary_address for certificate in recipients.certificates] == users


async def test_what_is_known_takes_no_question(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """As `recipient` once certificate and inbox are known and as long as they are believed; nothing else is known."""
    assert gateway_names.known("alice@example.org") is None
    recipients = await gateway_names.recipient("alice@example.org")
    assert gateway_names.known("Alice+tag@example.org") == recipients
    for refused in ("team@example.org", "nobody@example.org", "alice@example.com", "nonsense"):
        assert gateway_names.known(refused) is None
    domain.world.clock.advance(params.RCPT_CACHE)
    assert gateway_names.known("alice@example.org") is None
    for node in network.closest(domain.alice.certificate.inbox_key)[:2]:
        node.status = InboxStatus(50_000, 1, START, False)
    with pytest.raises(InboxFull):
        await gateway_names.recipient("alice@example.org")
    assert gateway_names.known("alice@example.org") is None


async def test_no_such_name_is_permanent_only_while_the_record_is_fresh(
    domain: Domain, gateway_names: DomainNames
) -> None:
    """550 5.1.1 within nextUpdate, 451 4.4.3 afterwards."""
    with pytest.raises(NoSuchAddress) as caught:
        await gateway_names.recipient("nobody@example.org")
    assert (caught.value.temporary, caught.value.status) == (False, "5.1.1")
    domain.world.clock.advance(params.RECORD_VALIDITY)
    with pytest.raises(CannotKnow) as later:
        await gateway_names.recipient("nobody@example.org")
    assert (later.value.temporary, later.value.status) == (True, "4.4.3")


async def test_another_domain_is_not_ours(gateway_names: DomainNames) -> None:
    """550 5.7.1."""
    with pytest.raises(NotOurDomain):
        await gateway_names.recipient("alice@example.com")


async def test_without_a_record_or_its_key_nothing_is_known(domain: Domain, replicas: Replicas, tmp_path: Path) -> None:
    """Never a 550 from ignorance."""
    names = names_over(domain, replicas, tmp_path, gateway=False)
    for _ in range(2):
        with pytest.raises(CannotKnow):
            await names.recipient("nobody@example.org")
        await names.refresh()


async def test_a_certificate_that_nobody_has_is_not_a_missing_user(
    network: MemoryNetwork, gateway_names: DomainNames
) -> None:
    """A miss in a DHT proves nothing: 451."""
    for node in network.nodes:
        del node.versions["bob@example.org-certificate"]
    with pytest.raises(CannotKnow):
        await gateway_names.recipient("bob@example.org")
    with pytest.raises(CannotKnow):
        await gateway_names.recipient("team@example.org")


async def test_an_expired_certificate_still_receives_for_a_while(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames
) -> None:
    """EXPIRED_USER_RECEIVES after its end, and not longer."""
    clock = domain.world.clock
    network_status = InboxStatus(0, 0, domain.alice.certificate.not_after, True)
    for node in network.nodes:
        node.status = network_status
    await gateway_names.recipient("alice@example.org")
    gateway_names._certificates._cache._lifetime = gateway_names._certificates._cache._stale = 1 << 50
    clock.now = domain.alice.certificate.not_after + params.DAY
    assert await gateway_names.certificate_of("alice@example.org") == domain.alice.certificate
    clock.advance(params.EXPIRED_USER_RECEIVES)
    with pytest.raises(CannotKnow):
        await gateway_names.certificate_of("alice@example.org")


async def test_a_full_inbox_is_said_before_the_mail_is_sent(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """Full on two of the three nodes with w = 2; believed for RCPT_CACHE."""
    for node in network.closest(domain.alice.certificate.inbox_key)[:2]:
        node.status = InboxStatus(50_000, 1, START, False)
    with pytest.raises(InboxFull):
        await gateway_names.recipient("alice@example.org")
    for node in network.nodes:
        node.status = InboxStatus(0, 0, START, True)
    with pytest.raises(InboxFull):
        await gateway_names.recipient("alice@example.org")
    domain.world.clock.advance(params.RCPT_CACHE)
    await gateway_names.recipient("alice@example.org")


async def test_full_nodes_are_not_a_full_inbox(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """Where nodes refuse though the inbox has room, its owner could not help it: NodeFull, and InboxFull where she can.

    RFC 3463 §3.3: of 4.2.2, "the recipient can delete messages to make more space available"; §3.4: of 4.3.1, "the
    individual recipient may not be able to delete material to make room for additional messages".
    """
    for node in network.nodes:
        node.status = InboxStatus(10, 30_000, START, False)
    with pytest.raises(NodeFull):
        await gateway_names.recipient("alice@example.org")
    domain.world.clock.advance(params.RCPT_CACHE)
    for node in network.closest(domain.alice.certificate.inbox_key)[:2]:
        node.status = InboxStatus(1, params.INBOX_MAX_OCTETS, START, False)
    with pytest.raises(InboxFull):
        await gateway_names.recipient("alice@example.org")


async def test_full_nodes_do_not_matter_where_the_next_closest_have_room(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """An entry goes to the next closest in place of a full node, of 2 k at most, so RCPT counts these as well."""
    for node in network.closest(domain.alice.certificate.inbox_key)[:3]:
        node.status = InboxStatus(10, 30_000, START, False)
    await gateway_names.recipient("alice@example.org")


async def test_an_owner_who_has_not_read_for_long_is_dormant(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """60 days without a read on any node; a new user who never read is not dormant."""
    await gateway_names.recipient("alice@example.org")
    domain.world.clock.advance(params.DORMANT_AFTER)
    with pytest.raises(InboxDormant):
        await gateway_names.recipient("alice@example.org")
    domain.world.clock.advance(params.RCPT_CACHE)
    network.closest(domain.alice.certificate.inbox_key)[2].status = InboxStatus(0, 0, domain.world.clock(), True)
    await gateway_names.recipient("alice@example.org")


async def test_one_who_has_not_read_for_long_holds_up_no_alias(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain, caplog: pytest.LogCaptureFixture
) -> None:
    """Mail for an alias goes to its users who read theirs, and the log names who is left out."""
    caplog.set_level(logging.INFO)
    await gateway_names.recipient("team@example.org")
    domain.world.clock.advance(params.DORMANT_AFTER)
    with pytest.raises(InboxDormant):
        await gateway_names.recipient("team@example.org")
    domain.world.clock.advance(params.RCPT_CACHE)
    for node in network.closest(domain.alice.certificate.inbox_key):
        node.statuses[domain.alice.certificate.inbox_key] = InboxStatus(0, 0, domain.world.clock(), True)
    assert gateway_names.known("team@example.org") is None
    for answer in (await gateway_names.recipient("team@example.org"), gateway_names.known("team@example.org")):
        assert answer is not None
        assert answer.certificates == (domain.alice.certificate,)
    assert "team@example.org goes on without bob@example.org" in caplog.text


async def test_too_few_nodes_for_the_inbox_are_a_temporary_failure(
    network: MemoryNetwork, gateway_names: DomainNames, domain: Domain
) -> None:
    """After the certificate is known, two of three inbox nodes are down."""
    await gateway_names.certificate_of("alice@example.org")
    for node in network.closest(domain.alice.certificate.inbox_key)[:2]:
        node.down = True
    with pytest.raises(NoQuorum):
        await gateway_names.recipient("alice@example.org")


async def test_many_questions_at_once_ask_the_nodes_once(network: MemoryNetwork, gateway_names: DomainNames) -> None:
    """Fifty RCPTs of one message cost one question per node and kind."""
    before = sum(len(batch) for node in network.nodes for batch in node.batches)
    await asyncio.gather(*(gateway_names.recipient("alice@example.org") for _ in range(50)))
    assert sum(len(batch) for node in network.nodes for batch in node.batches) - before == 5 + 3
