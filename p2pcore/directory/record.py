"""The domain record built from the book, and certificates as versioned objects, signed by the directory."""

import hashlib
from collections.abc import Collection

import msgspec

from p2pcore import names, params
from p2pcore.crypto.certificates import Certificate, parse_certificate
from p2pcore.crypto.notifications import seal_addresses
from p2pcore.crypto.statements import Signer
from p2pcore.directory.book import Book
from p2pcore.directory.issued import IssuedCertificate
from p2pcore.directory.renewal import in_use
from p2pcore.directory.versions import RecordVersion
from p2pcore.errors import ClockSkew, TooLarge
from p2pcore.records import (
    ContactInfo,
    DomainRecord,
    GatewayInfo,
    PublishedVersion,
    Replication,
    VersionStatement,
    decode,
    encode,
)


def current(book: Book, domain: str, signer: Signer, now: int) -> PublishedVersion:
    """Return the newest record as it is in the book, or a new one (see Directory.current_record)."""
    newest = book.versions.newest()
    revision, epoch = book.revision(), signer.certificate.epoch
    if newest and (newest.revision, newest.epoch) == (revision, epoch) and now < newest.time + params.PUBLISH_INTERVAL:
        return decode(PublishedVersion, newest.published)
    time = max(now, newest.time + 1) if newest else now
    if time > now + params.VERSION_AHEAD:
        raise ClockSkew(
            f"the last record of {domain} is {(time - now) // params.SECOND} s ahead of this machine's clock; "
            "nobody would take another one: set the clock"
        )
    content = encode(_build(book, domain, epoch, time))
    if len(content) > params.MAX_DOMAIN_RECORD:
        raise TooLarge(f"domain record of {len(content)} octets, above {params.MAX_DOMAIN_RECORD}")
    digest = hashlib.sha256(content).digest()
    statement = VersionStatement(
        kind="domain",
        identifier=names.domain_identifier(domain),
        epoch=epoch,
        time=time,
        digest=digest,
        size=len(content),
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        signer=signer.fingerprint,
    )
    published = PublishedVersion(signer.sign([statement])[0], content)
    book.versions.add(RecordVersion(time, epoch, revision, digest, encode(published)))
    return published


def issued_now(published: PublishedVersion, signer: Signer, now: int) -> PublishedVersion:
    """Return the same version of the same content under a statement issued at `now`."""
    statement = msgspec.structs.replace(
        published.version.statement, issued=now, expires=now + params.OBJECT_LIFETIME, signer=signer.fingerprint
    )
    return PublishedVersion(signer.sign([statement])[0], published.content)


def _build(book: Book, domain: str, epoch: int, time: int) -> DomainRecord:
    gateways, readers = [], []
    for machine in book.machines.active("gateway"):
        issued = book.issued.get(machine.certificate)
        hpke_key = parse_certificate(issued.der).hpke_key if issued else None
        assert hpke_key is not None  # add_gateway has checked it
        gateways.append(GatewayInfo(machine.host, machine.port, machine.certificate, hashlib.sha256(hpke_key).digest()))
        readers.append(hpke_key)
    address_keys, addresses = seal_addresses(book.addresses.snapshot(), domain, readers)
    return DomainRecord(
        domain=domain,
        epoch=epoch,
        time=time,
        next_update=time + params.RECORD_VALIDITY,
        replication=recent(book.versions.replication(), time),
        gateways=tuple(gateways),
        bootstrap=bootstrap(book),
        revocations=book.issued.revocations(time),
        address_keys=address_keys,
        addresses=addresses,
    )


def recent(history: tuple[Replication, ...], now: int) -> tuple[Replication, ...]:
    """Return what held at any time since the oldest object that may still live was issued (replication.1)."""
    ended = [index for index, replication in enumerate(history) if replication.since <= now - params.MAX_LIFETIME]
    return history[ended[-1] :] if ended else history


def bootstrap(book: Book) -> tuple[ContactInfo, ...]:
    """Return the nodes to begin with: at most MAX_BOOTSTRAP, those that have been listed longest."""
    nodes = book.machines.active("node")[: params.MAX_BOOTSTRAP]
    return tuple(ContactInfo(node.node_id, node.host, node.port) for node in nodes)


def certificates(book: Book, signer: Signer, now: int, only: Collection[bytes] | None) -> tuple[PublishedVersion, ...]:
    """Return the certificates in use as versions issued now (see Directory.certificates_to_publish)."""
    chosen = [
        parse_certificate(issued.der)
        for issued in published_ones(book, signer)
        if only is None or issued.fingerprint in only
    ]
    signed = signer.sign([_version(certificate, signer, now) for certificate in chosen])
    return tuple(
        PublishedVersion(version, certificate.der) for version, certificate in zip(signed, chosen, strict=True)
    )


def certificates_due(book: Book, signer: Signer, now: int) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """Return the fingerprints of certificates never published, and of those whose daily publication is due."""
    published = book.versions.published()
    new, again = [], []
    for issued in published_ones(book, signer):
        digest, at = published.get(issued.identifier, (b"", 0))
        if digest != issued.fingerprint:
            new.append(issued.fingerprint)
        elif now >= at + params.PUBLISH_INTERVAL:
            again.append(issued.fingerprint)
    return tuple(new), tuple(again)


def published_ones(book: Book, signer: Signer) -> tuple[IssuedCertificate, ...]:
    """Return the certificates that are versioned objects; the directory's own is nowhere looked for by name."""
    return tuple(issued for issued in in_use(book, signer) if issued.role != "directory")


def _version(certificate: Certificate, signer: Signer, now: int) -> VersionStatement:
    return VersionStatement(
        kind="certificate",
        identifier=certificate.identifier,
        epoch=0,
        time=certificate.not_before,
        digest=certificate.fingerprint,
        size=len(certificate.der),
        issued=now,
        expires=now + params.OBJECT_LIFETIME,
        signer=signer.fingerprint,
    )
