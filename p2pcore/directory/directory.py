"""The domain's rules: who may be listed under which name, what follows from a change, and the record that says so."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from p2pcore import names, params
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Authority, Certificate, parse_certificate
from p2pcore.crypto.keys import HpkePublic
from p2pcore.crypto.statements import Signer
from p2pcore.directory import record
from p2pcore.directory.addresses import User
from p2pcore.directory.book import Book
from p2pcore.directory.errors import AddressTaken, NameTaken, ReplicationRefused
from p2pcore.directory.issued import IssuedCertificate, Reason
from p2pcore.directory.issuing import Issuer
from p2pcore.directory.machines import Machine, MachineRole, check_endpoint, machine_name
from p2pcore.directory.targets import certificates_meant, machine_meant
from p2pcore.endpoint import Endpoint
from p2pcore.errors import CertificateRefused, Malformed, NoSuchAddress, NotOurDomain, TooLarge
from p2pcore.records import PublishedVersion, Replication, Revocation, VersionStatement

MAX_GATEWAYS = 1_000  # records.DomainRecord
MAX_REPLICATION_CHANGES = 1_000 - 1  # the same


class Directory:
    """The domain's one authority on addresses, machines and revocations; safe to use from several threads.

    All calls block (disk, signatures). A call that raises has changed nothing; one that returns has its change on disk.
    Addresses may be given in any spelling and are listed in canonical form.
    """

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

    @property
    def signer(self) -> Signer:
        """The directory's key with its newest certificate, which any process may have renewed: ask each time."""
        return self._issuer.signer

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call `callback`, in the changing thread, after each change of what is published."""
        self.book.on_commit(callback)

    # What is listed

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

    def machines(self) -> tuple[Machine, ...]:
        """Return every gateway and node there ever was, oldest first."""
        return self.book.machines.all()

    def replication(self) -> tuple[Replication, ...]:
        """Return the history of k and w, oldest first; the last one holds."""
        return self.book.versions.replication()

    def revocations(self) -> tuple[Revocation, ...]:
        return self.book.issued.revocations(self.clock())

    # Addresses

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

        Raises AddressTaken (it is a user's), NoSuchAddress (a target is no user), NotOurDomain, Malformed, TooLarge.
        """
        address, users = self._canonical(address), self._users(targets)
        if not users:
            raise Malformed(f"alias {address} needs at least one user")
        with self.book.transaction():
            if self.book.addresses.user(address):
                raise AddressTaken(f"{address} is a user's address")
            self.book.addresses.set_alias(address, users)
            self.book.touch()

    def remove_alias(self, address: str) -> None:
        """Raises NoSuchAddress, NotOurDomain, Malformed."""
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

    # Machines

    def add_gateway(self, name: str, endpoint: Endpoint, signing_key: bytes, hpke_key: bytes) -> bytes:
        """List a gateway and return its certificate (DER).

        `name` is its host name (the certificate's host), `endpoint` is where agents submit (port 0: nowhere).
        The same name and key again only move it. Raises NameTaken, Malformed, CertificateRefused, AuthorityLocked.
        """
        HpkePublic.from_bytes(hpke_key)
        return self._add_machine("gateway", names.canonical_domain(name), endpoint, signing_key, hpke_key)

    def add_node(self, name: str, endpoint: Endpoint, signing_key: bytes) -> bytes:
        """List a node and return its certificate (DER). The same name and key again only move it.

        Raises NameTaken, Malformed, CertificateRefused, AuthorityLocked.
        """
        return self._add_machine("node", machine_name(name), endpoint, signing_key, None)

    def _add_machine(
        self, role: MachineRole, name: str, endpoint: Endpoint, signing_key: bytes, hpke_key: bytes | None
    ) -> bytes:
        check_endpoint(role, name, endpoint)
        node_id = hashlib.sha256(signing_key).digest()
        with self.book.transaction():
            for machine in self.book.machines.active(role):
                if machine.name == name or machine.node_id == node_id:
                    held = parse_certificate(self._issuer.issued(machine.certificate).der)
                    if (machine.name, held.public_key, held.hpke_key) == (name, signing_key, hpke_key):
                        self.book.machines.move(role, node_id, endpoint)
                        self.book.touch()
                        return held.der
                    raise NameTaken(f"{role} {machine.name} with key {machine.node_id.hex()[:16]}… is listed already")
            if self.book.machines.count("gateway") >= MAX_GATEWAYS and role == "gateway":
                raise TooLarge(f"{MAX_GATEWAYS} gateways are listed, more do not fit the domain record")
            certificate = self._issuer.issue(role, name, signing_key, hpke_key, host=name if role == "gateway" else "")
            self.book.machines.add(role, name, node_id, endpoint, certificate.fingerprint)
            self.book.touch()
        return certificate.der

    def move_machine(self, name: str, endpoint: Endpoint, role: MachineRole | None = None) -> Machine:
        """Note where a listed machine (its name or node ID) is reached now; return it as it was listed.

        Raises NotListed (also where `role` must say which of two is meant), Malformed.
        """
        with self.book.transaction():
            machine = machine_meant(self.book, name, role)
            check_endpoint(machine.role, machine.name, endpoint)
            self.book.machines.move(machine.role, machine.node_id, endpoint)
            self.book.touch()
        return machine

    def certificate_of(self, machine: Machine) -> IssuedCertificate:
        """Return the machine's newest certificate."""
        return self._issuer.issued(machine.certificate)

    def revoke(self, target: str | bytes, reason: Reason = "retired") -> tuple[Revocation, ...]:
        """Revoke the certificates of a user (address), machine (name, host, node ID) or serial; return what holds now.

        IDs and serials are octets or hexadecimal text. Machines leave the lists. A user stays listed, so that mail to
        her waits instead of bouncing, until she is removed or added again with new keys. `compromised` covers every
        certificate of the key. Raises NotListed, NotAuthorised (the certificate this directory signs with).
        """
        with self.book.transaction():
            revoked = self._issuer.revoke(certificates_meant(self.book, target, reason), reason)
            self.book.touch()
        return revoked

    def is_revoked(self, certificate: bytes) -> bool:
        """Return whether the certificate with this SHA-256 is revoked. Raises NotListed."""
        return self._issuer.is_revoked(certificate)

    def set_replication(self, k: int, w: int, *, beforehand: bool = False) -> None:
        """Let every object have k copies of which w must be on disk before success, from now on (DESIGN §6).

        `beforehand`: the nodes will join later; until w of them run nothing is stored. Raises ReplicationRefused unless
        k/2 < w <= k and at least k nodes are listed (k = 1 is always possible).
        """
        if not (1 <= k <= params.MAX_K and k / 2 < w <= k):
            raise ReplicationRefused(f"k = {k}, w = {w}: k/2 < w <= k and 1 <= k <= {params.MAX_K} must hold")
        with self.book.transaction():
            nodes = self.book.machines.count("node")
            if k > max(nodes, 1) and not beforehand:
                raise ReplicationRefused(f"k = {k}: only {nodes} nodes are known; let more join first")
            now, history = self.clock(), self.book.versions.replication()
            if len(record.recent(history, now)) >= MAX_REPLICATION_CHANGES:
                raise ReplicationRefused(f"k and w have changed {MAX_REPLICATION_CHANGES} times: no more for now")
            if (history[-1].k, history[-1].w) != (k, w):
                self.book.versions.replicate(now, k, w)
                self.book.touch()

    # What is published

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
        """Let the next `current_record` be a new version, because the network knows a newer one than ours."""
        with self.book.transaction():
            self.book.touch()

    # Renewal (DESIGN §4: from half-time)

    def renewals_due(self, now: int) -> tuple[IssuedCertificate, ...]:
        """Return the certificates in use whose half-time has passed at `now` (ms), the directory's own first."""
        return self._issuer.renewals_due(now)

    def renew(self, certificate: IssuedCertificate) -> bytes:
        """Issue the successor of a certificate in use, for the same keys, and return it (DER).

        The directory's own gets the next epoch and signs from now on; the others are published, and so found by their
        holders. Raises NotListed (not in use any more), AuthorityLocked.
        """
        with self.book.transaction():
            successor = self._issuer.renew(certificate)
            self.book.touch()
        return successor.der

    def _canonical(self, address: str) -> str:
        canonical = names.canonical_address(address)
        if names.split_address(canonical)[1] != self.domain:
            raise NotOurDomain(f"{address} is not in {self.domain}")
        return canonical

    def _users(self, targets: str | Sequence[str]) -> tuple[str, ...]:
        given = (targets,) if isinstance(targets, str) else targets
        return tuple(dict.fromkeys(self._canonical(target) for target in given))
