"""Versioned objects, the only mutable kind: a majority is read, the highest version that verifies wins."""

import asyncio
import hashlib
from dataclasses import dataclass

from p2pcore import names, params
from p2pcore.client.batching import Batcher
from p2pcore.client.results import failure_of, value_of
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.statements import StatementVerifier
from p2pcore.crypto.trust import Trust
from p2pcore.dht.contact import Contact
from p2pcore.dht.substrate import Substrate
from p2pcore.errors import CannotKnow, Failure, NotFound, Tampered, UnknownCertificate, Unreachable
from p2pcore.names import VersionedKind
from p2pcore.records import (
    AskCertificate,
    DomainRecord,
    PublishedVersion,
    Resolve,
    SignedStatement,
    VersionStatement,
    decode,
)

_EXPECTED = {"certificate": params.MAX_CERTIFICATE, "domain": 64 << 10}  # octets of an answer, usually


def version_of(published: PublishedVersion) -> tuple[int, int]:
    """Return (epoch, time), which orders the versions of one identifier."""
    statement = published.version.statement
    assert isinstance(statement, VersionStatement)
    return statement.epoch, statement.time


class VersionChecker:
    """Checks what a PublishedVersion claims; also for versions that come from a file or an invitation."""

    def __init__(self, trust: Trust, verifier: StatementVerifier) -> None:
        self.trust = trust
        self._verifier = verifier

    def check(self, published: PublishedVersion, kind: VersionedKind, identifier: str) -> None:
        """Return if `published` is a version of `identifier` under an authorised signer, with the content it names.

        Raises Tampered, Malformed, UnknownCertificate, SignatureRefused, CertificateRefused, NotAuthorised, Expired,
        ClockSkew (a time more than VERSION_AHEAD from now).
        """
        statement = published.version.statement
        if not isinstance(statement, VersionStatement) or (statement.kind, statement.identifier) != (kind, identifier):
            raise Tampered(f"{kind} {identifier!r}: the statement is about something else")
        digest = hashlib.sha256(published.content).digest()
        if statement.size != len(published.content) or statement.digest != digest:
            raise Tampered(f"{kind} {identifier!r}: the content is not the one that was signed")
        if kind == "certificate":
            self._check_certificate(statement, published.content)
        else:
            self._check_record(statement, published.content)
        self.verify(published.version)

    def verify(self, signed: SignedStatement) -> Certificate:
        """Return the certificate of who signed `signed`, as `StatementVerifier.verify` through repair."""
        return self._verifier.verify(signed, direct=False)

    def _check_certificate(self, statement: VersionStatement, der: bytes) -> None:
        certificate = self.trust.add(der)
        if certificate.identifier != statement.identifier or statement.time != certificate.not_before:
            raise Tampered(f"certificate {statement.identifier!r}: it is of {certificate.name}")

    def _check_record(self, statement: VersionStatement, octets: bytes) -> None:
        record = decode(DomainRecord, octets)
        claimed = (names.domain_identifier(record.domain), record.epoch, record.time)
        if claimed != (statement.identifier, statement.epoch, statement.time):
            raise Tampered(f"domain record {statement.identifier!r}: it says {claimed}")


@dataclass(slots=True)
class _Poll:
    """Answers so far: `answered` counts those that say something, a version or that there is none."""

    answered: int = 0
    highest: PublishedVersion | None = None


class VersionReader:
    """Resolves identifiers; certificates of unknown signers are asked for where the version came from."""

    def __init__(self, *, substrate: Substrate, batcher: Batcher, checker: VersionChecker) -> None:
        self._substrate = substrate
        self._batcher = batcher
        self._checker = checker

    async def resolve(self, kind: VersionedKind, identifier: str) -> PublishedVersion | None:
        """Return the highest version that a majority of the VERSIONED_REPLICAS closest nodes knows and that verifies.

        None: the majority answered and knows none. Raises CannotKnow where no majority answered (what lies are told
        does not count as an answer).
        """
        contacts = await self._substrate.lookup(names.key_of(identifier), params.VERSIONED_REPLICAS)
        majority = len(contacts) // 2 + 1
        poll = _Poll()
        tasks = [
            asyncio.create_task(self._ask(contact, kind, identifier, poll), name=f"resolve {identifier}")
            for contact in contacts
        ]
        try:
            for finished in asyncio.as_completed(tasks):
                await finished
                if poll.answered >= majority:
                    return poll.highest
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        raise CannotKnow(f"{kind} {identifier!r}: {poll.answered} of {majority} nodes answered")

    async def _ask(self, contact: Contact, kind: VersionedKind, identifier: str, poll: _Poll) -> None:
        try:
            result = await self._batcher.submit(contact, Resolve(kind, identifier), expected=_EXPECTED[kind])
            published = decode(PublishedVersion, value_of(result))
            await self._check(contact, published, kind, identifier)
        except NotFound:
            poll.answered += 1
        except Failure as failure:
            if isinstance(failure, Unreachable):
                self._substrate.report(contact, alive=False)
        else:
            poll.answered += 1
            if poll.highest is None or version_of(published) > version_of(poll.highest):
                poll.highest = published

    async def _check(self, contact: Contact, published: PublishedVersion, kind: VersionedKind, identifier: str) -> None:
        try:
            self._checker.check(published, kind, identifier)
        except UnknownCertificate:
            statement = published.version.statement
            await ask_certificate(self._batcher, contact, self._checker.trust, statement.signer)
            self._checker.check(published, kind, identifier)


async def ask_certificate(batcher: Batcher, contact: Contact, trust: Trust, fingerprint: bytes) -> Certificate:
    """Return the certificate with `fingerprint` as `contact` holds it, now known to `trust`.

    Raises UnknownCertificate (not there, or another one came), CertificateRefused, Unreachable.
    """
    result = await batcher.submit(contact, AskCertificate(fingerprint), expected=params.MAX_CERTIFICATE)
    failure = failure_of(result)
    if failure is not None:
        if isinstance(failure, NotFound):
            raise UnknownCertificate(f"{contact.endpoint}: certificate {fingerprint.hex()} is not there")
        raise failure
    certificate = trust.add(result.value)
    if certificate.fingerprint != fingerprint:
        raise UnknownCertificate(f"{contact.endpoint}: gave another certificate than {fingerprint.hex()}")
    return certificate
