"""Successors of certificates past half of their lifetime, issued from the public keys that the book holds."""

from p2pcore import params
from p2pcore.crypto.certificates import Authority, Certificate, parse_certificate
from p2pcore.crypto.statements import Signer
from p2pcore.directory.book import Book
from p2pcore.directory.errors import NotListed
from p2pcore.directory.issued import IssuedCertificate
from p2pcore.errors import NotAuthorised
from p2pcore.records import Role


def newest_signer(book: Book, signer: Signer) -> Signer:
    """Return `signer`, or its key with the renewed certificate that the book holds for it. Raises NotAuthorised."""
    issued = book.issued.by_name("directory", signer.certificate.domain)
    newest = max(issued, key=lambda certificate: certificate.epoch, default=None)
    if newest is None or newest.epoch <= signer.certificate.epoch:
        return signer
    if newest.public_key != signer.key.public_bytes:
        raise NotAuthorised(
            f"the book's directory certificate has epoch {newest.epoch} and another key than the one given, "
            f"of epoch {signer.certificate.epoch}: records signed with it would lose against those published"
        )
    return Signer(signer.key, parse_certificate(newest.der))


def in_use(book: Book, signer: Signer) -> tuple[IssuedCertificate, ...]:
    """Return the newest certificate of each listed user and machine, the directory's first, without revoked ones."""
    users = [user.certificate for user in book.addresses.users() if user.state == "active"]
    machines = [machine.certificate for machine in book.machines.all() if machine.state == "active"]
    revoked = {revocation.serial for revocation in book.issued.revocations(0)}
    found = [book.issued.get(fingerprint) for fingerprint in dict.fromkeys([signer.fingerprint, *machines, *users])]
    return tuple(issued for issued in found if issued is not None and issued.serial not in revoked)


def due(book: Book, signer: Signer, now: int) -> tuple[IssuedCertificate, ...]:
    """Return the certificates in use that are past half of their lifetime."""
    with book.transaction():
        return tuple(issued for issued in in_use(book, signer) if now >= issued.renewable_from)


def renew(book: Book, authority: Authority, signer: Signer, certificate: IssuedCertificate, now: int) -> Certificate:
    """Issue and list the successor of a certificate in use, for the same keys and names. Raises NotListed."""
    if certificate.fingerprint not in {issued.fingerprint for issued in in_use(book, signer)}:
        raise NotListed(f"{certificate.role} {certificate.name}: this certificate is not in use any more")
    old = parse_certificate(certificate.der)
    der = authority.issue(
        old.role,
        old.addresses or certificate.name,
        old.public_key,
        old.hpke_key,
        issue_time(book, old.role, certificate.name, now),
        host=old.host,
        epoch=old.epoch + 1 if old.role == "directory" else 0,
    )
    successor = parse_certificate(der)
    book.issued.add(successor, certificate.name)
    if successor.role == "user":
        book.addresses.certify(certificate.name, successor.fingerprint)
    elif successor.role in ("gateway", "node"):
        book.machines.certify(successor.role, certificate.name, successor.fingerprint)
    return successor


def issue_time(book: Book, role: Role, name: str, now: int) -> int:
    """Return `now`, or as much later as it takes for a later notBefore than all earlier certificates of this name.

    A certificate's version is its notBefore (docs/formats.md §4), in whole seconds: the successor must win.
    """
    earlier = [issued.not_before for issued in book.issued.by_name(role, name)]
    return max([now, *(before + params.NOT_BEFORE_SETBACK + params.SECOND for before in earlier)])
