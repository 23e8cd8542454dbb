"""Which certificates or machine somebody means: by address, machine name, host, node ID or serial number."""

import hashlib

from p2pcore import names
from p2pcore.directory.book import Book
from p2pcore.directory.errors import NotListed
from p2pcore.directory.issued import IssuedCertificate, Reason
from p2pcore.directory.machines import Machine, MachineRole
from p2pcore.errors import Malformed

MAX_SERIAL = 20  # octets, RFC 5280 §4.1.2.2


def certificates_meant(book: Book, target: str | bytes, reason: Reason) -> tuple[IssuedCertificate, ...]:
    """Return the certificates to revoke for `target`; at least one. Raises NotListed, Malformed.

    Renewals share a key, so the name of a user or machine means all certificates of its newest key in that role.
    `compromised` means every certificate of the key, whatever its role; a retired serial means that one alone.
    """
    meant = _by_octets(book, target) if isinstance(target, bytes) else _by_text(book, target)
    found: dict[bytes, IssuedCertificate] = {}
    for certificate, alone in meant:
        for sibling in book.issued.by_key(certificate.public_key):
            same = sibling.role == certificate.role and (not alone or sibling.serial == certificate.serial)
            if same or reason == "compromised":
                found[sibling.fingerprint] = sibling
    return tuple(found.values())


def machine_meant(book: Book, name: str, role: MachineRole | None) -> Machine:
    """Return the listed machine with this name or node ID. Raises NotListed, also where it may be one of two."""
    wanted = name.strip()
    active = [each for each in book.machines.all() if each.state == "active" and role in (None, each.role)]
    found = [each for each in active if wanted in (each.name, each.node_id.hex())]
    if not found:
        raise NotListed(f"{name}: no {role or 'machine'} of this name or node ID is listed; see `p2pmail machine list`")
    if len(found) > 1:
        raise NotListed(f"{name}: a gateway and a node have this name; say which is meant: --role")
    return found[0]


def _by_text(book: Book, target: str) -> list[tuple[IssuedCertificate, bool]]:
    if "@" in target:
        address = names.canonical_address(target)
        certificates = [user.certificate for user in book.addresses.users() if user.address == address]
        if not certificates:
            raise NotListed(f"{target}: no user of this domain has or had this address")
        return [(_issued(book, certificates[-1]), False)]
    machines = book.machines.all()
    named = [machine for machine in machines if machine.name == target.strip()]
    if not named:
        named = [machine for machine in machines if machine.host == target.strip() and machine.state == "active"]
        if len({machine.node_id for machine in named}) > 1:
            raise NotListed(f"{target}: several machines are at this host; give the name or node ID of one")
    if named:
        newest = {machine.role: machine for machine in named}  # oldest first, so the newest of each role stays
        return [(_issued(book, machine.certificate), False) for machine in newest.values()]
    try:
        octets = bytes.fromhex(target)
    except ValueError as error:
        raise NotListed(f"{target}: no address, machine, node ID or serial number of this domain") from error
    return _by_octets(book, octets)


def _by_octets(book: Book, octets: bytes) -> list[tuple[IssuedCertificate, bool]]:
    if len(octets) == hashlib.sha256().digest_size:
        certificates = [machine.certificate for machine in book.machines.all() if machine.node_id == octets]
        if not certificates:
            raise NotListed(f"{octets.hex()}: no machine with this node ID")
        return [(_issued(book, certificate), False) for certificate in certificates]
    if not 1 <= len(octets) <= MAX_SERIAL:
        raise Malformed(f"{octets[:40].hex()}: neither a node ID (32 octets) nor a serial number (1 to {MAX_SERIAL})")
    found = book.issued.by_serial(octets)
    if found is None:
        raise NotListed(f"{octets.hex()}: no certificate with this serial number was issued here")
    return [(found, True)]


def _issued(book: Book, fingerprint: bytes) -> IssuedCertificate:
    found = book.issued.get(fingerprint)
    assert found is not None  # users and machines reference certificates (foreign key)
    return found
