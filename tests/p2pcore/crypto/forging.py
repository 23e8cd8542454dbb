"""Certificates that no Authority issues, for tests of what must be refused."""

import datetime
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding

from p2pcore import params
from p2pcore.crypto.certificate_parsing import HPKE_EXTENSION, ROLE_EXTENSION, SMTP_UTF8_MAILBOX, RoleExtension
from p2pcore.crypto.certificates import Authority
from tests.support.identities import START

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey


def rfc822(address: str) -> x509.GeneralName:
    return x509.RFC822Name(address)


def utf8_mailbox(address: str) -> x509.GeneralName:
    return x509.OtherName(SMTP_UTF8_MAILBOX, asn1.encode_der(address))


def forge(
    authority: Authority,
    *,
    role: RoleExtension | bytes | None = None,
    alternatives: Sequence[x509.GeneralName] = (),
    hpke_key: bytes | None = None,
    public_key: PublicKey | None = None,
    algorithm: hashes.SHA256 | hashes.SHA512 | None = None,
    not_before: int = START - params.DAY,
    not_after: int = START + params.CERTIFICATE_LIFETIME,
) -> bytes:
    """Return a certificate (DER) that `authority` really signs, with whatever content is asked for."""
    issuer = x509.load_der_x509_certificate(authority.certificate)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(issuer.subject)
        .public_key(public_key or ed25519.Ed25519PrivateKey.generate().public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(not_before // 1_000, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(not_after // 1_000, datetime.UTC))
    )
    if role is not None:
        octets = role if isinstance(role, bytes) else asn1.encode_der(role)
        builder = builder.add_extension(x509.UnrecognizedExtension(ROLE_EXTENSION, octets), critical=False)
    if hpke_key is not None:
        octets = asn1.encode_der(hpke_key)
        builder = builder.add_extension(x509.UnrecognizedExtension(HPKE_EXTENSION, octets), critical=False)
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(alternatives)), critical=False)
    return builder.sign(authority._private, algorithm or hashes.SHA256()).public_bytes(Encoding.DER)
