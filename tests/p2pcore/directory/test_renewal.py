"""Certificates past half of their life get successors for the same keys."""

from typing import TYPE_CHECKING

import pytest

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import AuthorityLocked, NotListed
from p2pcore.errors import NotAuthorised
from p2pcore.records import VersionStatement

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office


def test_renewals_are_due_from_half_time(office: "Office") -> None:
    """The directory's (90 days) first, then those of 400 days; removed and revoked ones never."""
    office.user("a@example.org")
    office.user("gone@example.org")
    office.user("stolen@example.org")
    office.gateway("mx.example.org")
    office.node("n1")
    office.directory.remove_user("gone@example.org")
    office.directory.revoke("stolen@example.org", "compromised")

    def due(days: float) -> list[str]:
        now = office.world.clock() + int(days * params.DAY)
        return [issued.name for issued in office.directory.renewals_due(now)]

    assert due(44) == []
    assert due(45) == ["example.org"]
    assert due(199) == ["example.org"]
    assert due(200) == ["example.org", "mx.example.org", "n1", "a@example.org"]


def test_a_renewed_certificate_has_the_same_keys_and_names_and_a_later_version(office: "Office") -> None:
    """It takes the old one's place in the list, the record and what is published; then it is not due."""
    for add, name in ((office.user, "a@example.org"), (office.gateway, "mx.example.org"), (office.node, "n1")):
        old = parse_certificate(add(name))
        issued = next(i for i in office.directory.renewals_due(2**50) if i.name == name)
        new = parse_certificate(office.directory.renew(issued))
        assert (new.role, new.addresses, new.host) == (old.role, old.addresses, old.host)
        assert (new.public_key, new.hpke_key) == (old.public_key, old.hpke_key)
        assert new.not_before > old.not_before
        contents = [published.content for published in office.directory.certificates_to_publish()]
        assert new.der in contents
        assert old.der not in contents
        with pytest.raises(NotListed):
            office.directory.renew(issued)
    (gateway,) = office.record().gateways
    assert gateway.certificate in {machine.certificate for machine in office.directory.machines()}


def test_the_newest_certificate_of_a_holder(office: "Office") -> None:
    """What was renewed, here or by whoever publishes, is found by the earlier one; what is not in use has no other."""
    held = parse_certificate(office.gateway("mx.example.org"))
    gone = parse_certificate(office.user("gone@example.org"))
    office.directory.remove_user("gone@example.org")
    assert office.directory.newest(held) == held
    office.world.clock.advance(430 * params.DAY)
    new = office.directory.newest(held)
    assert (new.host, new.public_key, new.hpke_key) == (held.host, held.public_key, held.hpke_key)
    assert new.not_after > office.world.clock()
    assert office.directory.newest(held) == new
    assert office.directory.newest(gone) == gone


def test_the_directory_renews_itself_with_the_next_epoch(office: "Office") -> None:
    """Records are signed with the new certificate at once and after reopening with the old one."""
    before = office.directory.current_record().version.statement
    (own,) = office.directory.renewals_due(office.world.clock() + 46 * params.DAY)
    new = parse_certificate(office.directory.renew(own))
    assert (new.role, new.epoch) == ("directory", 2)
    for reopened in (False, True):
        directory = office.reopen() if reopened else office.directory
        statement = directory.current_record().version.statement
        assert isinstance(statement, VersionStatement)
        assert isinstance(before, VersionStatement)
        assert (statement.epoch, statement.signer) == (2, new.fingerprint)
        assert statement.time > before.time
        assert directory.signer.certificate == new


def test_another_process_follows_the_renewal(office: "Office") -> None:
    """The book says which certificate signs."""
    other = office.open()
    (own,) = office.directory.renewals_due(office.world.clock() + 46 * params.DAY)
    new = parse_certificate(office.directory.renew(own))
    assert other.signer.fingerprint == new.fingerprint
    assert other.current_record() == office.directory.current_record()
    other.close()


def test_a_signer_of_an_older_epoch_with_another_key_is_refused(office: "Office") -> None:
    """Its records would lose against those published already."""
    newer, older = office.world.directory(epoch=7), office.world.directory(epoch=6)
    office.open(newer.signer).close()
    with pytest.raises(NotAuthorised):
        office.open(older.signer)
    with pytest.raises(ValueError, match="key"):
        Signer(SigningKey.generate(), newer.certificate)


def test_renewal_needs_the_authority(office: "Office") -> None:
    """A locked CA is said."""
    locked = Directory(office.path, "example.org", None, office.member.signer, office.world.clock)
    (own,) = locked.renewals_due(office.world.clock() + 46 * params.DAY)
    with pytest.raises(AuthorityLocked):
        locked.renew(own)
    locked.close()
