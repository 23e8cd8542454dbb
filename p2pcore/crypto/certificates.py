"""The domain's certificate authority: it issues the certificates that give machines and users their roles.

| file | content |
|---|---|
| `ca.pem` | the authority's self-signed certificate, ECDSA P-256, name constraints for its domain; mode 0644 |
| `ca.key` | a line of Argon2id parameters and salt, then the PKCS#8 key (PEM) under the stretched passphrase; 0600 |

Crash while saving: the key is written first, so a `ca.pem` on disk always has its key; each file is replaced whole.
"""

import datetime
import hashlib
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2pcore import names, params
from p2pcore.crypto.certificate_parsing import (
    HPKE_EXTENSION,
    ROLE_EXTENSION,
    SMTP_UTF8_MAILBOX,
    Certificate,
    RoleExtension,
    parse_certificate,
)
from p2pcore.crypto.files import PUBLIC, replace_file
from p2pcore.crypto.passwords import Stretching
from p2pcore.errors import Malformed, NotAuthorised, Tampered, TooLarge
from p2pcore.records import Role

__all__ = ["Authority", "Certificate", "parse_certificate"]

_STRETCHING = re.compile(rb"argon2id m=(\d{1,10}) t=(\d{1,4}) p=(\d{1,3}) salt=([0-9a-f]{32,128})\n")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-]+)*\Z")


class Authority:
    """The domain's signing key and its certificate."""

    def __init__(self, private: ec.EllipticCurvePrivateKey, loaded: x509.Certificate) -> None:
        self._private = private
        self._loaded = loaded
        self.certificate = loaded.public_bytes(Encoding.DER)
        self.domain = authority_domain(loaded)

    @classmethod
    def create(cls, domain: str, now: int) -> "Authority":
        """Return a new authority for `domain`, valid for AUTHORITY_LIFETIME. Raises Malformed."""
        domain = names.canonical_domain(domain)
        private = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"p2pmail authority of {domain}"[:64], domain)
        builder = (
            _builder(name, name, now - params.NOT_BEFORE_SETBACK, now + params.AUTHORITY_LIFETIME)
            .public_key(private.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
            # RFC 5280 §4.2.1.10: mailboxes at this domain, and no host or IP address outside it
            .add_extension(
                x509.NameConstraints(
                    permitted_subtrees=[x509.RFC822Name(domain), x509.DNSName(domain)],
                    excluded_subtrees=[
                        x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
                        x509.IPAddress(ipaddress.ip_network("::/0")),
                    ],
                ),
                critical=True,
            )
        )
        return cls(private, builder.sign(private, hashes.SHA256()))

    @classmethod
    def load(cls, directory: Path, passphrase: str) -> "Authority":
        """Return the authority saved in `directory`. Raises OSError, Malformed, Tampered (wrong passphrase)."""
        octets = (directory / "ca.key").read_bytes()
        parameters = _STRETCHING.match(octets)
        if not parameters:
            raise Malformed(f"{directory / 'ca.key'}: no line of Argon2id parameters")
        memory, passes, lanes = (int(parameters[n]) for n in (1, 2, 3))
        stretched = Stretching(bytes.fromhex(parameters[4].decode()), memory, passes, lanes).key(passphrase)
        try:
            private = load_pem_private_key(octets[parameters.end() :], stretched)
        except (ValueError, TypeError) as error:
            raise Tampered(f"{directory / 'ca.key'}: wrong passphrase or damaged key") from error
        try:
            loaded = x509.load_pem_x509_certificate((directory / "ca.pem").read_bytes())
        except ValueError as error:
            raise Malformed(f"{directory / 'ca.pem'}: {error}") from error
        if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
            raise Malformed(f"{directory}: ca.key is not the key of ca.pem")
        return cls(private, loaded)

    def save(self, directory: Path, passphrase: str) -> None:
        """Write `ca.key` and `ca.pem` into `directory`, which exists; both durable on return. Raises OSError."""
        stretching = Stretching.fresh()
        line = (
            f"argon2id m={stretching.memory} t={stretching.passes} p={stretching.lanes} salt={stretching.salt.hex()}\n"
        )
        encryption = BestAvailableEncryption(stretching.key(passphrase))
        pem = self._private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        replace_file(directory / "ca.key", line.encode() + pem)
        replace_file(directory / "ca.pem", self._loaded.public_bytes(Encoding.PEM), PUBLIC)

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the authority's certificate, which invitations show."""
        return hashlib.sha256(self.certificate).digest()

    def issue(
        self,
        role: Role,
        name_or_addresses: str | Sequence[str],
        public_key: bytes,
        hpke_key: bytes | None,
        now: int,
        *,
        host: str = "",
        epoch: int = 0,
    ) -> bytes:
        """Return a new certificate (DER): DIRECTORY_LIFETIME for a directory, else CERTIFICATE_LIFETIME from `now` on.

        Users: `name_or_addresses` is the addresses, primary first (one string: one address); other roles: a name for
        people. `public_key` is the 32-octet Ed25519 key. Gateways have a `host` (empty: the name is taken), directories
        an `epoch`. Raises Malformed, NotAuthorised (an address outside the domain), TooLarge.
        """
        listed = [name_or_addresses] if isinstance(name_or_addresses, str) else list(name_or_addresses)
        if not listed:
            raise Malformed(f"a {role} certificate needs a name")
        addresses = [names.canonical_address(address) for address in listed] if role == "user" else []
        for address in addresses:
            if names.split_address(address)[1] != self.domain:
                raise NotAuthorised(f"address {address!r} is outside domain {self.domain}")
        if role == "gateway":
            host = names.canonical_domain(host or listed[0])
        extension = RoleExtension(role=role, domain=self.domain, host=host if role == "gateway" else "", epoch=epoch)
        builder = self._leaf(role, (addresses or listed)[0], public_key, now).add_extension(
            x509.UnrecognizedExtension(ROLE_EXTENSION, asn1.encode_der(extension)), critical=False
        )
        if hpke_key is not None:
            sealed_to = x509.UnrecognizedExtension(HPKE_EXTENSION, asn1.encode_der(hpke_key))
            builder = builder.add_extension(sealed_to, critical=False)
        if addresses:
            alternatives = x509.SubjectAlternativeName([_alternative(address) for address in dict.fromkeys(addresses)])
            builder = builder.add_extension(alternatives, critical=False)
        der = builder.sign(self._private, hashes.SHA256()).public_bytes(Encoding.DER)
        if len(der) > params.MAX_ISSUED_CERTIFICATE:
            raise TooLarge(
                f"certificate of {len(der)} octets, over {params.MAX_ISSUED_CERTIFICATE}; fewer addresses fit"
            )
        parse_certificate(der)  # whatever we issue, everybody must be able to read
        return der

    def _leaf(self, role: Role, name: str, public_key: bytes, now: int) -> x509.CertificateBuilder:
        lifetime = params.DIRECTORY_LIFETIME if role == "directory" else params.CERTIFICATE_LIFETIME
        not_before = max(now - params.NOT_BEFORE_SETBACK, _milliseconds(self._loaded.not_valid_before_utc))
        not_after = min(now + lifetime, _milliseconds(self._loaded.not_valid_after_utc))
        try:
            holder = ed25519.Ed25519PublicKey.from_public_bytes(public_key)
        except ValueError as error:
            raise Malformed(f"Ed25519 public key of {len(public_key)} octets, not 32") from error
        purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
        authority_key = self._loaded.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            _builder(_name(name[:64], self.domain), self._loaded.subject, not_before, not_after)
            .public_key(holder)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificates=False), critical=True)
            .add_extension(purposes, critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority_key), critical=False
            )
        )


def authority_domain(loaded: x509.Certificate) -> str:
    """Return the domain that an authority's certificate is constrained to. Raises Malformed."""
    try:
        constraints = loaded.extensions.get_extension_for_class(x509.NameConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise Malformed("authority's certificate has no name constraints") from error
    permitted = constraints.permitted_subtrees or []
    domains = [subtree.value for subtree in permitted if isinstance(subtree, x509.RFC822Name)]
    if len(domains) != 1:
        raise Malformed(f"authority's certificate permits mailboxes at {len(domains)} domains, not one")
    return domains[0]


def _alternative(address: str) -> x509.GeneralName:
    # RFC 5280 §4.2.1.6: rfc822Name is ASCII; the verifier beneath refuses quoted local parts there
    if _DOT_ATOM.match(names.split_address(address)[0]):
        return x509.RFC822Name(address)
    return x509.OtherName(SMTP_UTF8_MAILBOX, asn1.encode_der(address))  # RFC 9598 §3


def _builder(subject: x509.Name, issuer: x509.Name, not_before: int, not_after: int) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())  # RFC 5280 §4.1.2.2: positive, at most 20 octets
        .not_valid_before(_datetime(not_before))
        .not_valid_after(_datetime(not_after))
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str, organization: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization[:64]),  # RFC 5280 appendix A.1: at most 64
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _datetime(time: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time // params.SECOND, datetime.UTC)


def _milliseconds(time: datetime.datetime) -> int:
    return int(time.timestamp()) * params.SECOND
