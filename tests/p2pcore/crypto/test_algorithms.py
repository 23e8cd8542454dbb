"""Algorithms are named wherever they are used: what is unknown is refused and said, and two live beside each other."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from p2pcore.crypto.certificate_parsing import RoleExtension
from p2pcore.crypto.certificates import parse_certificate
from p2pcore.crypto.hpke_suites import MLKEM768_X25519, MLKEM1024_P384, SUITES, HpkeSuite
from p2pcore.crypto.keys import HpkeKey
from p2pcore.crypto.notifications import NotificationSealer, open_addresses, open_notification, seal_addresses
from p2pcore.crypto.sealing import BodySealer, open_body
from p2pcore.errors import CertificateRefused, Malformed, Tampered
from p2pcore.records import (
    AddressList,
    Batch,
    DomainRecord,
    SealedNotification,
    SignedStatement,
    Store,
    decode,
    encode,
)
from tests.p2pcore.crypto.forging import forge
from tests.p2pcore.mail.bench import Domain
from tests.p2pcore.mail.opening import notification_to
from tests.support.identities import World, object_statement
from tests.support.record_values import fixed

WORLD = World()
GATEWAY = WORLD.gateway()
ADDRESSES = AddressList(("alice@example.org",), {}, (), "alice@example.org")


def renamed(octets: bytes, old: bytes, new: bytes) -> bytes:
    """An algorithm's name replaced by one of the same length."""
    assert octets.count(old) == 1
    assert len(old) == len(new)
    return octets.replace(old, new)


def test_an_unknown_statement_signature() -> None:
    """A proof of another kind is refused where the statement is read: in itself and in a batch of requests."""
    signed = GATEWAY.signer.sign([object_statement(GATEWAY.signer, WORLD.clock())])[0]
    for kind, whole in ((SignedStatement, encode(signed)), (Batch, encode(Batch((), (Store(signed, b""),))))):
        with pytest.raises(Malformed, match=r"not known here: 'mldsa65-merkle\.1'"):
            decode(kind, renamed(whole, b"ed25519-merkle.1", b"mldsa65-merkle.1"))


def test_an_unknown_hpke_suite_of_a_notification() -> None:
    """It does not open, and the log says which suite it was."""
    alice = WORLD.user("alice")
    sealed = NotificationSealer().seal(notification_to(alice.certificate, GATEWAY), alice.hpke_key.public_bytes)
    strange = renamed(sealed, b"hpke-mlkem768x25519", b"hpke-mlkem768x44800")
    with pytest.raises(Tampered, match="not known here: 'hpke-mlkem768x44800-hkdf-sha256-aes-256-gcm'"):
        open_notification(strange, [alice.hpke_key], alice.certificate.inbox_key, GATEWAY.signer.fingerprint)


def test_a_known_hpke_suite_that_is_not_the_keys() -> None:
    """The name must be that of the key it was sealed to."""
    alice = WORLD.user("alice")
    sealed = decode(
        SealedNotification,
        NotificationSealer().seal(notification_to(alice.certificate, GATEWAY), alice.hpke_key.public_bytes),
    )
    other = encode(replace(sealed, key=replace(sealed.key, algorithm=MLKEM1024_P384.algorithm)))
    with pytest.raises(Tampered, match="to a key of hpke-mlkem768x25519"):
        open_notification(other, [alice.hpke_key], alice.certificate.inbox_key, GATEWAY.signer.fingerprint)


def test_an_unknown_hpke_suite_of_the_address_list() -> None:
    """A domain record that names one is not read."""
    content = Domain.new().record().content
    with pytest.raises(Malformed, match="not known here: 'hpke-mlkem768x44800"):
        decode(DomainRecord, renamed(content, b"hpke-mlkem768x25519", b"hpke-mlkem768x44800"))


def test_an_unknown_cipher_of_a_body() -> None:
    """The body's first octets name its cipher; another one is refused before anything is opened."""
    sealer = BodySealer()
    sealed = b"".join([*sealer.update(b"content"), *sealer.finish()])
    with pytest.raises(Tampered, match="not known here: 'aes-999-gcm'"):
        open_body(sealer.session_key, 7, renamed(sealed, b"aes-256-gcm", b"aes-999-gcm"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"public_key": ec.generate_private_key(ec.SECP256R1()).public_key()}, "not an Ed25519 key"),
        ({"hpke_key": bytes(1_000)}, "of no algorithm known here"),
    ],
)
def test_unknown_keys_in_a_certificate(fields: dict[str, object], said: str) -> None:
    """Whose keys nobody here can use has no certificate here, and the refusal says which key it was."""
    role = RoleExtension(role="gateway", domain="example.org", host="mx.example.org", epoch=0)
    content = {"role": role, "hpke_key": bytes(1_216), **fields}
    with pytest.raises(CertificateRefused, match=said):
        parse_certificate(forge(WORLD.authority, **content))  # type: ignore[arg-type]


def user_with(suite: HpkeSuite) -> tuple[HpkeKey, bytes]:
    """A user's HPKE key of this suite, and her certificate."""
    key = HpkeKey.generate(suite)
    signing = WORLD.user("unused").signer.key.public_bytes
    return key, WORLD.authority.issue("user", ["alice@example.org"], signing, key.public_bytes, WORLD.clock())


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.algorithm)
def test_users_of_several_suites_in_one_domain(suite: HpkeSuite) -> None:
    """The sender reads the suite from the recipient's certificate, and says in the sealed entry which it took."""
    key, der = user_with(suite)
    certificate = WORLD.trust().add(der)
    assert certificate.hpke_key == key.public_bytes
    notification = notification_to(certificate, GATEWAY)
    sealed = NotificationSealer().seal(notification, key.public_bytes)
    assert decode(SealedNotification, sealed).key.algorithm == suite.algorithm
    both = [HpkeKey.generate(), key]  # an agent that went over from one suite to another has keys of both
    assert open_notification(sealed, both, certificate.inbox_key, GATEWAY.signer.fingerprint) == notification


def test_gateways_of_several_suites_in_one_domain() -> None:
    """Each opens the address list with its own key."""
    keys = [HpkeKey.generate(suite) for suite in (MLKEM768_X25519, MLKEM1024_P384)]
    sealed_keys, addresses = seal_addresses(ADDRESSES, "example.org", [key.public_bytes for key in keys])
    record = DomainRecord(
        domain="example.org",
        epoch=1,
        time=1,
        next_update=2,
        replication=(fixed(DomainRecord).replication[0],),
        gateways=(),
        bootstrap=(),
        revocations=(),
        address_keys=sealed_keys,
        addresses=addresses,
    )
    assert [sealed.algorithm for sealed in record.address_keys] == [suite.algorithm for suite in SUITES]
    for key in keys:
        assert open_addresses(decode(DomainRecord, encode(record)), [key]) == ADDRESSES
