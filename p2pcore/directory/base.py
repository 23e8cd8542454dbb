"""What every part of the directory works with: the book, the use of the CA's key, the domain's name and a clock."""

from collections.abc import Callable
from pathlib import Path

from p2pcore import names
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Authority
from p2pcore.crypto.statements import Signer
from p2pcore.directory.book import Book
from p2pcore.directory.issuing import Issuer
from p2pcore.errors import CertificateRefused


class Base:
    """The open book and its issuer; `Directory` says what its users may rely on."""

    def __init__(self, path: Path, domain: str, authority: Authority | None, signer: Signer, clock: Clock) -> None:
        """Open or create the book at `path`. `authority` None: nothing can be issued, the rest works.

        Where the book holds a renewed certificate for `signer`'s key, that is what signs (see `signer`).
        Raises BookUnusable, CertificateRefused (the signer is not a directory of `domain`), NotAuthorised (a signer
        with an older epoch and another key than the book's: its records would lose against those published).
        """
        self.domain = names.canonical_domain(domain)
        self.clock = clock
        certificate = signer.certificate
        if certificate.role != "directory" or certificate.domain != self.domain:
            raise CertificateRefused(f"not a directory certificate of {self.domain}: {certificate.name}")
        self.book = Book(path, self.domain, authority.fingerprint if authority else None, clock())
        try:
            self._issuer = Issuer(self.book, self.domain, authority, signer, clock)
        except BaseException:
            self.book.close()
            raise

    def close(self) -> None:
        self.book.close()

    def is_revoked(self, certificate: bytes) -> bool:
        """Return whether the certificate with this SHA-256 is revoked. Raises NotListed."""
        return self._issuer.is_revoked(certificate)

    @property
    def signer(self) -> Signer:
        """The directory's key with its newest certificate, which any process may have renewed: ask each time."""
        return self._issuer.signer

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the changing thread, after each change of what is published."""
        self.book.on_commit(callback)
