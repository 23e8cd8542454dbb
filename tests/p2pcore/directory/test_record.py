"""The domain record as a version: order, signature, sealing, and what is published beside it."""

import hashlib
from typing import TYPE_CHECKING

import pytest

from p2pcore import names, params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.notifications import open_addresses
from p2pcore.errors import ClockSkew, Tampered
from p2pcore.node.versioned import check_content
from p2pcore.records import DomainRecord, VersionStatement, decode

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office


def statement_of(office: "Office") -> VersionStatement:
    statement = office.directory.current_record().version.statement
    assert isinstance(statement, VersionStatement)
    return statement


def test_record_is_a_version_that_everybody_can_verify(office: "Office") -> None:
    """The statement is the directory's, covers the content, and says the record's own epoch and time."""
    published = office.directory.current_record()
    assert office.world.verifier(office.member).verify(published.version, direct=True) == office.member.certificate
    statement, record = published.version.statement, decode(DomainRecord, published.content)
    assert isinstance(statement, VersionStatement)
    assert (statement.kind, statement.identifier) == ("domain", names.domain_identifier("example.org"))
    assert (statement.digest, statement.size) == (hashlib.sha256(published.content).digest(), len(published.content))
    assert (statement.epoch, statement.time) == (record.epoch, record.time) == (1, office.world.clock())
    assert record.next_update == record.time + params.RECORD_VALIDITY


def test_unchanged_record_is_the_same_version_for_a_day(office: "Office") -> None:
    """Then a new one carries a later nextUpdate, also across reopening."""
    first = office.directory.current_record()
    office.world.clock.advance(params.PUBLISH_INTERVAL - 1)
    assert office.reopen().current_record() == first
    office.world.clock.advance(1)
    assert office.directory.current_record() != first


def test_times_of_versions_strictly_increase_whatever_the_clock_does(office: "Office") -> None:
    """Several changes in one millisecond, and a clock set back by ten minutes, still give later versions."""
    times = []
    for number in range(3):
        office.user(f"u{number}@example.org")
        times.append(statement_of(office).time)
    office.world.clock.advance(-10 * params.MINUTE)
    office.user("late@example.org")
    office.reopen()
    times.append(statement_of(office).time)
    assert times == sorted(set(times))


def test_a_clock_far_behind_the_last_version_is_said(office: "Office") -> None:
    """Nobody takes a version more than VERSION_AHEAD ahead; the change stays in the book and is published later."""
    statement_of(office)
    office.world.clock.advance(-2 * params.VERSION_AHEAD)
    office.user("a@example.org")
    with pytest.raises(ClockSkew):
        office.directory.current_record()
    office.world.clock.advance(2 * params.VERSION_AHEAD)
    office.directory.current_record()


def test_the_record_is_published_under_a_fresh_statement(office: "Office") -> None:
    """Hours after it was built its statement is new, so that it lives as long: same version, same content."""
    built = office.directory.current_record()
    office.world.clock.advance(3 * params.HOUR)
    published = office.directory.record_to_publish()
    office.world.verifier(office.member).verify(published.version, direct=True)
    old, new = built.version.statement, published.version.statement
    assert isinstance(old, VersionStatement)
    assert isinstance(new, VersionStatement)
    assert published.content == built.content
    assert (new.epoch, new.time, new.digest, new.issued) == (old.epoch, old.time, old.digest, office.world.clock())


def test_only_the_listed_gateways_can_open_the_addresses(office: "Office") -> None:
    """Each with its own key; a revoked one no longer; the list shows in no record's octets."""
    office.user("secretname@example.org")
    office.gateway("mx1.example.org", "192.0.2.1")
    office.gateway("mx2.example.org", "192.0.2.2")
    assert office.addresses("mx1.example.org") == office.addresses("mx2.example.org")
    assert b"secretname" not in office.directory.current_record().content
    office.directory.revoke("mx1.example.org")
    assert office.addresses("mx2.example.org").users == ("secretname@example.org",)
    with pytest.raises(Tampered):
        open_addresses(office.record(), [office.keys["mx1.example.org"][1]])


def test_certificates_are_published_as_versions_of_their_not_before(office: "Office") -> None:
    """All in one batch that everybody can verify: machines', by role and node ID, then users', by address."""
    users = [parse_certificate(office.user(address)) for address in ("a@example.org", "b@example.org")]
    machines = [parse_certificate(office.gateway("mx.example.org")), parse_certificate(office.node("n1"))]
    verifier = office.world.verifier(office.member)
    found = []
    for published in office.directory.certificates_to_publish():
        verifier.verify(published.version, direct=True)
        statement = published.version.statement
        assert isinstance(statement, VersionStatement)
        certificate = parse_certificate(published.content)
        assert (statement.epoch, statement.time) == (0, certificate.not_before)
        named = f"p2pmail-{certificate.role}:{certificate.node_id.hex()}"
        holder = certificate.primary_address if certificate.role == "user" else named
        assert statement.identifier == f"{holder}-certificate"
        assert statement.digest == certificate.fingerprint
        found.append(certificate)
    assert found == machines + users
    (only,) = office.directory.certificates_to_publish({users[1].fingerprint})
    assert only.content == users[1].der


def test_nodes_take_what_is_published(office: "Office") -> None:
    """The content rules of the storing side hold for the record and every certificate."""
    office.user("a@example.org")
    office.gateway("mx.example.org")
    for published in (office.directory.current_record(), *office.directory.certificates_to_publish()):
        statement = published.version.statement
        assert isinstance(statement, VersionStatement)
        check_content(statement, published.content, office.world.trust())
