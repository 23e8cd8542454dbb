"""Which certificates count: those of one domain's authority, as long as their dates and the revocations allow."""

import hashlib
import threading
from collections import OrderedDict

from cryptography import x509
from cryptography.x509 import verification

from p2pcore import params
from p2pcore.crypto.certificate_parsing import Certificate, describe, load_certificate
from p2pcore.crypto.certificates import authority_domain
from p2pcore.errors import CertificateRefused, ClockSkew
from p2pcore.records import Revocation


class Trust:
    """The verified certificates of one domain; safe to use from several threads."""

    def __init__(self, authority_der: bytes, domain: str) -> None:
        """Trust what `authority_der` signs for `domain` (canonical). Raises CertificateRefused, Malformed."""
        self._authority = load_certificate(authority_der)
        if authority_domain(self._authority) != domain:
            raise CertificateRefused(f"authority is of domain {authority_domain(self._authority)}, not of {domain}")
        self.authority_fingerprint = hashlib.sha256(authority_der).digest()
        self.domain = domain
        self._known: OrderedDict[bytes, Certificate] = OrderedDict()
        self._revocations: dict[bytes, Revocation] = {}
        self._lock = threading.Lock()

    def add(self, der: bytes) -> Certificate:
        """Return the certificate in `der` once its chain, name constraints, role and names have been verified.

        Dates and revocations are not judged here. Raises CertificateRefused.
        """
        known = self.get(hashlib.sha256(der).digest())
        if known is not None:
            return known
        loaded = load_certificate(der)
        self._verify_chain(loaded)
        certificate = describe(loaded)
        if certificate.domain != self.domain:
            raise CertificateRefused(f"certificate of {certificate.name} is of domain {certificate.domain!r}")
        with self._lock:
            self._known[certificate.fingerprint] = certificate
            if len(self._known) > params.TRUST_CACHE:
                self._known.popitem(last=False)
        return certificate

    def get(self, fingerprint: bytes) -> Certificate | None:
        """Return the verified certificate with this fingerprint; None: it has not been seen, or not lately."""
        with self._lock:
            certificate = self._known.get(fingerprint)
            if certificate is not None:
                self._known.move_to_end(fingerprint)
            return certificate

    def set_revocations(self, revocations: tuple[Revocation, ...]) -> None:
        """Take `revocations`, the newest domain record's, instead of those known so far."""
        strictest: dict[bytes, Revocation] = {}
        for revocation in revocations:
            earlier = strictest.get(revocation.serial)
            if earlier is None or _strictness(revocation) > _strictness(earlier):
                strictest[revocation.serial] = revocation
        self._revocations = strictest

    def is_compromised(self, certificate: Certificate) -> bool:
        """Return whether the certificate's key is in other hands: what it signed is to be shown as unverified."""
        revocation = self._revocations.get(certificate.serial)
        return revocation is not None and revocation.reason == "compromised"

    def is_revoked(self, certificate: Certificate) -> bool:
        """Return whether a revocation of the certificate is known, for whatever reason."""
        return certificate.serial in self._revocations

    def judge(self, certificate: Certificate, issued: int, now: int, direct: bool) -> None:
        """Return if a statement that `certificate` signed at `issued` may be accepted at `now` (docs/formats.md §4).

        Straight from its signer (`direct`): issued at most DIRECT_SKEW ahead of now (else ClockSkew), and the
        certificate valid then and now and not revoked; it may be old, because a durable queue repeats the very same
        statements (docs/decisions/0003). Through repair: issued not in the future (else ClockSkew), and the certificate
        valid and not yet revoked when it was issued; a compromised one's earlier statements pass, and callers ask
        `is_compromised`. Dates are compared with JUDGING_TOLERANCE. Raises CertificateRefused, ClockSkew.
        """
        ahead = params.DIRECT_SKEW if direct else params.JUDGING_TOLERANCE
        if issued > now + ahead:
            raise ClockSkew(f"issued {(issued - now) // params.SECOND} s ahead of now")
        if issued < certificate.not_before - params.JUDGING_TOLERANCE:
            raise CertificateRefused(f"certificate of {certificate.name} is not valid yet")
        if (now if direct else issued) > certificate.not_after + params.JUDGING_TOLERANCE:
            raise CertificateRefused(f"certificate of {certificate.name} has expired")
        revocation = self._revocations.get(certificate.serial)
        if revocation is None:
            return
        if direct:
            # No tolerance: a revocation is known within 10 minutes and counts from then on
            revoked = revocation.reason == "compromised" or now >= revocation.time
        else:
            revoked = issued >= revocation.time + params.JUDGING_TOLERANCE
        if revoked:
            raise CertificateRefused(f"certificate of {certificate.name} is revoked ({revocation.reason})")

    def _verify_chain(self, loaded: x509.Certificate) -> None:
        start = loaded.not_valid_before_utc
        authority = self._authority
        if start < authority.not_valid_before_utc or loaded.not_valid_after_utc > authority.not_valid_after_utc:
            raise CertificateRefused("certificate's dates are outside its authority's")
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store([authority]))
            .time(start)
            .max_chain_depth(0)
            .extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),  # our own extensions are checked by `describe`
            )
            .build_client_verifier()
        )
        try:
            verifier.verify(loaded, [])
        except verification.VerificationError as error:
            raise CertificateRefused(f"certificate is not from the authority of {self.domain}: {error}") from error


def _strictness(revocation: Revocation) -> tuple[bool, int]:
    return revocation.reason == "compromised", -revocation.time
