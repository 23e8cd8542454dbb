"""What the directory tells the network: its record, the certificates in use, and their successors in time."""

from collections.abc import Collection

from p2pcore import params
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.directory import record
from p2pcore.directory.base import Base
from p2pcore.directory.issued import IssuedCertificate
from p2pcore.directory.renewal import in_use
from p2pcore.records import PublishedVersion, VersionStatement


class Publications(Base):
    """Versions to publish, when each is due, and renewal from half-time (docs/formats.md §5)."""

    def current_record(self) -> PublishedVersion:
        """Return the newest domain record, signed; a new version where something changed or the last is a day old.

        It is in the book before it is returned, and its time is above every earlier one's.
        Raises ClockSkew (the clock is too far behind the last version's time), BookUnusable.
        """
        with self.book.transaction():
            return record.current(self.book, self.domain, self.signer, self.clock())

    def record_to_publish(self) -> PublishedVersion:
        """Return `current_record` under a statement issued just now: nodes take no old one straight from its signer."""
        with self.book.transaction():
            signer, now = self.signer, self.clock()
            return record.issued_now(record.current(self.book, self.domain, signer, now), signer, now)

    def certificates_to_publish(self, only: Collection[bytes] | None = None) -> tuple[PublishedVersion, ...]:
        """Return the certificates in use as versions signed just now; `only`: those with these SHA-256 digests."""
        with self.book.transaction():
            return record.certificates(self.book, self.signer, self.clock(), only)

    def certificates_due(self) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Return the SHA-256 digests of certificates in use that no quorum took yet, and of those due again."""
        with self.book.transaction():
            return record.certificates_due(self.book, self.signer, self.clock())

    def is_due(self, statement: VersionStatement) -> bool:
        """Return whether no quorum took this content yet, or longer than PUBLISH_INTERVAL ago."""
        digest, at = self.book.versions.published().get(statement.identifier, (b"", 0))
        return digest != statement.digest or self.clock() >= at + params.PUBLISH_INTERVAL

    def note_published(self, statement: VersionStatement) -> None:
        """Note that a quorum has this version."""
        with self.book.transaction():
            self.book.versions.note_published(statement.identifier, statement.digest, self.clock())

    def supersede(self) -> None:
        """Let the next `current_record` be a newer version, because the network knows a newer one than ours.

        Where ours is of now already, it is the epoch that is behind (the book is an old backup): our own certificate is
        renewed, for the next one. Callbacks are not called: when to try is the caller's to say. Raises AuthorityLocked
        (the version is a new one all the same), BookUnusable.
        """
        with self.book.transaction():
            newest = self.book.versions.newest()
            self.book.revise()
        if newest and newest.time > self.clock() - params.VERSION_AHEAD:
            with self.book.transaction():
                self._issuer.renew(self._issuer.issued(self.signer.fingerprint))

    def renewals_due(self, now: int) -> tuple[IssuedCertificate, ...]:
        """Return the certificates in use whose half-time has passed at `now` (ms), the directory's own first."""
        return self._issuer.renewals_due(now)

    def newest(self, held: Certificate) -> Certificate:
        """Return the certificate in use for the keys of `held`, renewed if its half-time has passed; else `held`.

        Raises AuthorityLocked, BookUnusable.
        """
        with self.book.transaction():
            of_its_key = [issued for issued in in_use(self.book, self.signer) if issued.public_key == held.public_key]
        for issued in of_its_key:
            found = parse_certificate(issued.der)
            if found.hpke_key == held.hpke_key:
                return parse_certificate(self.renew(issued)) if self.clock() >= issued.renewable_from else found
        return held

    def renew(self, certificate: IssuedCertificate) -> bytes:
        """Issue the successor of a certificate in use, for the same keys, and return it (DER).

        The directory's own gets the next epoch and signs from now on; the others are published, and so found by their
        holders. Raises NotListed (not in use any more), AuthorityLocked.
        """
        with self.book.transaction():
            successor = self._issuer.renew(certificate)
            self.book.touch()
        return successor.der
