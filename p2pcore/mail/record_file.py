"""The newest domain record on disk, with the certificate of the directory that signed it.

| state of `domain-record` | after a crash |
|---|---|
| absent | nothing was ever adopted, or the first write had not ended: the record is asked for |
| present | the last record adopted: files are replaced whole |

Layout: the encoded Batch that publishes it: one certificate (DER), one Publish operation.
"""

from pathlib import Path

from p2pcore.crypto.files import replace_file
from p2pcore.crypto.trust import Trust
from p2pcore.errors import Malformed
from p2pcore.records import Batch, Publish, PublishedVersion, decode, encode

_NAME = "domain-record"


def save_record(directory: Path, published: PublishedVersion, trust: Trust) -> None:
    """Write `published`; durable on return. Raises OSError."""
    signer = trust.get(published.version.statement.signer)
    certificates = (signer.der,) if signer else ()
    replace_file(directory / _NAME, encode(Batch(certificates, (Publish(published),))))


def load_record(directory: Path, trust: Trust) -> PublishedVersion | None:
    """Return the version on disk, unchecked but for its form, its signer's certificate made known to `trust`; None
    where there is none. Raises OSError, Malformed, CertificateRefused.
    """
    try:
        octets = (directory / _NAME).read_bytes()
    except FileNotFoundError:
        return None
    batch = decode(Batch, octets)
    if len(batch.operations) != 1 or not isinstance(batch.operations[0], Publish):
        raise Malformed(f"{directory / _NAME}: not a published record")
    for der in batch.certificates:
        trust.add(der)
    return batch.operations[0].published
