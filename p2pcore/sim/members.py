"""Who takes part, with keys from a seed; the one seam where certificates are believed instead of verified.

Statements are signed and verified as ever. A certificate here is its fields: no X.509, no authority, the same trust for
everybody. So what a simulation says holds where certificates are known and in order.
"""

import hashlib
from dataclasses import dataclass

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.statements import Signer
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact
from p2pcore.errors import CertificateRefused, ClockSkew
from p2pcore.records import Role
from p2pcore.sim.population import PORT, host_of
from p2pcore.sim.virtual_time import START

DOMAIN = "example.org"
CERTIFICATE_OCTETS = 520  # a node's, DER: what an introduction costs


class BelievedTrust(Trust):
    """Knows every member; only dates are judged."""

    def __init__(self) -> None:
        self.domain = DOMAIN
        self._members: dict[bytes, Certificate] = {}
        self.set_revocations(())

    def admit(self, certificate: Certificate) -> None:
        """Have everybody believe `certificate` from now on."""
        self._members[certificate.fingerprint] = certificate

    def add(self, der: bytes) -> Certificate:
        certificate = self.get(hashlib.sha256(der).digest())
        if certificate is None:
            raise CertificateRefused("no member of this world has this certificate")
        return certificate

    def get(self, fingerprint: bytes) -> Certificate | None:
        return self._members.get(fingerprint)

    def judge(self, certificate: Certificate, issued: int, now: int, direct: bool) -> None:
        if issued > now + (params.DIRECT_SKEW if direct else params.JUDGING_TOLERANCE):
            raise ClockSkew(f"issued {(issued - now) // params.SECOND} s ahead of now")
        if not certificate.not_before <= issued <= certificate.not_after:
            raise CertificateRefused(f"certificate of {certificate.name} was not valid then")


@dataclass(frozen=True)
class Member:
    """One holder of keys; a node's `contact` depends on its key alone."""

    signer: Signer

    @property
    def certificate(self) -> Certificate:
        return self.signer.certificate

    @property
    def contact(self) -> Contact:
        node_id = self.certificate.node_id
        return Contact(node_id, host_of(node_id), PORT)


def member(trust: BelievedTrust, role: Role, name: str) -> Member:
    """Return the member `name`, the same for the same name, whom `trust` believes from now on."""
    key = SigningKey.from_bytes(hashlib.sha256(f"{role} {name}".encode()).digest())
    der = f"{role} {name} of {DOMAIN}".encode().ljust(CERTIFICATE_OCTETS, b".")
    certificate = Certificate(
        der=der,
        fingerprint=hashlib.sha256(der).digest(),
        role=role,
        domain=DOMAIN,
        addresses=(f"{name}@{DOMAIN}",) if role == "user" else (),
        host=f"{name}.{DOMAIN}" if role == "gateway" else "",
        public_key=key.public_bytes,
        hpke_key=None,
        serial=hashlib.sha256(name.encode()).digest()[:8],
        epoch=0,
        not_before=START - params.NOT_BEFORE_SETBACK,
        not_after=START + params.CERTIFICATE_LIFETIME,
    )
    trust.admit(certificate)
    return Member(Signer(key, certificate))
