"""Signing statements in batches, verifying them one by one, and who may sign which (docs/formats.md §4)."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

from p2pcore import names, params
from p2pcore.clock import Clock
from p2pcore.crypto import keys, merkle
from p2pcore.crypto.certificate_parsing import Certificate
from p2pcore.crypto.keys import SigningKey
from p2pcore.crypto.trust import Trust
from p2pcore.errors import ClockSkew, Expired, Malformed, NotAuthorised, SignatureRefused, UnknownCertificate
from p2pcore.records import (
    AcknowledgeStatement,
    EntryStatement,
    HeadStatement,
    ObjectStatement,
    Proof,
    SignedStatement,
    Statement,
    VersionStatement,
    identity,
)

_CONTEXT = b"p2pmail merkle 1\x00"


def signed_octets(size: int, root: bytes) -> bytes:
    """Return what a batch's signature covers: context ‖ number of leaves (8 octets, big-endian) ‖ root."""
    return _CONTEXT + size.to_bytes(8, "big") + root


class Signer:
    """A signing key with the certificate that speaks for it, which a renewed one may take the place of."""

    def __init__(self, key: SigningKey, certificate: Certificate) -> None:
        """Raises ValueError where the key is not the certificate's."""
        _check_key(key, certificate)
        self.key = key
        self.certificate = certificate
        self._ours = frozenset({certificate.fingerprint})  # every certificate of this key, what is drafted names one

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate in use."""
        return self.certificate.fingerprint

    def adopt(self, certificate: Certificate) -> None:
        """Speak under `certificate`, a successor for the same key, from now on. Raises ValueError.

        What was drafted under the one before is signed still.
        """
        _check_key(self.key, certificate)
        self._ours |= {certificate.fingerprint}
        self.certificate = certificate

    def fixed(self) -> "Signer":
        """Return a signer that keeps the certificate in use now: for drafts that name it in several places."""
        return Signer(self.key, self.certificate)

    def sign(self, statements: Sequence[Statement]) -> list[SignedStatement]:
        """Return `statements` signed, in their order, with one signature for all.

        Raises ValueError where one names another signer, or there are more than MAX_MERKLE_LEAVES.
        """
        if not statements:
            return []
        if len(statements) > params.MAX_MERKLE_LEAVES:
            raise ValueError(f"a batch of {len(statements)} statements, over {params.MAX_MERKLE_LEAVES}")
        for statement in statements:
            if statement.signer not in self._ours:
                raise ValueError(f"{type(statement).__name__} names another signer than {self.certificate.name}")
        size = len(statements)
        root, paths = merkle.tree([identity(statement) for statement in statements])
        signature = self.key.sign(signed_octets(size, root))
        return [
            SignedStatement(statement, Proof(size, index, path, signature))
            for index, (statement, path) in enumerate(zip(statements, paths, strict=True))
        ]


def _check_key(key: SigningKey, certificate: Certificate) -> None:
    if key.public_bytes != certificate.public_key:
        raise ValueError(f"the key is not the one in the certificate of {certificate.name}")


class StatementVerifier:
    """Judges signed statements; safe to use from several threads.

    Verified roots are remembered, so the statements of one batch cost one Ed25519 check together.
    """

    def __init__(self, trust: Trust, clock: Clock) -> None:
        self._trust = trust
        self._clock = clock
        self._roots: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def verify(self, signed: SignedStatement, *, direct: bool) -> Certificate:
        """Return the signer's certificate if `signed` may be accepted now.

        `direct`: it comes straight from its signer, else through repair or a reader (`Trust.judge` says what that
        means). Raises Malformed (lifetime), Expired, UnknownCertificate, CertificateRefused, ClockSkew, NotAuthorised,
        SignatureRefused.
        """
        return self.identified(signed, direct=direct)[0]

    def identified(self, signed: SignedStatement, *, direct: bool) -> tuple[Certificate, bytes]:
        """As `verify`, with the statement's identity, which had to be computed for it."""
        statement = signed.statement
        now = self._clock()
        check_lifetime(statement, now)
        certificate = self._trust.get(statement.signer)
        if certificate is None:
            raise UnknownCertificate(f"certificate {statement.signer.hex()} is not known here")
        self._trust.judge(certificate, statement.issued, now, direct)
        authorise(statement, certificate)
        leaf = identity(statement)
        self._check_signature(leaf, signed.proof, certificate)
        return certificate, leaf

    def _check_signature(self, leaf: bytes, proof: Proof, certificate: Certificate) -> None:
        root = merkle.root_of(leaf, proof.index, proof.size, proof.path)
        if root is None:
            raise SignatureRefused(f"Merkle path of {len(proof.path)} does not fit leaf {proof.index} of {proof.size}")
        octets = signed_octets(proof.size, root)
        # The signature is part of what is remembered: a good root with another signature would not be forwardable
        remembered = certificate.fingerprint + proof.signature + octets
        with self._lock:
            if remembered in self._roots:
                self._roots.move_to_end(remembered)
                return
        keys.verify(certificate.public_key, proof.signature, octets)
        with self._lock:
            self._roots[remembered] = None
            if len(self._roots) > params.ROOT_CACHE:
                self._roots.popitem(last=False)


def check_lifetime(statement: Statement, now: int) -> None:
    """Return if `statement` lives for an acceptable time and still lives at `now`. Raises Malformed, Expired.

    Acknowledgements may live TOMBSTONE_GRACE longer than what they speak of. A version's time may be VERSION_AHEAD of
    `now` (else ClockSkew).
    """
    longest = params.MAX_LIFETIME
    if isinstance(statement, AcknowledgeStatement):
        longest += params.TOMBSTONE_GRACE
    lifetime = statement.expires - statement.issued
    if not 0 < lifetime <= longest:
        raise Malformed(f"{type(statement).__name__}: lifetime of {lifetime} ms, not within {longest}")
    if statement.expires <= now:
        raise Expired(f"{type(statement).__name__} expired {(now - statement.expires) // params.SECOND} s ago")
    if isinstance(statement, VersionStatement) and statement.time > now + params.VERSION_AHEAD:
        raise ClockSkew(f"version is of a time {(statement.time - now) // params.SECOND} s ahead")


def authorise(statement: Statement, certificate: Certificate) -> None:
    """Return if the role and names of `certificate`, the statement's signer, allow it to sign this.

        object, entry   users and gateways
        acknowledge     the user whose inbox it is
        certificate     the directory, or the certificate's own holder
        domain record   the directory, under its own epoch
        head            the directory

    Raises NotAuthorised.
    """
    match statement:
        case ObjectStatement() | EntryStatement():
            allowed = certificate.role in ("user", "gateway")
        case AcknowledgeStatement():
            allowed = certificate.role == "user" and statement.inbox_key == certificate.inbox_key
        case VersionStatement(kind="domain"):
            allowed = (
                certificate.role == "directory"
                and statement.identifier == names.domain_identifier(certificate.domain)
                and statement.epoch == certificate.epoch
            )
        case VersionStatement():
            allowed = statement.epoch == 0 and (
                certificate.role == "directory" or _is_own_certificate(statement, certificate)
            )
        case HeadStatement():
            allowed = certificate.role == "directory" and statement.domain == certificate.domain
    if not allowed:
        raise NotAuthorised(f"{certificate.role} {certificate.name} may not sign this {type(statement).__name__}")


def _is_own_certificate(statement: VersionStatement, certificate: Certificate) -> bool:
    return (
        certificate.role == "user"
        and statement.identifier == certificate.identifier
        and statement.digest == certificate.fingerprint
        and statement.time == certificate.not_before
    )
