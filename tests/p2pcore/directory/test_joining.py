"""Joining: invitation, request, answer, identity; one code, one newcomer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from p2pcore import params
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.directory.errors import AddressTaken, InvitationRefused, NameTaken
from p2pcore.directory.joining import Admissions, install, make_request, new_identity
from p2pcore.directory.text_forms import from_text, to_text
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CertificateRefused, Failure, Malformed, NotAuthorised, NotOurDomain, SignatureRefused
from p2pcore.records import (
    ContactInfo,
    DomainRecord,
    Identity,
    Invitation,
    JoinAnswer,
    JoinRequest,
    PublishedVersion,
    Role,
    decode,
    encode,
)
from tests.support.identities import World

if TYPE_CHECKING:
    from tests.p2pcore.directory.conftest import Office

CASES: list[tuple[Role, str, Endpoint | None]] = [
    ("node", "cellar", Endpoint("192.0.2.1", 7000)),
    ("gateway", "MX2.example.org", Endpoint("192.0.2.2", 587)),
    ("user", "Alice+x@example.org", None),
]
HERE = Endpoint("192.0.2.1", 7000)


@pytest.fixture
def admissions(office: "Office") -> Admissions:
    return Admissions(office.directory, office.world.authority.certificate)


def signed_again(keys: Identity, invitation: Invitation, **changes: Any) -> JoinRequest:
    """A request for something else, with the invitation's code and a good signature."""
    changed = msgspec.structs.replace(
        invitation, **{name: value for name, value in changes.items() if name in ("domain", "role", "name", "code")}
    )
    return make_request(changed, keys, HERE)


@pytest.mark.parametrize(("role", "name", "endpoint"), CASES)
def test_a_newcomer_joins_by_pasting_three_texts(
    office: "Office", admissions: Admissions, role: Role, name: str, endpoint: Endpoint | None
) -> None:
    """Its certificate is for its own keys, the record lists it, and no private key was in any text."""
    office.node("first")
    office.gateway("mx.example.org")
    invitation = from_text(Invitation, to_text(admissions.invite(role, name)))
    keys = new_identity(invitation)
    request = from_text(JoinRequest, to_text(make_request(invitation, keys, endpoint)))
    answer = from_text(JoinAnswer, to_text(admissions.accept(request)))
    identity = install(answer, keys, invitation)

    certificate = office.world.trust().add(identity.certificate)
    assert certificate.role == role
    assert certificate.public_key == SigningKey.from_bytes(identity.signing_key).public_bytes
    assert identity.authority == office.world.authority.certificate
    record = decode(DomainRecord, decode(PublishedVersion, answer.record).content)
    if role == "user":
        assert office.addresses("mx.example.org").users == ("alice@example.org",)
    elif role == "gateway":
        assert [(gateway.host, gateway.port) for gateway in record.gateways][1] == ("192.0.2.2", 587)
        assert certificate.host == "mx2.example.org"
    else:
        assert record.bootstrap[1] == ContactInfo(certificate.node_id, "192.0.2.1", 7000)
    sent = encode(invitation) + encode(request) + encode(answer)
    assert not any(private in sent for private in (identity.signing_key, *identity.hpke_keys))


def test_invitation_shows_ca_contacts_and_record(office: "Office", admissions: Admissions) -> None:
    """Contacts are the listed nodes, after those that the caller knows to be better: each once."""
    office.node("first", 7001)
    office.node("second", 7002)
    invitation = admissions.invite("node", "third")
    assert invitation.authority == office.world.authority.certificate
    assert [contact.port for contact in invitation.contacts] == [7001, 7002]
    assert invitation.expires == office.world.clock() + params.INVITATION_LIFETIME
    office.world.verifier(office.member).verify(decode(PublishedVersion, invitation.record).version, direct=True)
    first, second = invitation.contacts
    better = ContactInfo(bytes(32), "192.0.2.9", 1)
    moved = ContactInfo(second.node_id, "192.0.2.9", 2)
    assert admissions.invite("node", "fourth", [better, moved]).contacts == (better, moved, first)


@pytest.mark.parametrize(
    ("kind", "role", "name"),
    [
        (AddressTaken, "user", "A@example.org"),
        (NotOurDomain, "user", "a@example.net"),
        (Malformed, "user", "a"),
        (NameTaken, "gateway", "mx.example.org"),
        (NameTaken, "node", "first"),
        (Malformed, "node", ""),
        (NotAuthorised, "directory", "example.org"),
    ],
)
def test_what_could_not_be_listed_is_not_invited(
    office: "Office", admissions: Admissions, kind: type[Failure], role: Role, name: str
) -> None:
    """The operator hears it now, not the newcomer later."""
    office.user("a@example.org")
    office.gateway("mx.example.org")
    office.node("first")
    with pytest.raises(kind):
        admissions.invite(role, name)


def test_the_same_request_again_gets_the_same_certificate(office: "Office", admissions: Admissions) -> None:
    """An answer lost on the way costs nothing, even after the invitation's end and a restart."""
    invitation = admissions.invite("node", "n1")
    keys = new_identity(invitation)
    request = make_request(invitation, keys, HERE)
    first = admissions.accept(request)
    office.world.clock.advance(2 * params.INVITATION_LIFETIME)
    again = Admissions(office.reopen(), office.world.authority.certificate)
    assert again.accept(make_request(invitation, keys, HERE)).certificate == first.certificate
    assert len(office.directory.machines()) == 1


def test_a_used_code_serves_nobody_else(office: "Office", admissions: Admissions) -> None:
    """Neither another key nor another endpoint; and not the same one after a revocation."""
    invitation = admissions.invite("node", "n1")
    keys = new_identity(invitation)
    request = make_request(invitation, keys, HERE)
    admissions.accept(request)
    for other in (
        make_request(invitation, new_identity(invitation), HERE),
        make_request(invitation, keys, Endpoint("192.0.2.1", 7001)),
    ):
        with pytest.raises(InvitationRefused, match="used by another"):
            admissions.accept(other)
    office.directory.revoke("n1")
    with pytest.raises(InvitationRefused, match="revoked"):
        admissions.accept(request)
    assert [machine.state for machine in office.directory.machines()] == ["removed"]


def test_an_invitation_expires_after_seven_days(office: "Office", admissions: Admissions) -> None:
    """To the millisecond; expired codes are forgotten when the next is given out."""
    invitation = admissions.invite("node", "n1")
    keys = new_identity(invitation)
    office.world.clock.now = invitation.expires + 1
    with pytest.raises(InvitationRefused, match="expired"):
        admissions.accept(make_request(invitation, keys, HERE))
    office.world.clock.now = invitation.expires
    admissions.accept(make_request(invitation, keys, HERE))
    unused = admissions.invite("node", "n2")
    office.world.clock.now = unused.expires + 1
    admissions.invite("node", "n3")
    codes = [given.code for given in office.directory.book.invitations.all()]
    assert unused.code not in codes
    assert invitation.code in codes


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (InvitationRefused, {"code": bytes(16)}),
        (InvitationRefused, {"name": "n2"}),
        (InvitationRefused, {"role": "gateway"}),
        (InvitationRefused, {"domain": "example.net"}),
    ],
)
def test_a_request_for_something_else_is_refused(
    office: "Office", admissions: Admissions, kind: type[Failure], changes: dict[str, Any]
) -> None:
    """Code, name, role and domain must be the invitation's; the invitation stays good."""
    invitation = admissions.invite("node", "n1")
    keys = new_identity(invitation)
    with pytest.raises(kind):
        admissions.accept(signed_again(keys, invitation, **changes))
    assert office.directory.machines() == ()
    admissions.accept(make_request(invitation, keys, HERE))


@pytest.mark.parametrize("name", JoinRequest.__struct_fields__)
def test_every_field_of_a_request_is_covered(office: "Office", admissions: Admissions, name: str) -> None:
    """Whichever field is changed on the way, the request is refused and nobody is listed."""
    invitation = admissions.invite("gateway", "mx.example.org")
    request = make_request(invitation, new_identity(invitation), HERE)
    other: dict[str, Any] = {
        "domain": "example.net",
        "role": "node",
        "port": 1,
        "signing_key": SigningKey.generate().public_bytes,
        "hpke_key": HpkeKey.generate().public_bytes,
        "proof": bytes(32),
        "signature": bytes(64),
    }
    with pytest.raises((SignatureRefused, InvitationRefused)):
        admissions.accept(msgspec.structs.replace(request, **{name: other.get(name, "other.example.org")}))
    assert office.directory.machines() == ()


def test_the_holder_of_the_code_must_hold_the_key(admissions: Admissions) -> None:
    """Somebody else's public key with one's own signature is refused."""
    invitation = admissions.invite("node", "n1")
    keys, other = new_identity(invitation), new_identity(invitation)
    request = make_request(invitation, keys, HERE)
    stolen = msgspec.structs.replace(
        request, signing_key=SigningKey.from_bytes(other.signing_key).public_bytes, signature=request.signature
    )
    with pytest.raises(SignatureRefused):
        admissions.accept(stolen)


def test_a_request_that_cannot_be_listed_leaves_the_code_unused(office: "Office", admissions: Admissions) -> None:
    """The newcomer can repair its request."""
    invitation = admissions.invite("node", "n1")
    keys = new_identity(invitation)
    with pytest.raises(Malformed):
        admissions.accept(make_request(invitation, keys, Endpoint("", 0)))
    assert [given.request for given in office.directory.book.invitations.all()] == [None]
    admissions.accept(make_request(invitation, keys, HERE))


@pytest.mark.parametrize("role", ["node", "user", "gateway"])
def test_keys_must_be_those_of_the_role(office: "Office", admissions: Admissions, role: Role) -> None:
    """Users and gateways have HPKE keys, nodes have none."""
    name = {"node": "n1", "user": "a@example.org", "gateway": "mx.example.org"}[role]
    invitation = admissions.invite(role, name)
    hpke_keys = (HpkeKey.generate().private_bytes,) if role == "node" else ()
    keys = msgspec.structs.replace(new_identity(invitation), hpke_keys=hpke_keys)
    with pytest.raises(Malformed):
        admissions.accept(make_request(invitation, keys, HERE))
    assert (office.directory.users(), office.directory.machines()) == ((), ())


def foreign_answers() -> dict[str, Callable[[World, Invitation, Identity], bytes]]:
    """Certificates that are not the newcomer's."""
    world = World()

    def issue(authority: World, role: Role, name: str, keys: Identity, hpke: HpkeKey | None = None) -> bytes:
        public = SigningKey.from_bytes(keys.signing_key).public_bytes
        own = HpkeKey.from_bytes(keys.hpke_keys[0])
        return authority.authority.issue(role, name, public, (hpke or own).public_bytes, authority.clock())

    return {
        "another CA": lambda home, inv, keys: issue(world, "user", inv.name, keys),
        "another key": lambda home, inv, keys: issue(home, "user", inv.name, new_identity(inv)),
        "another HPKE key": lambda home, inv, keys: issue(home, "user", inv.name, keys, HpkeKey.generate()),
        "another role": lambda home, inv, keys: issue(home, "gateway", "mx.example.org", keys),
        "another name": lambda home, inv, keys: issue(home, "user", "b@example.org", keys),
        "no certificate": lambda home, inv, keys: b"nothing",
    }


@pytest.mark.parametrize("case", foreign_answers())
def test_only_ones_own_certificate_is_installed(office: "Office", admissions: Admissions, case: str) -> None:
    """It must be from the invitation's CA, for our keys, role and name."""
    invitation = admissions.invite("user", "a@example.org")
    keys = new_identity(invitation)
    answer = admissions.accept(make_request(invitation, keys, None))
    foreign = msgspec.structs.replace(answer, certificate=foreign_answers()[case](office.world, invitation, keys))
    with pytest.raises(CertificateRefused):
        install(foreign, keys, invitation)
    assert parse_certificate(install(answer, keys, invitation).certificate).addresses == ("a@example.org",)
