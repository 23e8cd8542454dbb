"""The certificates of whoever signed something held here, and how much of the disk each may fill."""

from typing import Final

import apsw

from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import NodeFull, NotFound
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Transaction

_UNUSED: Final = """
    DELETE FROM certificates WHERE fingerprint NOT IN (
        SELECT signer FROM objects UNION SELECT signer FROM entries UNION SELECT signer FROM acknowledgements
        UNION SELECT signer FROM versions UNION SELECT signer FROM heads
    ) RETURNING fingerprint
"""


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
    """Drop the certificates of those who signed nothing that is held here."""
    for (fingerprint,) in transaction.db.execute(_UNUSED).fetchall():
        transaction.ledger.certificates.discard(fingerprint)


def check_room(transaction: Transaction, settings: NodeSettings, certificate: Certificate, octets: int) -> None:
    """Return if `octets` more of this signer fit. Raises NodeFull."""
    ledger = transaction.ledger
    if ledger.octets + octets > settings.quota:
        raise NodeFull(f"{ledger.octets} of {settings.quota} octets are taken")
    share = settings.quota * settings.limits.user_share
    if certificate.role == "user" and ledger.octets_of.get(certificate.fingerprint, 0) + octets > share:
        raise NodeFull(f"{certificate.primary_address} has filled a user's share of {int(share)} octets")
