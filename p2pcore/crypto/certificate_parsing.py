"""What a certificate of a domain says: role, names and keys, read from X.509 (RFC 5280) without judging it.

    field                    where it is in the certificate
    role, domain, host,      extension ROLE_EXTENSION: DER SEQUENCE { role, domain, host UTF8String, epoch INTEGER }
    epoch
    addresses (users)        subjectAltName, in order, the primary address first: rfc822Name where the local part is an
                             ASCII dot-atom, else otherName SmtpUTF8Mailbox (RFC 9598 §3), also for quoted local parts
    signing key              subjectPublicKeyInfo, Ed25519 (RFC 8410)
    HPKE key (users,         extension HPKE_EXTENSION: DER OCTET STRING, whose length tells the suite (hpke_suites.py)
    gateways)

Private extensions and key purposes stand under 2.25.5356607154417839434050870569824730738, an arc of a random UUID,
which needs no registration (ITU-T X.667). None is critical, so that TLS libraries pass over them.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from p2pcore import names, params
from p2pcore.crypto.hpke_suites import BY_PUBLIC_SIZE
from p2pcore.errors import CertificateRefused, Malformed
from p2pcore.records import Role

_ARC = "2.25.5356607154417839434050870569824730738"
ROLE_EXTENSION = x509.ObjectIdentifier(f"{_ARC}.1")
HPKE_EXTENSION = x509.ObjectIdentifier(f"{_ARC}.2")
SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")  # RFC 9598 §3
_X509_ERRORS = (x509.DuplicateExtension, x509.UnsupportedGeneralNameType, x509.InvalidVersion)
ROLES: tuple[Role, ...] = get_args(Role)


@asn1.sequence
class RoleExtension:
    """Content of ROLE_EXTENSION; `host` is empty except for gateways, `epoch` is 0 except for directories."""

    role: str
    domain: str
    host: str
    epoch: int


@dataclass(frozen=True)
class Certificate:
    """A parsed certificate; nothing is said of its signature, its dates or its revocation.

    `fingerprint` is the SHA-256 of `der`, which statements call `signer`. `addresses` are canonical, the first is the
    primary one; only users have any. `host` is a gateway's name, else "". `serial` is the serial number as big-endian
    octets without leading zeros. `not_before` and `not_after` are in milliseconds.
    """

    der: bytes
    fingerprint: bytes
    role: Role
    domain: str
    addresses: tuple[str, ...]
    host: str
    public_key: bytes
    hpke_key: bytes | None
    serial: bytes
    epoch: int
    not_before: int
    not_after: int

    @cached_property
    def node_id(self) -> bytes:
        """SHA-256 of the public key."""
        return hashlib.sha256(self.public_key).digest()

    @cached_property
    def primary_address(self) -> str:
        """The address whose inbox this user owns. Raises CertificateRefused for another role."""
        if not self.addresses:
            raise CertificateRefused(f"a {self.role} certificate has no address")
        return self.addresses[0]

    @cached_property
    def inbox_key(self) -> bytes:
        """The key of this user's inbox. Raises CertificateRefused for another role."""
        return names.inbox_key(self.primary_address)

    @cached_property
    def identifier(self) -> str:
        """What its newest version is published under: a user's primary address, a machine's role and node ID."""
        if self.addresses:
            return names.certificate_identifier(self.addresses[0])
        return names.machine_certificate_identifier(self.role, self.node_id)

    @cached_property
    def renewable_from(self) -> int:
        """Half of its lifetime, in ms since 1970: its successor is issued from then on (docs/formats.md §5)."""
        return (self.not_before + self.not_after) // 2

    @cached_property
    def name(self) -> str:
        """What people call the holder: primary address, host name or node ID; for logs and messages."""
        if self.addresses:
            return self.addresses[0]
        return self.host or f"{self.role} {self.node_id.hex()[:16]}"


def parse_certificate(der: bytes) -> Certificate:
    """Return what `der` says; no trust is implied. Raises CertificateRefused."""
    return describe(load_certificate(der))


def load_certificate(der: bytes) -> x509.Certificate:
    """Return the X.509 certificate in `der`. Raises CertificateRefused."""
    if len(der) > params.MAX_CERTIFICATE:
        raise CertificateRefused(f"certificate of {len(der)} octets, over {params.MAX_CERTIFICATE}")
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise CertificateRefused(f"certificate does not parse: {error}") from error


def end_of(der: bytes) -> int:
    """Return when a certificate ends, the authority's or any other, in ms. Raises CertificateRefused."""
    return int(load_certificate(der).not_valid_after_utc.timestamp()) * params.SECOND


def describe(loaded: x509.Certificate) -> Certificate:
    """Return the parts of a loaded certificate that this network uses. Raises CertificateRefused."""
    try:
        return _describe(loaded)
    except (ValueError, Malformed, UnsupportedAlgorithm, *_X509_ERRORS) as error:
        raise CertificateRefused(f"certificate: {error}") from error


def _describe(loaded: x509.Certificate) -> Certificate:
    if loaded.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA256:
        raise CertificateRefused("certificate is not signed with ECDSA and SHA-256")
    public_key = loaded.public_key()
    if not isinstance(public_key, Ed25519PublicKey):
        raise CertificateRefused("certificate's key is not an Ed25519 key")
    der = loaded.public_bytes(Encoding.DER)
    role = asn1.decode_der(RoleExtension, _extension(loaded, ROLE_EXTENSION))
    hpke_key = _hpke_key(loaded)
    addresses = tuple(_addresses(loaded))
    certificate = Certificate(
        der=der,
        fingerprint=hashlib.sha256(der).digest(),
        role=_role(role.role),
        domain=role.domain,
        addresses=addresses,
        host=role.host,
        public_key=public_key.public_bytes_raw(),
        hpke_key=hpke_key,
        serial=serial_octets(loaded.serial_number),
        epoch=role.epoch,
        not_before=int(loaded.not_valid_before_utc.timestamp()) * params.SECOND,
        not_after=int(loaded.not_valid_after_utc.timestamp()) * params.SECOND,
    )
    _check_consistent(certificate)
    return certificate


def _check_consistent(certificate: Certificate) -> None:
    role = certificate.role
    if names.canonical_domain(certificate.domain) != certificate.domain:
        raise CertificateRefused(f"domain {certificate.domain!r} is not in canonical form")
    if (role == "user") != bool(certificate.addresses):
        raise CertificateRefused(f"a {role} certificate with {len(certificate.addresses)} addresses")
    if (role == "gateway") != bool(certificate.host):
        raise CertificateRefused(f"a {role} certificate with host {certificate.host!r}")
    if (role in ("user", "gateway")) != (certificate.hpke_key is not None):
        given = "no" if certificate.hpke_key is None else "an"
        raise CertificateRefused(f"a {role} certificate with {given} HPKE key")
    if not 0 <= certificate.epoch <= 2**53 or (certificate.epoch and role != "directory"):
        raise CertificateRefused(f"a {role} certificate of epoch {certificate.epoch}")
    for address in certificate.addresses:
        if names.canonical_address(address) != address:
            raise CertificateRefused(f"address {address!r} is not in canonical form")
        # RFC 5280 §4.2.1.10 for rfc822Name; here it also holds for SmtpUTF8Mailbox (RFC 9598 §6)
        if names.split_address(address)[1] != certificate.domain:
            raise CertificateRefused(f"address {address!r} is outside domain {certificate.domain}")


def _role(text: str) -> Role:
    for role in ROLES:
        if text == role:
            return role
    raise CertificateRefused(f"unknown role {text[:40]!r}")


def _extension(loaded: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes:
    try:
        extension = loaded.extensions.get_extension_for_oid(oid).value
    except x509.ExtensionNotFound as error:
        raise CertificateRefused(f"certificate has no extension {oid.dotted_string}") from error
    if not isinstance(extension, x509.UnrecognizedExtension):
        raise CertificateRefused(f"certificate's extension {oid.dotted_string} is of another kind")
    return extension.value


def _hpke_key(loaded: x509.Certificate) -> bytes | None:
    if all(extension.oid != HPKE_EXTENSION for extension in loaded.extensions):
        return None
    hpke_key = asn1.decode_der(bytes, _extension(loaded, HPKE_EXTENSION))
    if len(hpke_key) not in BY_PUBLIC_SIZE:
        raise CertificateRefused(f"certificate's HPKE key of {len(hpke_key)} octets is of no algorithm known here")
    return hpke_key


def _addresses(loaded: x509.Certificate) -> list[str]:
    try:
        alternatives = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    addresses = []
    for alternative in alternatives:
        if isinstance(alternative, x509.RFC822Name):
            addresses.append(alternative.value)
        elif isinstance(alternative, x509.OtherName) and alternative.type_id == SMTP_UTF8_MAILBOX:
            addresses.append(asn1.decode_der(str, alternative.value))
        elif not isinstance(alternative, x509.DNSName):
            raise CertificateRefused(f"certificate has a {type(alternative).__name__} as subjectAltName")
    return addresses


def serial_octets(serial: int) -> bytes:
    """Return a serial number as revocations name it: big-endian, no leading zeros. Raises CertificateRefused."""
    if not 0 < serial < 1 << 160:  # RFC 5280 §4.1.2.2: positive, at most 20 octets
        raise CertificateRefused("certificate's serial number is not positive, or over 20 octets")
    return serial.to_bytes((serial.bit_length() + 7) // 8, "big")
