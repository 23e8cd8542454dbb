"""The domain's rules about addresses: who is a user, under which certificate, and where else mail for her may go."""

from collections.abc import Sequence

from p2pcore import names
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.keys import HpkePublic
from p2pcore.directory.addresses import User
from p2pcore.directory.base import Base
from p2pcore.directory.errors import AddressTaken
from p2pcore.directory.targets import certificates_meant
from p2pcore.errors import Malformed, NoSuchAddress, NotOurDomain


class UserListing(Base):
    """Users, aliases, catch-all and postmaster."""

    def users(self) -> tuple[User, ...]:
        """Return every user there ever was, oldest first."""
        return self.book.addresses.users()

    def aliases(self) -> dict[str, tuple[str, ...]]:
        return self.book.addresses.aliases()

    def catch_all(self) -> tuple[str, ...]:
        return self.book.addresses.catch_all()

    def postmaster(self) -> str:
        """Return the user who takes postmaster@: the one chosen, else the first; "" where there is no user."""
        return self.book.addresses.postmaster()

    def add_user(self, address: str, signing_key: bytes, hpke_key: bytes) -> bytes:
        """List a user with her public keys and return her certificate (DER).

        A user whose certificate was revoked gets a new one for new keys, and keeps her aliases. The same address and
        keys again get the same certificate. Raises AddressTaken, NotOurDomain, Malformed, CertificateRefused (a key
        revoked as compromised), AuthorityLocked, TooLarge.
        """
        address = self._canonical(address)
        HpkePublic.from_bytes(hpke_key)
        with self.book.transaction():
            held = self._certificate_held(address)
            if held and (held.public_key, held.hpke_key) == (signing_key, hpke_key):
                return held.der
            self.check_address_free(address)
            certificate = self._issuer.issue("user", address, signing_key, hpke_key)
            if self.book.addresses.user(address):
                self.book.addresses.certify(address, certificate.fingerprint)
            else:
                self.book.addresses.add(address, certificate.fingerprint)
            self.book.touch()
        return certificate.der

    def rotate_user(self, address: str, signing_key: bytes, hpke_key: bytes, *, compromised: bool = False) -> bytes:
        """Give a listed user a certificate for new keys and return it (DER).

        Her earlier ones stay valid until they expire, so that what she signed under them is taken still; `compromised`:
        all of her key now in use are revoked so. The same address and keys again get the same certificate. Raises
        NoSuchAddress (also where her certificate is revoked), NotOurDomain, Malformed, CertificateRefused,
        AuthorityLocked.
        """
        address = self._canonical(address)
        HpkePublic.from_bytes(hpke_key)
        with self.book.transaction():
            held = self._certificate_held(address)
            if held is None:
                raise NoSuchAddress(f"{address} has no certificate that counts; `p2pmail invite` her anew")
            if (held.public_key, held.hpke_key) == (signing_key, hpke_key):
                return held.der
            if compromised:
                self._issuer.revoke(certificates_meant(self.book, address, "compromised"), "compromised")
            certificate = self._issuer.issue("user", address, signing_key, hpke_key)
            self.book.addresses.certify(address, certificate.fingerprint)
            self.book.touch()
        return certificate.der

    def user_certificate(self, address: str) -> Certificate:
        """Return the certificate in use of a listed user. Raises NoSuchAddress, NotOurDomain, Malformed."""
        certificate = self._certificate_held(self._canonical(address))
        if certificate is None:
            raise NoSuchAddress(f"{address} is not a user with a certificate that counts")
        return certificate

    def _certificate_held(self, address: str) -> Certificate | None:
        """Return the certificate of an active user, None where it is revoked or there is no such user."""
        user = self.book.addresses.user(address)
        if user is None or self.is_revoked(user.certificate):
            return None
        return parse_certificate(self._issuer.issued(user.certificate).der)

    def check_address_free(self, address: str) -> None:
        """Return if a user may be added at `address`. Raises AddressTaken, NotOurDomain, Malformed."""
        address = self._canonical(address)
        if self.book.addresses.is_alias(address):
            raise AddressTaken(f"{address} is an alias; remove it first")
        user = self.book.addresses.user(address)
        if user and not self.is_revoked(user.certificate):
            raise AddressTaken(f"{address} is a user already; remove her or revoke her certificate first")

    def remove_user(self, address: str) -> None:
        """Take a user off the list and retire her certificates; aliases that name only her go too.

        Raises NoSuchAddress, NotOurDomain, Malformed.
        """
        address = self._canonical(address)
        with self.book.transaction():
            user = self.book.addresses.user(address)
            self.book.addresses.remove(address)
            assert user is not None  # remove() has raised otherwise
            self._issuer.revoke(certificates_meant(self.book, address, "retired"), "retired")
            self.book.touch()

    def set_alias(self, address: str, targets: str | Sequence[str]) -> None:
        """Let mail for `address` go to these users (primary addresses), instead of those it went to.

        "@domain" and "*@domain" stand for every address that nothing else takes (the catch-all). Raises
        AddressTaken (it is a user's), NoSuchAddress (a target is no user), NotOurDomain, Malformed, TooLarge.
        """
        users = self._users(targets)
        if not users:
            raise Malformed(f"alias {address} needs at least one user")
        if self._is_every_address(address):
            self.set_catch_all(users)
            return
        address = self._canonical(address)
        with self.book.transaction():
            if self.book.addresses.user(address):
                raise AddressTaken(f"{address} is a user's address")
            self.book.addresses.set_alias(address, users)
            self.book.touch()

    def remove_alias(self, address: str) -> None:
        """Take away what `set_alias` has set. Raises NoSuchAddress, NotOurDomain, Malformed."""
        if self._is_every_address(address):
            self.set_catch_all(())
            return
        address = self._canonical(address)
        with self.book.transaction():
            if not self.book.addresses.remove_alias(address):
                raise NoSuchAddress(f"{address} is not an alias")
            self.book.touch()

    def set_catch_all(self, targets: str | Sequence[str]) -> None:
        """Let what nothing else takes go to these users; none: it is refused. Raises as `set_alias`."""
        users = self._users(targets)
        with self.book.transaction():
            self.book.addresses.set_catch_all(users)
            self.book.touch()

    def set_postmaster(self, address: str) -> None:
        """Let this user take postmaster@ and abuse@. Raises NoSuchAddress, NotOurDomain, Malformed."""
        address = self._canonical(address)
        with self.book.transaction():
            self.book.addresses.set_postmaster(address)
            self.book.touch()

    def _is_every_address(self, address: str) -> bool:
        """Return whether this is "@domain" or "*@domain", as mail administrators write it. Raises as `_canonical`."""
        local, at, domain = address.strip().rpartition("@")
        if not at or local not in ("", "*"):
            return False
        if names.canonical_domain(domain) != self.domain:
            raise NotOurDomain(f"{address} is not in {self.domain}")
        return True

    def _canonical(self, address: str) -> str:
        canonical = names.canonical_address(address)
        if names.split_address(canonical)[1] != self.domain:
            raise NotOurDomain(f"{address} is not in {self.domain}")
        return canonical

    def _users(self, targets: str | Sequence[str]) -> tuple[str, ...]:
        given = (targets,) if isinstance(targets, str) else targets
        return tuple(dict.fromkeys(self._canonical(target) for target in given))
