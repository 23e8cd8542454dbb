"""The certificates of whoever signed something held here, and how much of the disk each may fill."""

import apsw

from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import NodeFull, NotFound
from p2pcore.node.schema import unused
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Transaction


def keep(transaction: Transaction, certificate: Certificate) -> None:
    """Hold a signer's certificate, as what it signed is stored."""
    if certificate.fingerprint not in transaction.ledger.certificates:
        transaction.db.execute(
            "INSERT OR IGNORE INTO certificates VALUES (?, ?)", (certificate.fingerprint, certificate.der)
        )
        transaction.ledger.certificates.add(certificate.fingerprint)


def ask(db: apsw.Connection, fingerprint: bytes) -> bytes:
    """Return the certificate (DER) with this digest. Raises NotFound."""
    der = db.execute("SELECT der FROM certificates WHERE fingerprint = ?", (fingerprint,)).get
    if not isinstance(der, bytes):
        raise NotFound(f"certificate {fingerprint.hex()} signed nothing that is held here")
    return der


def drop_unused(transaction: Transaction) -> None:
    """Drop the certificates of those who signed nothing that is held here.

    Whatever is held counts octets of its signer, heads alone do not.
    """
    ledger = transaction.ledger
    of_heads = {signer for (signer,) in transaction.db.execute("SELECT signer FROM heads")}
    unused = {signer for signer in ledger.certificates - of_heads if not ledger.octets_of.get(signer)}
    transaction.db.executemany("DELETE FROM certificates WHERE fingerprint = ?", [(signer,) for signer in unused])
    ledger.certificates -= unused


def check_room(transaction: Transaction, settings: NodeSettings, certificate: Certificate, octets: int) -> None:
    """Return if `octets` more of this signer fit the quota, the share of its role, and the disk. Raises NodeFull."""
    ledger = transaction.ledger
    if ledger.octets + octets > settings.quota:
        raise NodeFull(f"{ledger.octets} of {settings.quota} octets are taken")
    check_share(settings, certificate, ledger.octets_of.get(certificate.fingerprint, 0) + octets)
    if ledger.free < settings.limits.disk_reserve:
        free = ledger.free + unused(transaction.db)
        if free < settings.limits.disk_reserve:
            raise NodeFull(f"{free} octets are free on the disk")


def check_share(settings: NodeSettings, certificate: Certificate, octets: int) -> None:
    """Return if this signer may have `octets` in all. Raises NodeFull."""
    share = settings.quota * settings.limits.share(certificate.role)
    if octets > share:
        raise NodeFull(f"{certificate.name} has filled a {certificate.role}'s share of {int(share)} octets")
