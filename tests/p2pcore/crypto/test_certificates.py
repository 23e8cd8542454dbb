"""certificates: what an authority issues, how it is kept, and what is refused as a certificate."""

import hashlib
import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from p2pcore import names, params
from p2pcore.crypto.certificate_parsing import HPKE_EXTENSION, ROLE_EXTENSION, RoleExtension, serial_octets
from p2pcore.crypto.certificates import Authority, parse_certificate
from p2pcore.crypto.keys import HpkeKey, SigningKey
from p2pcore.errors import CertificateRefused, Malformed, NotAuthorised, Tampered, TooLarge
from tests.p2pcore.crypto.forging import forge, rfc822, utf8_mailbox
from tests.support.identities import START, World

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "certificates.json").read_text())
HPKE = bytes(1_216)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_user_certificate(world: World) -> None:
    """A user's certificate says her addresses in order, the primary first, both keys, and whose inbox she owns."""
    member = world.user("Bob", "robert+x")
    certificate = member.certificate
    assert certificate.role == "user"
    assert certificate.domain == "example.org"
    assert certificate.addresses == ("bob@example.org", "robert@example.org")
    assert certificate.primary_address == certificate.name == "bob@example.org"
    assert certificate.inbox_key == names.inbox_key("bob@example.org")
    assert certificate.public_key == member.signer.key.public_bytes
    assert certificate.hpke_key == member.hpke_key.public_bytes
    assert certificate.fingerprint == hashlib.sha256(certificate.der).digest()
    assert (certificate.host, certificate.epoch) == ("", 0)


def test_gateway_certificate(world: World) -> None:
    """A gateway's certificate says its host and HPKE key, and has no address."""
    certificate = world.gateway("MX1.example.org").certificate
    assert (certificate.role, certificate.host, certificate.addresses) == ("gateway", "mx1.example.org", ())
    assert certificate.hpke_key is not None
    with pytest.raises(CertificateRefused):
        _ = certificate.primary_address


def test_gateway_in_another_domain(world: World) -> None:
    """A gateway may run on a host of any domain; only mailboxes are constrained."""
    member = world.gateway("mx.hosting.example")
    assert world.trust().add(member.certificate.der).host == "mx.hosting.example"


def test_node_certificate(world: World) -> None:
    """A node's ID is SHA-256 of the certified key; its certificate is small enough for a datagram."""
    member = world.node()
    certificate = member.certificate
    assert certificate.node_id == hashlib.sha256(member.signer.key.public_bytes).digest()
    assert certificate.hpke_key is None
    assert len(certificate.der) < params.DATAGRAM_LIMIT / 2


def test_directory_certificate(world: World) -> None:
    """A directory's certificate carries its epoch and lives for 90 days only."""
    certificate = world.directory(epoch=7).certificate
    assert (certificate.role, certificate.epoch) == ("directory", 7)
    assert certificate.not_after == START + params.DIRECTORY_LIFETIME


def test_validity(world: World) -> None:
    """notBefore is set 24 h back for slow clocks, though not before the authority's; others live 400 days."""
    certificate = world.user("bob", now=START + 5 * params.DAY).certificate
    assert certificate.not_before == START + 4 * params.DAY
    assert certificate.not_after == START + 5 * params.DAY + params.CERTIFICATE_LIFETIME
    assert world.user("bob", now=START - params.HOUR).certificate.not_before == START - params.DAY


def test_nothing_outlives_its_authority(world: World) -> None:
    """A certificate issued late ends with its authority's."""
    late = START + params.AUTHORITY_LIFETIME - params.DAY
    assert world.user("bob", now=late).certificate.not_after == START + params.AUTHORITY_LIFETIME


def test_serial_numbers(world: World) -> None:
    """Serials are random, positive and at most 20 octets (RFC 5280 §4.1.2.2); revocations name their octets."""
    one, other = world.node().certificate, world.node().certificate
    assert one.serial != other.serial
    assert 0 < len(one.serial) <= 20
    assert int.from_bytes(one.serial, "big") == x509.load_der_x509_certificate(one.der).serial_number
    assert serial_octets(1) == b"\x01"
    assert serial_octets(256) == b"\x01\x00"
    for serial in (0, -1, 1 << 160):
        with pytest.raises(CertificateRefused):
            serial_octets(serial)


@pytest.mark.parametrize("local", ["jörg", '"a b"', '"a..b"', "用户"])
def test_local_parts_beyond_ascii_atoms(world: World, local: str) -> None:
    """Internationalised and quoted local parts stand as SmtpUTF8Mailbox (RFC 9598), in their place in the order."""
    certificate = world.user("first", local, "last").certificate
    assert certificate.addresses == ("first@example.org", f"{local}@example.org", "last@example.org")
    assert world.trust().add(certificate.der) == certificate


def test_extended_key_usage_and_oids(world: World) -> None:
    """Leaves serve as TLS client and server certificates; private extensions are not critical and under 2.25."""
    loaded = x509.load_der_x509_certificate(world.user("bob").certificate.der)
    usage = loaded.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert {purpose.dotted_string for purpose in usage} == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"}
    for oid in (ROLE_EXTENSION, HPKE_EXTENSION):
        assert oid.dotted_string.startswith("2.25.5356607154417839434050870569824730738.")
        assert not loaded.extensions.get_extension_for_oid(oid).critical


def test_authority_certificate(world: World) -> None:
    """The authority is an ECDSA P-256 CA that may certify mailboxes of its domain, and no further CA."""
    loaded = x509.load_der_x509_certificate(world.authority.certificate)
    key = loaded.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)
    basic = loaded.extensions.get_extension_for_class(x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    constraints = loaded.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    assert x509.RFC822Name("example.org") in (constraints.value.permitted_subtrees or [])
    assert world.authority.fingerprint == hashlib.sha256(world.authority.certificate).digest()


def test_save_and_load(tmp_path: Path, world: World) -> None:
    """The authority is read back with its passphrase; the key file is private and holds no key in clear."""
    world.authority.save(tmp_path, "pass phrase")
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    assert b"ENCRYPTED PRIVATE KEY" in (tmp_path / "ca.key").read_bytes()
    again = Authority.load(tmp_path, "pass phrase")
    assert (again.domain, again.certificate) == (world.authority.domain, world.authority.certificate)
    der = again.issue("node", "n", SigningKey.generate().public_bytes, None, START)
    assert world.trust().add(der).role == "node"
    with pytest.raises(Tampered, match=r"ca\.key"):
        Authority.load(tmp_path, "wrong")


def test_load_refuses_damaged_files(tmp_path: Path, world: World) -> None:
    """A key without its parameters, another authority's certificate, and a missing file are told apart."""
    world.authority.save(tmp_path, "pass")
    key = (tmp_path / "ca.key").read_bytes()
    World().authority.save(tmp_path, "pass")
    (tmp_path / "ca.key").write_bytes(key)
    with pytest.raises(Malformed, match=r"not the key of ca\.pem"):
        Authority.load(tmp_path, "pass")
    (tmp_path / "ca.pem").write_bytes(b"no certificate")
    with pytest.raises(Malformed, match=r"ca\.pem"):
        Authority.load(tmp_path, "pass")
    (tmp_path / "ca.key").write_bytes(key.partition(b"\n")[2])
    with pytest.raises(Malformed, match="Argon2id"):
        Authority.load(tmp_path, "pass")
    (tmp_path / "ca.key").unlink()
    with pytest.raises(FileNotFoundError):
        Authority.load(tmp_path, "pass")


def test_issue_refuses(world: World) -> None:
    """Foreign addresses, no name, keys of another size and more addresses than fit are refused before signing."""
    key, hpke = SigningKey.generate().public_bytes, HpkeKey.generate().public_bytes
    issue = world.authority.issue
    with pytest.raises(NotAuthorised):
        issue("user", "bob@example.net", key, hpke, START)
    with pytest.raises(NotAuthorised):
        issue("user", "bob@sub.example.org", key, hpke, START)
    with pytest.raises(Malformed):
        issue("user", [], key, hpke, START)
    with pytest.raises(Malformed):
        issue("node", "n", b"short", None, START)
    with pytest.raises(TooLarge):
        issue("user", [f"alias-number-{n}@example.org" for n in range(400)], key, hpke, START)
    for role, given_hpke in (("user", None), ("gateway", None), ("node", hpke), ("directory", hpke)):
        with pytest.raises(CertificateRefused):
            issue(role, "bob@example.org" if role == "user" else "name", key, given_hpke, START)  # type: ignore[arg-type]


def role_of(role: str = "node", domain: str = "example.org", host: str = "", epoch: int = 0) -> RoleExtension:
    return RoleExtension(role=role, domain=domain, host=host, epoch=epoch)


USER = role_of("user")
FORGERIES = {
    "no role": {},
    "role does not parse": {"role": b"\x30\x01"},
    "unknown role": {"role": role_of("admin")},
    "domain not canonical": {"role": role_of(domain="Example.org")},
    "negative epoch": {"role": role_of("directory", epoch=-1)},
    "huge epoch": {"role": role_of("directory", epoch=2**60)},
    "node with epoch": {"role": role_of(epoch=1)},
    "node with address": {"role": role_of(), "alternatives": [rfc822("a@example.org")]},
    "node with host": {"role": role_of(host="h.example.org")},
    "node with HPKE key": {"role": role_of(), "hpke_key": HPKE},
    "gateway without host": {"role": role_of("gateway"), "hpke_key": HPKE},
    "user without address": {"role": USER, "hpke_key": HPKE},
    "user without HPKE key": {"role": USER, "alternatives": [rfc822("a@example.org")]},
    "short HPKE key": {"role": USER, "alternatives": [rfc822("a@example.org")], "hpke_key": HPKE[1:]},
    "address not canonical": {"role": USER, "alternatives": [rfc822("A@example.org")], "hpke_key": HPKE},
    "foreign address": {"role": USER, "alternatives": [rfc822("a@example.net")], "hpke_key": HPKE},
    "foreign SmtpUTF8Mailbox": {"role": USER, "alternatives": [utf8_mailbox("ä@example.net")], "hpke_key": HPKE},
    "second name is foreign": {
        "role": USER,
        "alternatives": [rfc822("a@example.org"), utf8_mailbox("ä@example.net")],
        "hpke_key": HPKE,
    },
    "URI as a name": {"role": USER, "alternatives": [x509.UniformResourceIdentifier("x:y")], "hpke_key": HPKE},
    "P-256 key": {"role": role_of(), "public_key": ec.generate_private_key(ec.SECP256R1()).public_key()},
    "SHA-512": {"role": role_of(), "algorithm": hashes.SHA512()},
}


@pytest.mark.parametrize("name", FORGERIES)
def test_refused_although_signed_by_the_authority(world: World, name: str) -> None:
    """The verifier beneath accepts any end-entity content, so role, names and keys are checked here."""
    der = forge(world.authority, **FORGERIES[name])  # type: ignore[arg-type]
    with pytest.raises(CertificateRefused):
        parse_certificate(der)
    with pytest.raises(CertificateRefused):
        world.trust().add(der)


def test_forge_makes_good_ones_too(world: World) -> None:
    """What the refusals are compared with: the same construction with nothing wrong passes."""
    assert world.trust().add(forge(world.authority, role=role_of())).role == "node"
    user = forge(world.authority, role=USER, alternatives=[utf8_mailbox("ä@example.org")], hpke_key=HPKE)
    assert world.trust().add(user).addresses == ("ä@example.org",)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["role"])
def test_vectors(vector: dict[str, object]) -> None:
    """A frozen certificate is read the same for ever."""
    assert readable(bytes.fromhex(str(vector["der"]))) == vector


def readable(der: bytes) -> dict[str, object]:
    """The fields of a certificate as JSON values."""
    fields = asdict(parse_certificate(der))
    return {
        name: value.hex() if isinstance(value, bytes) else list(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }


@given(st.binary(max_size=400))
def test_arbitrary_octets(octets: bytes) -> None:
    """Invariant: arbitrary octets as a certificate are CertificateRefused, nothing else."""
    with pytest.raises(CertificateRefused):
        parse_certificate(octets)


@given(st.data())
def test_damaged_certificates(data: st.DataObject) -> None:
    """Invariant: a certificate with octets changed, cut or added parses or is CertificateRefused, nothing else."""
    octets = bytearray(bytes.fromhex(data.draw(st.sampled_from(VECTORS))["der"]))
    position = data.draw(st.integers(0, len(octets) - 1))
    octets[position : position + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
    try:
        parse_certificate(bytes(octets))
    except CertificateRefused:
        return


def test_oversized_certificate() -> None:
    """More octets than MAX_CERTIFICATE are not even parsed."""
    with pytest.raises(CertificateRefused, match="over"):
        parse_certificate(bytes(params.MAX_CERTIFICATE + 1))
