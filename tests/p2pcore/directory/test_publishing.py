"""Publishing: changes at once, everything daily, retries until a quorum took it, heads for what can be fetched."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.directory.errors import BookUnusable
from p2pcore.directory.publishing import DirectoryPublisher, version_of
from p2pcore.errors import NoQuorum, Superseded
from p2pcore.records import HeadStatement, PublishedVersion, SignedStatement, VersionStatement

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office

RECORD = "p2pmail-domain:example.org"


class Network:
    """A Publisher and Announcer that keeps what it was given; identifiers in `down` find no quorum."""

    def __init__(self) -> None:
        self.taken: list[VersionStatement] = []
        self.heads: list[SignedStatement] = []
        self.refused: list[str] = []
        self.down: set[str] = set()
        self.superseded: set[bytes] = set()
        self.epoch = 0  # of the newest record it knows
        self._news = asyncio.Event()

    async def publish(self, published: PublishedVersion) -> None:
        statement = version_of(published)
        self._news.set()
        if statement.identifier in self.down:
            self.refused.append(statement.identifier)
            raise NoQuorum("1 of 3")
        if statement.digest in self.superseded or (statement.identifier == RECORD and statement.epoch < self.epoch):
            self.refused.append(statement.identifier)
            raise Superseded("a newer one is known")
        self.taken.append(statement)

    async def announce(self, head: SignedStatement) -> None:
        self.heads.append(head)
        self._news.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def identifiers(self) -> list[str]:
        return [statement.identifier for statement in self.taken]


@pytest.fixture
async def network() -> Network:
    return Network()


async def test_first_round_publishes_certificates_then_the_record(office: "Office", network: Network) -> None:
    """Whoever reads the record finds the certificates it names; a second round has nothing to do."""
    office.user("a@example.org")
    office.node("n1")
    publisher = DirectoryPublisher(office.directory, network)
    await publisher.publish_due()
    assert network.identifiers()[-1] == RECORD
    assert {identifier.partition(":")[0] for identifier in network.identifiers()[:-1]} == {
        "a@example.org-certificate",
        "p2pmail-node",
    }
    assert len(network.taken) == 3
    assert publisher.failures == {}
    await publisher.publish_due()
    assert len(network.taken) == 3


async def test_only_what_changed_is_published_again(office: "Office", network: Network) -> None:
    """A new user: her certificate and the record. What was taken is remembered across restarts."""
    office.user("a@example.org")
    await DirectoryPublisher(office.directory, network).publish_due()
    network.taken.clear()
    office.reopen()
    office.user("b@example.org")
    await DirectoryPublisher(office.directory, network).publish_due()
    assert network.identifiers() == ["b@example.org-certificate", RECORD]


async def test_everything_is_published_daily_with_fresh_statements(office: "Office", network: Network) -> None:
    """The record gets a new version and so a later nextUpdate; certificates keep theirs."""
    office.user("a@example.org")
    publisher = DirectoryPublisher(office.directory, network)
    await publisher.publish_due()
    before = {statement.identifier: statement for statement in network.taken}
    network.taken.clear()
    office.world.clock.advance(params.PUBLISH_INTERVAL)
    await publisher.publish_due()
    after = {statement.identifier: statement for statement in network.taken}
    assert after.keys() == before.keys()
    assert all(statement.issued == office.world.clock() for statement in after.values())
    assert after[RECORD].time > before[RECORD].time
    assert after["a@example.org-certificate"].time == before["a@example.org-certificate"].time


async def test_what_finds_no_quorum_is_tried_again_and_holds_up_nothing(office: "Office", network: Network) -> None:
    """The record is out although a certificate is not; the certificate follows once there is a quorum."""
    office.user("a@example.org")
    network.down = {"a@example.org-certificate"}
    publisher = DirectoryPublisher(office.directory, network, retry_first=1, retry_last=4)
    await publisher.start()
    await network.until(lambda: RECORD in network.identifiers() and len(network.refused) >= 3)
    assert isinstance(publisher.failures["a@example.org-certificate"], NoQuorum)
    network.down = set()
    await network.until(lambda: "a@example.org-certificate" in network.identifiers())
    await publisher.stop()
    assert network.identifiers().count(RECORD) == 1


async def test_a_change_is_published_at_once(office: "Office", network: Network) -> None:
    """From whatever thread it comes, without waiting for any interval."""
    publisher = DirectoryPublisher(office.directory, network)
    await publisher.start()
    await network.until(lambda: RECORD in network.identifiers())
    await asyncio.to_thread(office.user, "a@example.org")
    await network.until(lambda: network.identifiers().count(RECORD) == 2)
    await publisher.stop()
    assert "a@example.org-certificate" in network.identifiers()
    office.user("b@example.org")  # nobody listens any more, and that is no error


async def test_a_record_older_than_the_networks_is_replaced_by_a_new_version(
    office: "Office", network: Network
) -> None:
    """A book restored from a backup signs a later version instead of insisting on its last one."""
    stale = version_of(office.directory.current_record())
    network.superseded = {stale.digest}
    office.world.clock.advance(1_000)
    publisher = DirectoryPublisher(office.directory, network, retry_first=1, retry_last=1)
    await publisher.start()
    await network.until(lambda: RECORD in network.identifiers())
    await publisher.stop()
    assert network.taken[-1].time > stale.time


async def test_a_record_that_is_always_refused_as_old_is_offered_at_the_pace_of_retries(
    office: "Office", network: Network
) -> None:
    """What the directory changes itself for the next attempt does not bring that attempt forward."""
    network.epoch = 2**53
    publisher = DirectoryPublisher(office.directory, network)
    changes: list[None] = []
    office.directory.on_change(lambda: changes.append(None))
    await publisher.publish_due()
    await publisher.publish_due()
    assert network.refused == [RECORD] * 2
    assert changes == []


async def test_a_book_restored_from_a_backup_of_long_ago_comes_to_the_networks_epoch(
    office: "Office", network: Network
) -> None:
    """The network's record is of a later epoch than a renewal gives: the certificate is renewed until ours counts."""
    network.epoch = 4
    publisher = DirectoryPublisher(office.directory, network, retry_first=1, retry_last=1)
    await publisher.start()
    await network.until(lambda: RECORD in network.identifiers())
    await publisher.stop()
    assert network.taken[-1].epoch == office.directory.signer.certificate.epoch == 4
    assert network.taken[-1].time <= office.world.clock() + params.MINUTE


async def test_a_full_disk_in_the_middle_of_a_round_is_a_failure_like_others(
    office: "Office", network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a book that cannot be read nor one that cannot be written ends publication."""

    def unusable(*_: object) -> None:
        raise BookUnusable("database or disk is full")

    network.epoch = 2
    publisher = DirectoryPublisher(office.directory, network)
    for call in ("supersede", "is_due"):
        with monkeypatch.context() as full:
            full.setattr(office.directory, call, unusable)
            await publisher.publish_due()
        assert isinstance(publisher.failures["record"], BookUnusable)
    network.epoch = 0
    await publisher.publish_due()
    assert publisher.failures == {}


async def test_heads_name_the_record_that_a_quorum_has(office: "Office", network: Network) -> None:
    """None before the record is out; then one at once, and again at each interval; everybody can verify them."""
    network.down = {RECORD}
    publisher = DirectoryPublisher(office.directory, network, network, retry_first=1, retry_last=1, head_interval=20)
    await publisher.start()
    await network.until(lambda: len(network.refused) >= 3)
    assert network.heads == []
    network.down = set()
    await network.until(lambda: len(network.heads) >= 2)
    await publisher.stop()
    for head in network.heads:
        statement = head.statement
        assert isinstance(statement, HeadStatement)
        office.world.verifier(office.member).verify(head, direct=True)
        assert statement.record_digest == version_of(office.directory.current_record()).digest
        assert statement.expires == statement.issued + params.HEAD_LIFETIME


async def test_heads_stop_while_the_newest_record_has_no_quorum(office: "Office", network: Network) -> None:
    """The directory never signs that an old record is the newest."""
    publisher = DirectoryPublisher(office.directory, network, network, retry_first=1, retry_last=1, head_interval=1)
    await publisher.start()
    await network.until(lambda: bool(network.heads))
    network.down = {RECORD}
    await asyncio.to_thread(office.user, "a@example.org")
    await network.until(lambda: len(network.refused) >= 2)
    seen = len(network.heads)
    newest = version_of(office.directory.current_record()).digest
    await network.until(lambda: len(network.refused) >= 5)
    assert len(network.heads) <= seen + 1  # one may have been on its way
    network.down = set()
    await network.until(lambda: network.heads[-1].statement.record_digest == newest)  # type: ignore[union-attr]
    await publisher.stop()


async def test_a_restarted_directory_announces_what_it_published(office: "Office", network: Network) -> None:
    """Nothing is published again, yet heads go on at once."""
    await DirectoryPublisher(office.directory, network).publish_due()
    published = len(network.taken)
    office.reopen()
    publisher = DirectoryPublisher(office.directory, network, network)
    await publisher.start()
    await network.until(lambda: bool(network.heads))
    await publisher.stop()
    assert len(network.taken) == published


async def test_renewals_come_by_themselves(office: "Office", network: Network) -> None:
    """Past half-time the successors are issued and published, the record under the new epoch.

    The directory goes on under its own: as the signer of requests as well.
    """
    olds = [parse_certificate(office.user("a@example.org")), parse_certificate(office.node("n1"))]
    trust, own = office.world.trust(), office.member.signer
    publisher = DirectoryPublisher(office.directory, network, trust=trust, own=own)
    await publisher.publish_due()
    network.taken.clear()
    office.world.clock.advance(200 * params.DAY)
    await publisher.publish_due()
    by_identifier = {statement.identifier: statement for statement in network.taken}
    for old in olds:
        assert by_identifier[old.identifier].time > old.not_before
    assert by_identifier[RECORD].epoch == 2
    assert trust.get(office.directory.signer.fingerprint) is not None
    assert own.certificate == office.directory.signer.certificate
    assert own.certificate.epoch == 2
    assert office.directory.renewals_due(office.world.clock()) == ()
