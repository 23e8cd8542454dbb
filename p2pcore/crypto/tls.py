"""TLS contexts: ECDSA certificates for mail clients, own keys among our machines, the system's authorities outwards."""

import datetime
import hashlib
import hmac
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from p2pcore import params
from p2pcore.clock import system_clock
from p2pcore.crypto.certificate_parsing import load_certificate
from p2pcore.errors import Malformed
from p2pcore.records import Identity

SERVER_LIFETIME = 3_650 * params.DAY  # people confirm a self-signed certificate by hand, once
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: Trust.judge knows our tolerance, and its refusal gets a reply


def make_server_certificate(hosts: Sequence[str], now: int | None = None) -> tuple[bytes, bytes]:
    """Return (certificate, private key), both PEM: self-signed ECDSA P-256 for these names and IP addresses.

    ECDSA because Thunderbird refuses Ed25519 here. Valid for SERVER_LIFETIME from `now` (the system's clock if None).
    Raises Malformed.
    """
    if not hosts:
        raise Malformed("a server certificate needs a host")
    start = ((system_clock() if now is None else now) - params.NOT_BEFORE_SETBACK) // params.SECOND
    private = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    try:
        alternatives = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
    except ValueError as error:
        raise Malformed(f"server certificate for {', '.join(hosts)}: {error}") from error
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(start, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(start + SERVER_LIFETIME // params.SECOND, datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(alternatives, critical=False)
        .sign(private, hashes.SHA256())
    )
    key_pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), key_pem


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return the context of a server for mail clients, TLS 1.2 or newer, from PEM files.

    Raises OSError, Malformed, each naming the file.
    """
    for path in (certificate, key):
        with path.open("rb"):
            pass  # OpenSSL would not say which of the two it is
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8314 §4.1, RFC 8996
    context.options |= ssl.OP_NO_RENEGOTIATION  # OpenSSL 3's default
    try:
        context.load_cert_chain(certificate, key, password="")  # else OpenSSL asks the terminal for an encrypted key's
    except ssl.SSLError as error:
        raise Malformed(_complaint(certificate, key, error)) from error
    return context


def _complaint(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    """Return which of two files OpenSSL refused and why, which it says of few: "PEM lib" is most. Raises OSError."""
    try:
        x509.load_pem_x509_certificates(certificate.read_bytes())
    except ValueError:
        return f"{certificate}: no certificate in PEM"
    try:
        load_pem_private_key(key.read_bytes(), password=None)
    except TypeError:
        return f"{key}: is under a passphrase, for which nobody can be asked"
    except (ValueError, UnsupportedAlgorithm):
        return f"{key}: no private key in PEM"
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"{key}: not the key of the certificate in {certificate}"
    return f"{certificate} and {key}: {error}"


def node_server_context(identity: Identity) -> ssl.SSLContext:
    """Return the context of a node's port: TLS 1.3 under its own key and certificate. Raises CertificateRefused."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _show(context, identity)
    return context


def relay_server_context(identity: Identity) -> ssl.SSLContext:
    """Return the context of a gateway's port for agents: TLS 1.3 under its own certificate; clients may show theirs.

    A certificate that is shown comes from the domain's authority; role, dates and revocations are the caller's to
    judge. Sessions are not resumed: each handshake proves the key anew. Raises CertificateRefused.
    """
    context = node_server_context(identity)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.verify_flags |= _NO_CHECK_TIME
    context.load_verify_locations(cadata=identity.authority)
    context.num_tickets = 0
    return context


def renew_context(context: ssl.SSLContext, identity: Identity) -> None:
    """Have a server's `context` show the certificate of `identity` from the next handshake on.

    Raises CertificateRefused.
    """
    _show(context, identity)


def user_client_context(identity: Identity, pinned: bytes) -> ssl.SSLContext:
    """Return the context with which the agent of `identity` dials one gateway, whose certificate (DER) has the SHA-256
    `pinned`: with any other the handshake fails (ssl.SSLCertVerificationError), before a single octet is sent over it.

    Works with every transport that calls `wrap_bio`, as those of asyncio and uvloop do; `wrap_socket` refuses to make
    a socket that nothing pins. Raises CertificateRefused.
    """
    context = _PinnedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # the pin says more than a chain could
    context.sslobject_class = type("PinnedPeer", (_PinnedPeer,), {"pinned": pinned})
    _show(context, identity)
    return context


class _PinnedContext(ssl.SSLContext):
    def wrap_socket(self, *_: object, **__: object) -> ssl.SSLSocket:
        raise ssl.SSLError("this context pins its peer in wrap_bio only")


class _PinnedPeer(ssl.SSLObject):
    pinned: bytes

    def do_handshake(self) -> None:
        super().do_handshake()
        shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").digest()
        if not hmac.compare_digest(shown, self.pinned):
            raise ssl.SSLCertVerificationError(f"certificate {shown.hex()} instead of {self.pinned.hex()}")


def _show(context: ssl.SSLContext, identity: Identity) -> None:
    """Have `context` show the certificate of `identity`. Raises CertificateRefused.

    OpenSSL takes keys from files only: an anonymous one in memory, so that nothing secret reaches a disk.
    """
    certificate = load_certificate(identity.certificate).public_bytes(Encoding.PEM)
    private = Ed25519PrivateKey.from_private_bytes(identity.signing_key)
    key = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor = os.memfd_create("identity", os.MFD_CLOEXEC)
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(key + certificate)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def node_client_context() -> ssl.SSLContext:
    """Return the context for dialling nodes: TLS 1.3, and no check here, since the caller pins the node ID."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def verifying_context() -> ssl.SSLContext:
    """Return a client's context that takes certificates of the system's authorities, for the host dialled only."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.hostname_checks_common_name = False  # RFC 8461 §3.3, §4.2: a DNS-ID (RFC 6125 §6.4)
    return context


@dataclass(frozen=True, slots=True)
class ShownCertificate:
    """What a certificate file for mail clients says: DNS names in lower case, end in ms, whether it signed itself."""

    names: tuple[str, ...]
    not_after: int
    self_signed: bool

    def covers(self, host: str) -> bool:
        """Return whether it is one for `host` (RFC 6125 §6.4: a star stands for the leftmost label)."""
        name = host.lower()
        return name in self.names or f"*.{name.partition('.')[2]}" in self.names


def describe_shown(pem: bytes) -> ShownCertificate:
    """Return what the first certificate in a PEM file says. Raises Malformed."""
    try:
        loaded = x509.load_pem_x509_certificate(pem)
        alternatives = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except ValueError as error:
        raise Malformed(f"certificate file: {error}") from error
    except x509.ExtensionNotFound:
        alternatives = x509.SubjectAlternativeName([])
    names = tuple(name.lower() for name in alternatives.get_values_for_type(x509.DNSName))
    end = int(loaded.not_valid_after_utc.timestamp()) * params.SECOND
    return ShownCertificate(names, end, loaded.issuer == loaded.subject)
