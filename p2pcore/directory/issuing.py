"""The directory's use of the CA: certificates issued, revoked and renewed, and the one that it signs with itself."""

from collections.abc import Iterable

from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Authority, Certificate, parse_certificate
from p2pcore.crypto.statements import Signer
from p2pcore.directory import renewal
from p2pcore.directory.book import Book
from p2pcore.directory.errors import AuthorityLocked, NotListed
from p2pcore.directory.issued import IssuedCertificate, Reason
from p2pcore.errors import CertificateRefused, NotAuthorised
from p2pcore.records import Revocation, Role


class Issuer:
    """What happens to certificates. Changes belong in the book's transaction."""

    def __init__(self, book: Book, domain: str, authority: Authority | None, signer: Signer, clock: Clock) -> None:
        """`authority` None: nothing can be issued. Raises NotAuthorised as `renewal.newest_signer`."""
        self._book = book
        self._domain = domain
        self._authority = authority
        self._clock = clock
        self._signer = renewal.newest_signer(book, signer)
        with book.transaction():
            book.issued.add(signer.certificate, domain)

    @property
    def signer(self) -> Signer:
        """The directory's key with its newest certificate, which any process may have renewed."""
        self._signer = renewal.newest_signer(self._book, self._signer)
        return self._signer

    def issue(
        self, role: Role, name: str, signing_key: bytes, hpke_key: bytes | None, *, host: str = ""
    ) -> Certificate:
        """Return a new certificate, noted in the book.

        Raises CertificateRefused (the key was revoked as compromised), AuthorityLocked, Malformed, NotAuthorised.
        """
        for earlier in self._book.issued.by_key(signing_key):
            revocation = self._book.issued.revocation(earlier.serial)
            if revocation and revocation.reason == "compromised":
                raise CertificateRefused(f"{role} {name}: this key was revoked as compromised; make a new one")
        now = renewal.issue_time(self._book, role, name, self._clock())
        certificate = parse_certificate(self._open_authority().issue(role, name, signing_key, hpke_key, now, host=host))
        self._book.issued.add(certificate, name)
        return certificate

    def issued(self, fingerprint: bytes) -> IssuedCertificate:
        """Return the certificate with this SHA-256. Raises NotListed."""
        found = self._book.issued.get(fingerprint)
        if found is None:
            raise NotListed(f"no certificate {fingerprint.hex()} was issued here")
        return found

    def is_revoked(self, fingerprint: bytes) -> bool:
        """Raises NotListed."""
        return self._book.issued.revocation(self.issued(fingerprint).serial) is not None

    def revoke(self, certificates: Iterable[IssuedCertificate], reason: Reason) -> tuple[Revocation, ...]:
        """Revoke each, take machines off the list; return what holds now. Raises NotAuthorised (our own)."""
        now, signing = self._clock(), self.signer.fingerprint
        held = []
        for certificate in certificates:
            if certificate.fingerprint == signing:
                raise NotAuthorised("the directory cannot revoke the certificate it signs with")
            self._book.issued.revoke(certificate.serial, reason, now)
            self._book.machines.remove_certified(certificate.fingerprint)
            held.append(self._book.issued.revocation(certificate.serial))
        return tuple(revocation for revocation in held if revocation)

    def renewals_due(self, now: int) -> tuple[IssuedCertificate, ...]:
        """Return the certificates in use whose half-time has passed at `now`, the directory's own first."""
        return renewal.due(self._book, self.signer, now)

    def renew(self, certificate: IssuedCertificate) -> Certificate:
        """Raises NotListed (not in use any more), AuthorityLocked."""
        return renewal.renew(self._book, self._open_authority(), self.signer, certificate, self._clock())

    def _open_authority(self) -> Authority:
        if self._authority is None:
            raise AuthorityLocked(f"the CA key of {self._domain} is not open here: its passphrase is needed")
        return self._authority
