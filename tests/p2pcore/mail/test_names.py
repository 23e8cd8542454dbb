"""p2pcore.mail.names: how the domain's record is found, adopted and kept fresh; RCPT's answers: test_recipients."""

import asyncio
import errno
import hashlib
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from p2pcore import params
from p2pcore.client.replicas import Replicas
from p2pcore.crypto.trust import Trust
from p2pcore.errors import (
    CannotKnow,
    ClockSkew,
    Failure,
    NoSuchAddress,
)
from p2pcore.mail.names import DomainNames
from p2pcore.mail.record_file import save_record
from p2pcore.names import VersionedKind
from p2pcore.records import (
    AddressList,
    HeadStatement,
    PublishedVersion,
    Resolve,
    Revocation,
    SignedStatement,
)
from tests.p2pcore.client.memory_network import MemoryNetwork
from tests.p2pcore.mail.bench import Domain, names_over, put, put_on, replicas_over
from tests.support.identities import START


async def test_the_record_is_found_in_the_network_with_its_signers_certificate(gateway_names: DomainNames) -> None:
    """Nothing but the authority's certificate is needed to begin with."""
    assert gateway_names.record is not None
    assert gateway_names.replication() == gateway_names.record.replication
    assert gateway_names.addresses is not None


async def test_an_adopted_record_is_on_disk(domain: Domain, gateway_names: DomainNames, tmp_path: Path) -> None:
    """A process that starts without any node reachable knows what it knew."""
    network = MemoryNetwork(0)
    offline = replicas_over(domain, network, tmp_path, domain.world.trust())
    names = names_over(domain, offline, tmp_path)
    await names.start()
    assert names.published == gateway_names.published
    assert names.addresses == gateway_names.addresses
    await names.stop()


async def test_a_damaged_file_is_not_used_and_does_not_stop_the_start(
    domain: Domain, replicas: Replicas, tmp_path: Path
) -> None:
    """The record is asked for instead."""
    (tmp_path / "domain-record").write_bytes(b"\x93garbage")
    names = names_over(domain, replicas, tmp_path)
    adopted = asyncio.Event()
    names.on_record(lambda _record: adopted.set())
    await names.start()
    await asyncio.wait_for(adopted.wait(), 10)
    await names.stop()


@pytest.mark.parametrize("first", [0, 1, 2])
async def test_who_knew_few_nodes_asks_again_when_more_come(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, first: int
) -> None:
    """A node that starts before the others asks itself alone, and its old record is not the newest for minutes."""
    names, newest = names_over(domain, replicas, tmp_path), asyncio.Event()
    asked, resolve = asyncio.Event(), replicas.resolve

    async def noted(kind: VersionedKind, identifier: str) -> PublishedVersion | None:
        try:
            return await resolve(kind, identifier)
        finally:
            asked.set()

    names.on_record(lambda record: newest.set() if record.time > START else None)
    await names.refresh()
    network.dead.update(node.contact.node_id for node in network.nodes[first:])
    put(network, domain.record(START + 1))
    for node in network.nodes[:first]:
        put_on(node, domain.record(START))
    replicas.resolve = noted  # type: ignore[method-assign]
    await names.start()
    await asyncio.wait_for(asked.wait(), 10)
    network.dead.clear()
    network.changed()
    await asyncio.wait_for(newest.wait(), 5)
    await names.stop()


async def test_the_record_is_asked_for_more_often_after_a_start(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory may start with the rest, and what it publishes then be new to nodes that have asked just before."""
    monkeypatch.setattr("p2pcore.mail.names._RETRY", 10)
    names, adopted = names_over(domain, replicas, tmp_path), asyncio.Queue[int]()
    names.on_record(lambda record: adopted.put_nowait(record.time))
    await names.start()
    for time in (START, START + 1, START + 2):
        assert await asyncio.wait_for(adopted.get(), 10) == time
        put(network, domain.record(time + 1))
    await names.stop()


async def test_nothing_adopted_ever_goes_back(domain: Domain, gateway_names: DomainNames) -> None:
    """An older record with a good signature is not taken, a newer one is."""
    assert not await gateway_names.adopt(domain.record(START - 1))
    assert not await gateway_names.adopt(domain.record(START))
    assert await gateway_names.adopt(domain.record(START + 1))
    assert gateway_names.record is not None
    assert gateway_names.record.time == START + 1


async def test_a_record_by_anybody_but_the_directory_is_refused(domain: Domain, gateway_names: DomainNames) -> None:
    """A gateway's signature does not count."""
    gateway_names._trust.add(domain.gateway.certificate.der)
    domain.directory = domain.gateway
    with pytest.raises(Failure):
        await gateway_names.adopt(domain.record(START + 1))


async def test_the_records_revocations_count_at_once(domain: Domain, gateway_names: DomainNames) -> None:
    """A compromised certificate is not sealed to any more."""
    await gateway_names.recipient("alice@example.org")
    revocation = Revocation(domain.alice.certificate.serial, "compromised", START)
    await gateway_names.adopt(domain.record(START + 1, revocations=[revocation]))
    with pytest.raises(CannotKnow):
        await gateway_names.recipient("alice@example.org")


def head(domain: Domain, digest: bytes, issued: int) -> SignedStatement:
    statement = HeadStatement("example.org", digest, issued, issued + params.HOUR, domain.directory.signer.fingerprint)
    return domain.directory.signer.sign([statement])[0]


async def test_a_head_that_names_a_newer_record_makes_it_known_soon(
    domain: Domain, network: MemoryNetwork, replicas: Replicas, tmp_path: Path
) -> None:
    """Without waiting for the next refresh; a head of the known record changes nothing."""
    names = names_over(domain, replicas, tmp_path)
    adopted = asyncio.Event()
    names.on_record(lambda _record: adopted.set())
    await names.start()
    await asyncio.wait_for(adopted.wait(), 10)
    adopted.clear()
    assert names.published is not None
    names.heard([head(domain, hashlib.sha256(names.published.content).digest(), START + 1)])
    newer = domain.record(START + 2, AddressList((), {}, (), ""))
    for node in network.nodes:
        node.versions["p2pmail-domain:example.org"] = newer
    names.heard([head(domain, hashlib.sha256(newer.content).digest(), START + 3)])
    await asyncio.wait_for(adopted.wait(), 10)
    assert names.published == newer
    assert names.last_head == START + 3
    await names.stop()


async def test_a_forged_head_is_ignored(domain: Domain, gateway_names: DomainNames) -> None:
    """Only the directory's word counts."""
    forged = HeadStatement("example.org", bytes(32), START, START + 1, domain.gateway.signer.fingerprint)
    Trust.add(gateway_names._trust, domain.gateway.certificate.der)
    gateway_names.heard(domain.gateway.signer.sign([forged]))
    assert gateway_names.last_head == 0


async def test_no_such_address_is_said_only_after_another_look_at_the_record(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames
) -> None:
    """A user who was added a moment ago is not refused for good; the second look is not taken for every guess."""
    users = ("alice@example.org", "bob@example.org", "carol@example.org")
    with pytest.raises(NoSuchAddress):
        await gateway_names.recipient("carol@example.org")
    carol = domain.world.user("carol")
    for published in (domain.record(START + 1, AddressList(users, {}, (), "")), domain.certificate(carol)):
        put(network, published)
    with pytest.raises(NoSuchAddress):
        await gateway_names.recipient("carol@example.org")
    domain.world.clock.advance(6 * params.SECOND)
    found = await gateway_names.recipient("carol@example.org")
    assert [certificate.primary_address for certificate in found.certificates] == ["carol@example.org"]


def add_carol(domain: Domain, network: MemoryNetwork) -> None:
    """Give the nodes a record with one user more, some time after it was last asked for."""
    users = ("alice@example.org", "bob@example.org", "carol@example.org")
    for published in (
        domain.record(START + 1, AddressList(users, {}, (), "")),
        domain.certificate(domain.world.user("carol")),
    ):
        put(network, published)
    domain.world.clock.advance(6 * params.SECOND)


def asked_for_the_record(network: MemoryNetwork) -> int:
    asked = [operation for node in network.nodes for batch in node.batches for operation in batch]
    return sum(isinstance(each, Resolve) and each.kind == "domain" for each in asked)


async def found_during(names: DomainNames, begun: asyncio.Event, go_on: Callable[[], None]) -> None:
    """The record is asked for, as after a head; an RCPT for carol comes when `begun`, before `go_on`."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(names.refresh())
        await begun.wait()
        recipients = tasks.create_task(names.recipient("carol@example.org"))
        await asyncio.sleep(0)
        go_on()
    assert [each.primary_address for each in recipients.result().certificates] == ["carol@example.org"]


async def test_an_rcpt_waits_for_the_answer_of_a_question_under_way(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every head of a new record makes it asked for: that is no moment to answer 451."""
    add_carol(domain, network)
    asked, answer = asyncio.Event(), asyncio.Event()
    resolve = gateway_names._replicas.resolve

    async def slowly(kind: VersionedKind, identifier: str) -> PublishedVersion | None:
        asked.set()
        await answer.wait()
        return await resolve(kind, identifier)

    monkeypatch.setattr(gateway_names._replicas, "resolve", slowly)
    await found_during(gateway_names, asked, answer.set)


async def test_an_rcpt_waits_for_a_record_that_is_being_written(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network has answered, and what counts still is the older record: that is no moment to answer 550."""
    add_carol(domain, network)
    loop, writing, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slowly(directory: Path, published: PublishedVersion, trust: Trust) -> None:
        loop.call_soon_threadsafe(writing.set)
        go_on.wait(10)
        save_record(directory, published, trust)

    monkeypatch.setattr("p2pcore.mail.names.save_record", slowly)
    await found_during(gateway_names, writing, go_on.set)


async def test_a_question_that_its_asker_gave_up_has_not_failed(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames
) -> None:
    """A client that hangs up at RCPT makes no 451 for the next one, nor is the network asked again for that."""
    add_carol(domain, network)
    before = asked_for_the_record(network)
    for node in network.nodes:
        node.gate = asyncio.Event()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await gateway_names.recipient("carol@example.org")
    for node in network.nodes:
        assert node.gate is not None
        node.gate.set()
    assert await gateway_names.recipient("carol@example.org")
    assert asked_for_the_record(network) - before == 5


async def test_what_could_not_be_adopted_confirms_nothing(
    domain: Domain, network: MemoryNetwork, gateway_names: DomainNames, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: the older record still says who has an address, and no longer who has none."""
    put(network, domain.record(START + 1))
    domain.world.clock.advance(6 * params.SECOND)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("p2pcore.mail.names.save_record", full)
    for _ in range(2):
        with pytest.raises(CannotKnow):
            await gateway_names.recipient("nobody@example.org")
    assert await gateway_names.recipient("alice@example.org")


@pytest.mark.parametrize("skew", [params.CLOCK_WARNING + 1, -params.CLOCK_WARNING - 1])
async def test_a_gateway_whose_clock_is_wrong_takes_no_mail(
    domain: Domain, replicas: Replicas, tmp_path: Path, skew: int
) -> None:
    """More than five minutes from the nodes' median every RCPT is put off: what it would date is believed by nobody."""
    differences = [skew]
    names = DomainNames(
        replicas,
        replicas.checker.trust,
        domain.world.clock,
        tmp_path,
        "example.org",
        [domain.gateway.hpke_key],
        clock_difference=lambda: differences[0],
    )
    await names.refresh()
    for address in ("alice@example.org", "nobody@example.org"):
        with pytest.raises(ClockSkew) as refused:
            await names.recipient(address)
        assert (refused.value.temporary, refused.value.status) == (True, "4.3.5")
    differences[0] = skew - 1 if skew > 0 else skew + 1
    assert await names.recipient("alice@example.org")
    await names.stop()
