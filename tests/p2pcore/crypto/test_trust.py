"""trust: chains, and the rules of validity (docs/formats.md §4), one test for each."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from p2pcore import params
from p2pcore.crypto.certificate_parsing import RoleExtension
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.trust import Trust
from p2pcore.errors import CertificateRefused, ClockSkew, Malformed
from p2pcore.records import Revocation
from tests.p2pcore.crypto.forging import forge
from tests.support.identities import START, World

NOW = START + 100 * params.DAY


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def bob(world: World) -> Certificate:
    return world.user("bob").certificate


def revoked(world: World, bob: Certificate, reason: str, time: int) -> Trust:
    trust = world.trust()
    trust.set_revocations((Revocation(bob.serial, reason, time),))  # type: ignore[arg-type]
    return trust


def test_add_and_get(world: World, bob: Certificate) -> None:
    """A certificate is known by its fingerprint once it has been added, and only then."""
    trust = world.trust()
    assert trust.get(bob.fingerprint) is None
    assert trust.add(bob.der) == bob
    assert trust.get(bob.fingerprint) is trust.add(bob.der)


def test_another_authority_of_the_same_domain(world: World) -> None:
    """A certificate from another authority is refused, whatever its names say."""
    with pytest.raises(CertificateRefused):
        world.trust().add(World().user("bob").certificate.der)


def test_altered_certificate(world: World, bob: Certificate) -> None:
    """A certificate altered after signing is refused."""
    altered = bob.der.replace(b"bob@example.org", b"eve@example.org")
    assert altered != bob.der
    with pytest.raises(CertificateRefused):
        world.trust().add(altered)


def test_domain_of_the_authority() -> None:
    """An authority is trusted for the domain it is constrained to, and a leaf is no authority."""
    world = World("example.net")
    with pytest.raises(CertificateRefused):
        Trust(world.authority.certificate, "example.org")
    with pytest.raises(Malformed):
        Trust(world.node().certificate.der, "example.net")


def test_role_of_another_domain(world: World) -> None:
    """A role in another domain is refused even where no name shows the domain."""
    role = RoleExtension(role="node", domain="example.net", host="", epoch=0)
    with pytest.raises(CertificateRefused):
        world.trust().add(forge(world.authority, role=role))


def test_dates_outside_the_authoritys(world: World) -> None:
    """A certificate that would outlive its authority, or precede it, is refused."""
    role = RoleExtension(role="node", domain="example.org", host="", epoch=0)
    for der in (
        forge(world.authority, role=role, not_after=START + params.AUTHORITY_LIFETIME + params.DAY),
        forge(world.authority, role=role, not_before=START - 2 * params.DAY),
    ):
        with pytest.raises(CertificateRefused, match="dates"):
            world.trust().add(der)


def test_expired_certificates_are_added(world: World, bob: Certificate) -> None:
    """Dates are judged with the statement, not when the certificate is learnt: old mail stays verifiable."""
    trust = world.trust()
    with pytest.raises(CertificateRefused, match="expired"):
        trust.judge(trust.add(bob.der), START + 500 * params.DAY, START + 500 * params.DAY, direct=True)


def test_other_signature_octets_are_another_certificate(world: World, bob: Certificate) -> None:
    """ECDSA signatures can be rewritten by anybody: the fingerprint changes, the serial that is revoked does not."""
    loaded = x509.load_der_x509_certificate(bob.der)
    r, s = decode_dss_signature(loaded.signature)
    signature = encode_dss_signature(r, ec.SECP256R1().group_order - s)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256, RFC 5758 §3.2
    body = loaded.tbs_certificate_bytes + algorithm + bytes([3, 1 + len(signature), 0]) + signature
    rewritten = world.trust().add(b"\x30\x82" + len(body).to_bytes(2, "big") + body)
    assert rewritten.fingerprint != bob.fingerprint
    assert rewritten.serial == bob.serial


def test_cache_is_bounded(world: World, bob: Certificate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many certificates are kept; the ones used last stay."""
    monkeypatch.setattr(params, "TRUST_CACHE", 2)
    trust = world.trust()
    trust.add(bob.der)
    other = trust.add(world.node().certificate.der)
    assert trust.get(bob.fingerprint)
    trust.add(world.node().certificate.der)
    assert trust.get(bob.fingerprint)
    assert trust.get(other.fingerprint) is None


# --- Straight from its signer ---


@pytest.mark.parametrize("offset", [-params.HOUR, 0, params.DIRECT_SKEW])
def test_direct_at_most_ten_minutes_ahead(world: World, bob: Certificate, offset: int) -> None:
    """Straight from its signer, a statement is at most 10 minutes ahead of now; a durable queue repeats old ones."""
    world.trust().judge(bob, NOW + offset, NOW, direct=True)


def test_direct_further_ahead(world: World, bob: Certificate) -> None:
    """Further ahead than that, one of the clocks is wrong."""
    with pytest.raises(ClockSkew):
        world.trust().judge(bob, NOW + params.DIRECT_SKEW + 1, NOW, direct=True)


def test_direct_needs_a_certificate_valid_at_issue(world: World, bob: Certificate) -> None:
    """Straight from its signer, an old statement was issued when its certificate was valid already."""
    with pytest.raises(CertificateRefused):
        world.trust().judge(bob, bob.not_before - params.JUDGING_TOLERANCE - 1, NOW, direct=True)


def test_direct_needs_a_certificate_valid_now(world: World, bob: Certificate) -> None:
    """Straight from its signer, the certificate is valid now, with an hour's tolerance at either end."""
    trust = world.trust()
    first = bob.not_before - params.JUDGING_TOLERANCE
    last = bob.not_after + params.JUDGING_TOLERANCE
    trust.judge(bob, first, first, direct=True)
    trust.judge(bob, first, last, direct=True)
    with pytest.raises(CertificateRefused):
        trust.judge(bob, first, last + 1, direct=True)


# --- Through repair ---


def test_repair_needs_a_certificate_valid_at_issue(world: World, bob: Certificate) -> None:
    """Through repair, the certificate was valid at issue, with an hour's tolerance, whatever it is now."""
    trust = world.trust()
    later = bob.not_after + 100 * params.DAY
    first = bob.not_before - params.JUDGING_TOLERANCE
    last = bob.not_after + params.JUDGING_TOLERANCE
    trust.judge(bob, first, later, direct=False)
    trust.judge(bob, last, later, direct=False)
    for issued in (first - 1, last + 1):
        with pytest.raises(CertificateRefused):
            trust.judge(bob, issued, later, direct=False)


def test_repair_of_the_future(world: World, bob: Certificate) -> None:
    """Through repair, nothing is issued more than an hour ahead of now."""
    world.trust().judge(bob, NOW + params.JUDGING_TOLERANCE, NOW, direct=False)
    with pytest.raises(ClockSkew):
        world.trust().judge(bob, NOW + params.JUDGING_TOLERANCE + 1, NOW, direct=False)


# --- Revocations ---


def test_retired_counts_at_once_when_direct(world: World, bob: Certificate) -> None:
    """A retired certificate signs nothing more from its time on; until then it does."""
    trust = revoked(world, bob, "retired", NOW)
    trust.judge(bob, NOW - 1, NOW - 1, direct=True)
    with pytest.raises(CertificateRefused, match="retired"):
        trust.judge(bob, NOW - 1, NOW, direct=True)


def test_retired_leaves_earlier_statements(world: World, bob: Certificate) -> None:
    """Through repair, what was issued before the retirement, with an hour's tolerance, is good for ever."""
    trust = revoked(world, bob, "retired", NOW)
    later = NOW + 50 * params.DAY
    trust.judge(bob, NOW + params.JUDGING_TOLERANCE - 1, later, direct=False)
    with pytest.raises(CertificateRefused, match="retired"):
        trust.judge(bob, NOW + params.JUDGING_TOLERANCE, later, direct=False)
    assert not trust.is_compromised(bob)


def test_compromised_signs_nothing_more(world: World, bob: Certificate) -> None:
    """A compromised certificate signs nothing directly, whatever time the revocation gives."""
    trust = revoked(world, bob, "compromised", NOW + params.DAY)
    with pytest.raises(CertificateRefused, match="compromised"):
        trust.judge(bob, NOW, NOW, direct=True)


def test_compromised_is_passed_on_as_unverified(world: World, bob: Certificate) -> None:
    """What a compromised certificate signed before its time is passed on, and whoever ingests it is told."""
    trust = revoked(world, bob, "compromised", NOW)
    trust.judge(bob, NOW - params.DAY, NOW + params.DAY, direct=False)
    assert trust.is_compromised(bob)
    with pytest.raises(CertificateRefused, match="compromised"):
        trust.judge(bob, NOW + params.JUDGING_TOLERANCE, NOW + params.DAY, direct=False)


def test_revocations_are_replaced(world: World, bob: Certificate) -> None:
    """The newest record's revocations count, all of them and no others; of two for one serial the stricter."""
    trust = world.trust()
    retired = Revocation(bob.serial, "retired", NOW - 1)
    trust.set_revocations((Revocation(bob.serial, "compromised", NOW), retired))
    assert trust.is_compromised(bob)
    trust.set_revocations((Revocation(bob.serial, "retired", NOW + params.DAY), retired))
    with pytest.raises(CertificateRefused):
        trust.judge(bob, NOW, NOW, direct=True)
    trust.set_revocations((Revocation(b"\x01", "compromised", 0),))
    trust.judge(bob, NOW, NOW, direct=True)
