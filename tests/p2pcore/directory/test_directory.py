"""The domain's rules: addresses, machines, revocation, replication; a refused call changes nothing."""

import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import (
    AddressTaken,
    AuthorityLocked,
    BookUnusable,
    NameTaken,
    NotListed,
    ReplicationRefused,
)
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CertificateRefused, Failure, Malformed, NoSuchAddress, NotAuthorised, NotOurDomain, TooLarge
from tests.support.identities import World

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office


def keys() -> tuple[bytes, bytes]:
    return SigningKey.generate().public_bytes, HpkeKey.generate().public_bytes


def test_user_gets_a_certificate_for_her_canonical_address_and_keys(office: "Office") -> None:
    """A user added in any spelling is listed in canonical form; her certificate names it and her own keys."""
    signing, hpke = keys()
    der = office.directory.add_user("Alice+news@EXAMPLE.org", signing, hpke)
    certificate = office.world.trust().add(der)
    assert (certificate.role, certificate.addresses) == ("user", ("alice@example.org",))
    assert (certificate.public_key, certificate.hpke_key) == (signing, hpke)
    assert [(user.address, user.state) for user in office.directory.users()] == [("alice@example.org", "active")]


def test_what_was_done_is_there_after_reopening(office: "Office") -> None:
    """Users, aliases, catch-all, postmaster, machines and replication are in the book."""
    for address in ("a@example.org", "b@example.org"):
        office.user(address)
    office.gateway("mx.example.org")
    office.node("n1")
    office.directory.set_alias("info@example.org", ["b@example.org", "a@example.org"])
    office.directory.set_catch_all("a@example.org")
    office.directory.set_postmaster("b@example.org")
    before = office.addresses("mx.example.org")
    office.reopen()
    assert office.addresses("mx.example.org") == before
    assert before.users == ("a@example.org", "b@example.org")
    assert before.aliases == {"info@example.org": ("b@example.org", "a@example.org")}
    assert (before.catch_all, before.postmaster) == (("a@example.org",), "b@example.org")
    assert [machine.name for machine in office.directory.machines()] == ["mx.example.org", "n1"]


def test_postmaster_is_the_first_user_unless_chosen(office: "Office") -> None:
    """The choice falls back to the first active user when the chosen one goes."""
    assert office.directory.postmaster() == ""
    for address in ("a@example.org", "b@example.org", "c@example.org"):
        office.user(address)
    assert office.directory.postmaster() == "a@example.org"
    office.directory.set_postmaster("c@example.org")
    assert office.directory.postmaster() == "c@example.org"
    office.directory.remove_user("c@example.org")
    office.directory.remove_user("a@example.org")
    assert office.directory.postmaster() == "b@example.org"


def test_removed_user_leaves_no_trace_in_the_list_and_her_certificates_are_retired(office: "Office") -> None:
    """Aliases that name only her go; others lose her; her renewed certificates are revoked as well."""
    first = parse_certificate(office.user("a@example.org"))
    office.user("b@example.org")
    office.gateway("mx.example.org")
    office.directory.set_alias("only@example.org", "a@example.org")
    office.directory.set_alias("both@example.org", ["a@example.org", "b@example.org"])
    office.directory.set_catch_all(["a@example.org", "b@example.org"])
    office.world.clock.advance(250 * params.DAY)
    renewals = office.directory.renewals_due(office.world.clock())
    second = parse_certificate(office.directory.renew(next(r for r in renewals if r.name == "a@example.org")))
    office.directory.remove_user("A@example.org")
    addresses = office.addresses("mx.example.org")
    assert addresses.users == ("b@example.org",)
    assert addresses.aliases == {"both@example.org": ("b@example.org",)}
    assert addresses.catch_all == ("b@example.org",)
    assert {(r.serial, r.reason) for r in office.record().revocations} == {
        (first.serial, "retired"),
        (second.serial, "retired"),
    }


def test_an_address_can_be_given_again_after_its_user_was_removed(office: "Office") -> None:
    """The new certificate is newer than the retired one, also within one second."""
    old = parse_certificate(office.user("a@example.org"))
    office.directory.remove_user("a@example.org")
    new = parse_certificate(office.user("a@example.org"))
    assert new.not_before > old.not_before
    assert not office.directory.is_revoked(new.fingerprint)


def test_alias_is_replaced_and_removed(office: "Office") -> None:
    """set_alias says all targets; repeated targets count once."""
    for address in ("a@example.org", "b@example.org"):
        office.user(address)
    office.directory.set_alias("Info@example.org", ["a@example.org"])
    office.directory.set_alias("info@example.org", ["b@example.org", "B+x@example.org"])
    assert office.directory.aliases() == {"info@example.org": ("b@example.org",)}
    office.directory.remove_alias("info+tag@example.org")
    assert office.directory.aliases() == {}


@pytest.mark.parametrize("alias", ["@example.org", "*@EXAMPLE.org"])
def test_an_alias_of_the_whole_domain_is_the_catch_all(office: "Office", alias: str) -> None:
    """As mail administrators write it; what has an address of its own comes first."""
    office.user("a@example.org")
    office.directory.set_alias(alias, "a@example.org")
    assert (office.directory.catch_all(), office.directory.aliases()) == (("a@example.org",), {})
    office.directory.remove_alias(alias)
    assert office.directory.catch_all() == ()
    with pytest.raises(NotOurDomain):
        office.directory.set_alias("@example.com", "a@example.org")


def test_catch_all_can_be_cleared(office: "Office") -> None:
    """No targets: nobody takes what nothing else takes."""
    office.user("a@example.org")
    office.directory.set_catch_all(["a@example.org"])
    office.directory.set_catch_all(())
    assert office.directory.catch_all() == ()


def refusals() -> list[tuple[type[Failure], Callable[[Directory], object]]]:
    """Calls on a directory with user a@, alias info@, gateway mx.example.org and nodes n1, n2 that are refused."""
    here, (signing, hpke) = Endpoint("127.0.0.1", 1), keys()
    return [
        (AddressTaken, lambda d: d.add_user("A+tag@example.org", signing, hpke)),
        (AddressTaken, lambda d: d.add_user("info@example.org", signing, hpke)),
        (NotOurDomain, lambda d: d.add_user("a@sub.example.org", signing, hpke)),
        (Malformed, lambda d: d.add_user("not an address", signing, hpke)),
        (Malformed, lambda d: d.add_user("c@example.org", signing[1:], hpke)),
        (Malformed, lambda d: d.add_user("c@example.org", signing, hpke[1:])),
        (NoSuchAddress, lambda d: d.remove_user("c@example.org")),
        (NoSuchAddress, lambda d: d.remove_user("info@example.org")),
        (NotOurDomain, lambda d: d.remove_user("a@example.net")),
        (AddressTaken, lambda d: d.set_alias("a@example.org", ["a@example.org"])),
        (NoSuchAddress, lambda d: d.set_alias("info@example.org", ["a@example.org", "c@example.org"])),
        (NoSuchAddress, lambda d: d.set_alias("x@example.org", "info@example.org")),
        (Malformed, lambda d: d.set_alias("x@example.org", [])),
        (NotOurDomain, lambda d: d.set_alias("x@example.net", "a@example.org")),
        (NotOurDomain, lambda d: d.set_alias("x@example.org", "a@example.net")),
        (NoSuchAddress, lambda d: d.remove_alias("a@example.org")),
        (NoSuchAddress, lambda d: d.set_catch_all("c@example.org")),
        (NoSuchAddress, lambda d: d.set_postmaster("info@example.org")),
        (NameTaken, lambda d: d.add_gateway("MX.example.org", here, signing, hpke)),
        (Malformed, lambda d: d.add_gateway("mx2.example.org", here, signing, b"")),
        (Malformed, lambda d: d.add_gateway("no host name", here, signing, hpke)),
        (NameTaken, lambda d: d.add_node("n1", here, signing)),
        (Malformed, lambda d: d.add_node("n3", Endpoint("127.0.0.1", 0), signing)),
        (Malformed, lambda d: d.add_node("n3", Endpoint("x" * 256, 1), signing)),
        (Malformed, lambda d: d.add_node("n3", Endpoint("127.0.0.1", 65_536), signing)),
        (Malformed, lambda d: d.add_node(" ", here, signing)),
        (Malformed, lambda d: d.add_node("n3", here, signing[1:])),
        (NotListed, lambda d: d.revoke("c@example.org")),
        (NotListed, lambda d: d.revoke("n3")),
        (NotListed, lambda d: d.revoke("127.0.0.1")),  # three machines are there
        (NotListed, lambda d: d.revoke(bytes(32))),
        (NotListed, lambda d: d.revoke(b"\x01\x02")),
        (Malformed, lambda d: d.revoke(bytes(21))),
        (NotAuthorised, lambda d: d.revoke(d.signer.certificate.serial)),
        (ReplicationRefused, lambda d: d.set_replication(3, 2)),
        (ReplicationRefused, lambda d: d.set_replication(2, 1)),
        (ReplicationRefused, lambda d: d.set_replication(2, 3)),
        (ReplicationRefused, lambda d: d.set_replication(0, 0)),
        (ReplicationRefused, lambda d: d.set_replication(21, 21)),
    ]


@pytest.mark.parametrize("number", range(len(refusals())))
def test_a_refused_call_says_why_and_changes_nothing(office: "Office", number: int) -> None:
    """Every refusal is of its class with a text, and the record stays the very same version."""
    office.user("a@example.org")
    office.directory.set_alias("info@example.org", "a@example.org")
    office.gateway("mx.example.org")
    office.node("n1", 7001)
    office.node("n2", 7002)
    before = office.directory.current_record(), office.directory.users(), office.directory.machines()
    kind, call = refusals()[number]
    with pytest.raises(kind) as refusal:
        call(office.directory)
    assert type(refusal.value) is kind
    assert str(refusal.value)
    after = office.directory.current_record(), office.directory.users(), office.directory.machines()
    assert after == before


def test_machine_listed_again_with_its_keys_only_moves(office: "Office") -> None:
    """The same name and key get the same certificate; another endpoint replaces the old one."""
    first = office.node("n1", 7001)
    signing = office.keys["n1"][0].public_bytes
    assert office.directory.add_node("n1", Endpoint("192.0.2.1", 7002), signing) == first
    (contact,) = office.record().bootstrap
    assert (contact.host, contact.port, contact.node_id) == ("192.0.2.1", 7002, parse_certificate(first).node_id)
    with pytest.raises(NameTaken):
        office.directory.add_node("other", Endpoint("192.0.2.1", 7002), signing)


def test_a_machine_that_has_moved_keeps_its_certificate(office: "Office") -> None:
    """By name, or node ID; where a gateway and a node share a name it has to be said which; nobody else moves."""
    office.gateway("mx.example.org", "192.0.2.7", 465)
    node = parse_certificate(office.node("mx.example.org", 7001))
    with pytest.raises(NotListed, match="--role"):
        office.directory.move_machine("mx.example.org", Endpoint("192.0.2.8", 465))
    moved = office.directory.move_machine("mx.example.org", Endpoint("192.0.2.8", 465), "gateway")
    assert (moved.role, moved.endpoint) == ("gateway", Endpoint("192.0.2.7", 465))
    office.directory.move_machine(node.node_id.hex(), Endpoint("192.0.2.9", 7002))
    record = office.record()
    assert [(each.host, each.port) for each in record.gateways] == [("192.0.2.8", 465)]
    assert [(each.host, each.port, each.node_id) for each in record.bootstrap] == [("192.0.2.9", 7002, node.node_id)]
    assert {each.certificate for each in office.directory.machines() if each.role == "node"} == {node.fingerprint}
    office.directory.revoke(node.node_id.hex())
    before = office.directory.current_record()
    for name, endpoint, role in (
        (node.node_id.hex(), Endpoint("192.0.2.9", 7003), None),
        ("nobody", Endpoint("192.0.2.9", 7003), "node"),
    ):
        with pytest.raises(NotListed):
            office.directory.move_machine(name, endpoint, role)  # type: ignore[arg-type]
    for host in ("", "0.0.0.0", "::", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1", "255.255.255.255", "fe80::1%a b"):
        with pytest.raises(Malformed, match=r":465 is not an endpoint that others can reach"):
            office.directory.move_machine("mx.example.org", Endpoint(host, 465), "gateway")
    assert office.directory.current_record() == before
    for host in ("127.0.0.1", "::1", "10.0.0.1", "fe80::1%eth0", "fd00::1", "mx.example.org"):
        office.directory.move_machine("mx.example.org", Endpoint(host, 465), "gateway")


def test_record_lists_gateways_with_the_digests_of_certificate_and_hpke_key(office: "Office") -> None:
    """Agents find where to submit and which key to expect."""
    der = office.gateway("mx.example.org", "192.0.2.7", 465)
    (gateway,) = office.record().gateways
    certificate = parse_certificate(der)
    assert (gateway.host, gateway.port) == ("192.0.2.7", 465)
    assert (gateway.certificate, gateway.hpke_key) == (
        certificate.fingerprint,
        office.keys["mx.example.org"][1].fingerprint,
    )
    assert (certificate.role, certificate.host) == ("gateway", "mx.example.org")


def test_bootstrap_list_holds_twenty_nodes_at_most(office: "Office") -> None:
    """Those listed longest stay; a revoked one makes room."""
    for number in range(22):
        office.node(f"n{number}", 7000 + number)
    assert [contact.port for contact in office.record().bootstrap] == list(range(7000, 7020))
    office.directory.revoke("n0")
    assert [contact.port for contact in office.record().bootstrap] == list(range(7001, 7021))


@pytest.mark.parametrize("by", ["name", "node ID", "node ID in hexadecimal", "host", "serial"])
def test_a_machine_is_revoked_by_whatever_names_it(office: "Office", by: str) -> None:
    """It leaves the list, and its serial is in the record."""
    office.node("n1", 7001)
    certificate = parse_certificate(office.gateway("mx.example.org", "192.0.2.7"))
    targets: dict[str, str | bytes] = {
        "name": "mx.example.org",
        "node ID": certificate.node_id,
        "node ID in hexadecimal": certificate.node_id.hex(),
        "host": "192.0.2.7",
        "serial": certificate.serial,
    }
    (revocation,) = office.directory.revoke(targets[by], "compromised")
    assert (revocation.serial, revocation.reason) == (certificate.serial, "compromised")
    record = office.record()
    assert record.revocations == (revocation,)
    assert record.gateways == ()
    assert len(record.bootstrap) == 1


def test_revoked_user_stays_listed_until_she_has_new_keys(office: "Office") -> None:
    """Her address keeps its aliases, so mail waits instead of bouncing; new keys end that."""
    office.user("a@example.org")
    office.gateway("mx.example.org")
    office.directory.set_alias("info@example.org", "a@example.org")
    office.directory.revoke("a@example.org", "compromised")
    assert office.addresses("mx.example.org").users == ("a@example.org",)
    published = {version.content for version in office.directory.certificates_to_publish()}
    fresh = office.user("a@example.org")
    assert fresh not in published
    assert fresh in {version.content for version in office.directory.certificates_to_publish()}
    assert office.directory.aliases() == {"info@example.org": ("a@example.org",)}


def test_a_compromised_key_gets_no_certificate_any_more(office: "Office") -> None:
    """Whatever the name or role."""
    office.user("a@example.org")
    office.directory.revoke("a@example.org", "compromised")
    signing, hpke = office.keys["a@example.org"]
    with pytest.raises(CertificateRefused):
        office.directory.add_user("a@example.org", signing.public_bytes, hpke.public_bytes)
    with pytest.raises(CertificateRefused):
        office.directory.add_node("n1", Endpoint("127.0.0.1", 7000), signing.public_bytes)


def test_retired_may_become_compromised_and_never_the_reverse(office: "Office") -> None:
    """The stricter word stays, with its time."""
    office.user("a@example.org")
    office.directory.remove_user("a@example.org")
    office.world.clock.advance(5)
    (worse,) = office.directory.revoke("a@example.org", "compromised")
    assert (worse.reason, worse.time) == ("compromised", office.world.clock())
    office.world.clock.advance(5)
    assert office.directory.revoke("a@example.org", "retired") == (worse,)


def test_revocations_leave_the_record_when_they_cannot_matter(office: "Office") -> None:
    """Nothing that an expired certificate signed lives longer than MAX_LIFETIME."""
    certificate = parse_certificate(office.user("a@example.org"))
    office.directory.remove_user("a@example.org")
    office.world.clock.now = certificate.not_after + params.MAX_LIFETIME
    assert len(office.directory.revocations()) == 1
    office.world.clock.advance(2 * params.HOUR)
    assert office.directory.revocations() == ()
    assert office.record().revocations == ()


def test_replication_follows_the_nodes_listed_and_keeps_its_history(office: "Office") -> None:
    """k = 1, w = 1 from the beginning; a change holds from now on; the same again is no change."""
    start = office.world.clock()
    for number in range(3):
        office.node(f"n{number}", 7000 + number)
    office.world.clock.advance(1_000)
    office.directory.set_replication(3, 2)
    office.directory.set_replication(3, 2)
    history = [(r.since - start, r.k, r.w) for r in office.record().replication]
    assert history == [(0, 1, 1), (1_000, 3, 2)]
    office.directory.set_replication(1, 1)
    assert [r.since - start for r in office.record().replication] == [0, 1_000, 1_001]


def test_old_replication_leaves_the_record_when_no_object_of_its_time_lives(office: "Office") -> None:
    """What held when the oldest living object was issued stays."""
    office.node("n1", 7001)
    office.node("n2", 7002)
    office.world.clock.advance(params.DAY)
    office.directory.set_replication(2, 2)
    office.world.clock.advance(params.MAX_LIFETIME - params.HOUR)
    assert [r.k for r in office.record().replication] == [1, 2]
    office.world.clock.advance(params.DAY)
    assert [r.k for r in office.record().replication] == [2]


def test_without_the_authority_everything_but_issuing_works(office: "Office") -> None:
    """A directory whose CA key is locked still revokes and publishes."""
    office.user("a@example.org")
    locked = Directory(office.path, "example.org", None, office.member.signer, office.world.clock)
    with pytest.raises(AuthorityLocked):
        locked.add_user("b@example.org", *keys())
    locked.remove_user("a@example.org")
    assert locked.current_record().content == office.directory.current_record().content
    locked.close()


def test_a_book_is_opened_only_with_its_own_domain_and_authority(office: "Office") -> None:
    """A mix-up of files is refused at the start."""
    other = World("example.net")
    with pytest.raises(BookUnusable):
        Directory(office.path, "example.net", other.authority, other.directory().signer, other.clock)
    stranger = World()
    with pytest.raises(BookUnusable):
        Directory(office.path, "example.org", stranger.authority, stranger.directory().signer, stranger.clock)
    with pytest.raises(CertificateRefused):
        Directory(office.path, "example.org", office.world.authority, office.world.node().signer, office.world.clock)


def test_a_file_that_is_no_book_is_named(office: "Office") -> None:
    """BookUnusable carries the path."""
    path = office.path.with_name("other")
    path.write_text("this is not a database, whatever its name says" * 100)
    with pytest.raises(BookUnusable, match="other"):
        Directory(path, "example.org", office.world.authority, office.member.signer, office.world.clock)


def test_the_book_is_readable_by_its_owner_only(office: "Office") -> None:
    """It holds invitation codes; SQLite gives its other files the same mode."""
    modes = {stat.S_IMODE(file.stat().st_mode) for file in office.path.parent.iterdir()}
    assert modes == {0o600}


def test_what_does_not_fit_the_record_is_refused(office: "Office", monkeypatch: pytest.MonkeyPatch) -> None:
    """A domain grows until its record is full, and stays publishable."""
    monkeypatch.setattr(params, "MAX_DOMAIN_RECORD", (64 << 10) + 100)
    office.user("a@example.org")
    office.user("b@example.org")
    office.directory.set_alias("alias@example.org", "a@example.org")
    with pytest.raises(TooLarge):
        office.directory.set_alias("another@example.org", "a@example.org")
    assert list(office.directory.aliases()) == ["alias@example.org"]
    office.directory.current_record()


def test_a_change_is_told_once_it_is_in_the_book(office: "Office") -> None:
    """Not for a refused call, and once for several changes in one transaction."""
    told: list[int] = []
    office.directory.on_change(lambda: told.append(len(office.directory.users())))
    office.user("a@example.org")
    with pytest.raises(AddressTaken):
        office.user("a@example.org")
    assert told == [1]


def test_adding_a_user_again_with_the_same_keys_gives_the_same_certificate(office: "Office") -> None:
    """Whoever died between the listing and writing the certificate down asks again."""
    certificate = office.user("again@example.org")
    signing, hpke = office.keys["again@example.org"]
    assert office.directory.add_user("Again@example.org", signing.public_bytes, hpke.public_bytes) == certificate
    with pytest.raises(AddressTaken):
        office.user("again@example.org")
