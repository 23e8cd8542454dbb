"""New keys for a user who has some: asked for under the old ones, listed once, and the old certificate still counts."""

from typing import TYPE_CHECKING

import msgspec
import pytest

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.notifications import NotificationSealer, open_notification
from p2pcore.directory.directory import Directory
from p2pcore.directory.errors import AuthorityLocked, InvitationRefused
from p2pcore.directory.rotation import accept_keys, make_key_request, new_keys, with_certificate
from p2pcore.directory.text_forms import from_text, is_form_of, to_text
from p2pcore.errors import CertificateRefused, Malformed, NoSuchAddress, SignatureRefused
from p2pcore.mail.certificates import receivable
from p2pcore.records import Identity, JoinAnswer, JoinRequest, KeyRequest
from tests.p2pcore.mail.opening import keys_of, notification_to

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office

ALICE = "alice@example.org"


def identity_of(office: "Office", address: str = ALICE) -> Identity:
    """What the agent of a newly listed user keeps."""
    certificate = office.user(address)
    signing, hpke = office.keys[address]
    return Identity(
        role="user",
        domain="example.org",
        name=address,
        signing_key=signing.private_bytes,
        hpke_keys=(hpke.private_bytes,),
        certificate=certificate,
        authority=office.world.authority.certificate,
    )


def test_a_user_gets_a_certificate_for_new_keys(office: "Office") -> None:
    """It is listed and published in place of the old one, which is still valid; asked again, it is the same."""
    held = identity_of(office)
    fresh = new_keys(held)
    request = from_text(KeyRequest, to_text(make_key_request(held, fresh)))
    assert request == make_key_request(held, fresh)
    answer = from_text(JoinAnswer, to_text(accept_keys(office.directory, request)))
    renewed = with_certificate(fresh, answer.certificate)
    old, new = parse_certificate(held.certificate), parse_certificate(renewed.certificate)
    assert (new.addresses, new.role) == (old.addresses, old.role)
    assert new.not_before > old.not_before
    assert new.public_key != old.public_key
    assert new.hpke_key != old.hpke_key
    (published,) = office.directory.certificates_to_publish()
    assert published.content == new.der
    assert accept_keys(office.directory, request).certificate == new.der
    trust = office.world.trust()
    trust.set_revocations(office.directory.revocations())
    for certificate in (old, new):
        trust.judge(certificate, office.world.clock(), office.world.clock(), direct=True)
        assert receivable(certificate, trust, office.world.clock()) == certificate


def test_mail_sealed_to_the_old_key_is_not_lost(office: "Office") -> None:
    """Whoever still has the old certificate seals to it, and the new identity opens that as well as the new."""
    held = identity_of(office)
    fresh = new_keys(held)
    renewed = with_certificate(fresh, accept_keys(office.directory, make_key_request(held, fresh)).certificate)
    sender = office.world.gateway()
    for der in (held.certificate, renewed.certificate):
        certificate = parse_certificate(der)
        notification = notification_to(certificate, sender)
        assert certificate.hpke_key is not None
        sealed = NotificationSealer().seal(notification, certificate.hpke_key)
        inbox, signer = certificate.inbox_key, sender.signer.fingerprint
        assert open_notification(sealed, keys_of(renewed), inbox, signer) == notification


def test_a_compromised_key_is_revoked_with_every_certificate_of_it(office: "Office") -> None:
    """Renewals too; the new key's certificate counts, and the old key is never taken again."""
    held = identity_of(office)
    office.world.clock.advance(200 * params.DAY)
    for due in office.directory.renewals_due(office.world.clock()):
        office.directory.renew(due)
    fresh = new_keys(held)
    request = make_key_request(held, fresh)
    office.directory.rotate_user(ALICE, request.signing_key, request.hpke_key, compromised=True)
    revoked = office.directory.revocations()
    assert [revocation.reason for revocation in revoked] == ["compromised", "compromised"]
    assert not office.directory.is_revoked(office.directory.users()[0].certificate)
    old = parse_certificate(held.certificate)
    assert old.hpke_key is not None
    with pytest.raises(CertificateRefused, match="compromised"):
        office.directory.rotate_user(ALICE, old.public_key, old.hpke_key)


def test_what_is_not_signed_by_her_key_changes_nothing(office: "Office") -> None:
    """A forged, altered or repeated old request, another domain, a user who is none: refused, whoever asks."""
    held = identity_of(office)
    mallory = identity_of(office, "mallory@example.org")
    fresh = new_keys(held)
    good = make_key_request(held, fresh)
    forged = msgspec.structs.replace(make_key_request(mallory, fresh), name=ALICE)
    stolen = msgspec.structs.replace(good, signing_key=make_key_request(held, new_keys(held)).signing_key)
    other = make_key_request(mallory, new_keys(msgspec.structs.replace(mallory, name=ALICE)))
    other = msgspec.structs.replace(other, held=good.held)
    for request in (forged, stolen, other):
        with pytest.raises(SignatureRefused):
            accept_keys(office.directory, request)
    with pytest.raises(InvitationRefused):
        accept_keys(office.directory, msgspec.structs.replace(good, domain="example.net"))
    assert office.directory.users()[0].certificate == parse_certificate(held.certificate).fingerprint
    accept_keys(office.directory, good)
    again = new_keys(fresh)
    accept_keys(office.directory, make_key_request(msgspec.structs.replace(fresh, name=ALICE), again))
    with pytest.raises(SignatureRefused):
        accept_keys(office.directory, good)  # it would bring the old keys back
    office.directory.revoke(ALICE, "retired")
    with pytest.raises(NoSuchAddress, match="invite"):
        office.directory.rotate_user(ALICE, good.signing_key, good.hpke_key)


def test_a_certificate_for_others_is_not_installed(office: "Office") -> None:
    """Only what is for the waiting keys and this user, from her authority, is."""
    held = identity_of(office)
    fresh = new_keys(held)
    with pytest.raises(CertificateRefused, match="not for the keys that wait"):
        with_certificate(fresh, held.certificate)
    named = msgspec.structs.replace(fresh, name="bob@example.org")
    answer = accept_keys(office.directory, make_key_request(held, fresh))
    with pytest.raises(CertificateRefused, match="not of bob"):
        with_certificate(named, answer.certificate)


def test_the_text_says_what_it_is(office: "Office") -> None:
    """`ca sign` takes both kinds of request and tells them apart by their first line."""
    held = identity_of(office)
    text = to_text(make_key_request(held, new_keys(held)))
    assert is_form_of(KeyRequest, text)
    assert not is_form_of(JoinRequest, text)
    assert not is_form_of(KeyRequest, "hello")
    with pytest.raises(Malformed, match="key request"):
        from_text(JoinRequest, text)


def test_without_the_authority_nothing_is_issued(office: "Office") -> None:
    """A locked CA: the failure says so, and nothing was revoked."""
    held = identity_of(office)
    request = make_key_request(held, new_keys(held))
    locked = Directory(office.path, "example.org", None, office.member.signer, office.world.clock)
    with pytest.raises(AuthorityLocked):
        locked.rotate_user(ALICE, request.signing_key, request.hpke_key, compromised=True)
    assert locked.revocations() == ()
    locked.close()
