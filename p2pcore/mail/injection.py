"""The finished statements of one message: one body, and one sealed and signed entry per recipient (§3.1, steps 3 to 5).

Nothing here waits. A durable queue keeps `Injection.encode` beside the sealed body and repeats exactly these
statements, so that however often it does, every node and every inbox has the message once.
"""

import hashlib
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec import Struct

from p2pcore import names, params
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.sealing import NotificationSealer
from p2pcore.crypto.statements import Signer
from p2pcore.errors import CertificateRefused, Failure, Malformed, TooLarge
from p2pcore.records import (
    EntryStatement,
    InjectionStatements,
    Notification,
    ObjectStatement,
    SignedStatement,
    Statement,
    Verdicts,
    decode,
    encode,
)

Random = Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class SealedContent:
    """A sealed body: `source` is its octets, or a file with them (which may be nameless: /proc/self/fd/n)."""

    session_key: bytes
    digest: bytes
    sealed_size: int
    content_size: int
    source: bytes | Path


class RecipientPart(Struct, frozen=True):
    """One recipient's side of the envelope, and the trace block that her agent prepends."""

    certificate: Certificate
    reverse_path: str
    forward_path: str
    trace: bytes


class Order(Struct, frozen=True):
    """What is to be sealed and signed for one message."""

    sealed: SealedContent
    parts: tuple[RecipientPart, ...]
    verdicts: Verdicts


class Injection(Struct, frozen=True):
    """One message ready for the network; `entries` are in the order of the recipients' parts."""

    object: SignedStatement
    entries: tuple[SignedStatement, ...]
    body: bytes | Path

    @property
    def body_statement(self) -> ObjectStatement:
        statement = self.object.statement
        assert isinstance(statement, ObjectStatement)
        return statement

    def encode(self) -> bytes:
        """Return the statements' encoding; the body is kept beside it."""
        return encode(InjectionStatements(self.object, self.entries))

    @classmethod
    def restore(cls, octets: bytes, body: bytes | Path) -> "Injection":
        """Return the injection that `encode` gave, with its body. Raises Malformed."""
        kept = decode(InjectionStatements, octets)
        right = isinstance(kept.object.statement, ObjectStatement)
        if not right or not all(isinstance(entry.statement, EntryStatement) for entry in kept.entries):
            raise Malformed("injection: statements of another kind")
        return cls(kept.object, kept.entries, body)


def prepare(
    sealed: SealedContent,
    parts: Sequence[RecipientPart],
    verdicts: Verdicts,
    signer: Signer,
    now: int,
    random: Random = secrets.token_bytes,
) -> Injection:
    """Return the finished statements of one message. Raises TooLarge, CertificateRefused, Malformed."""
    (outcome,) = prepare_all([Order(sealed, tuple(parts), verdicts)], signer, NotificationSealer(), now, random)
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def prepare_all(
    orders: Sequence[Order],
    signer: Signer,
    sealer: NotificationSealer,
    now: int,
    random: Random = secrets.token_bytes,
) -> list[Injection | Exception]:
    """Return one injection, or the failure that prevented it, per order; all statements share one signature."""
    signer = signer.fixed()
    drafts: list[list[Statement] | Failure] = []
    for order in orders:
        try:
            drafts.append(_draft(order, signer, sealer, now, random))
        except Failure as failure:
            drafts.append(failure)
    statements = [statement for each in drafts if not isinstance(each, Failure) for statement in each]
    signed = iter(signer.sign(statements))
    outcomes: list[Injection | Exception] = []
    for order, each in zip(orders, drafts, strict=True):
        if isinstance(each, Failure):
            outcomes.append(each)
        else:
            body, *entries = [next(signed) for _ in each]
            outcomes.append(Injection(body, tuple(entries), order.sealed.source))
    return outcomes


def _draft(order: Order, signer: Signer, sealer: NotificationSealer, now: int, random: Random) -> list[Statement]:
    """Return the unsigned statements, the body's first; an inbox that `sealer` does not know yet takes some 0.1 ms."""
    sealed, parts = order.sealed, order.parts
    if not 1 <= len(parts) <= params.MAX_DELETE_RIGHTS:
        raise TooLarge(f"{len(parts)} recipients of one body, not within {params.MAX_DELETE_RIGHTS}")
    if sealed.sealed_size > params.MAX_BODY:
        raise TooLarge(f"sealed body of {sealed.sealed_size} octets, over {params.MAX_BODY}")
    identifier = f"<{random(16).hex()}@{signer.certificate.domain}>"  # never the sender's Message-ID
    secrets_ = [random(32) for _ in parts]
    expires = now + params.OBJECT_LIFETIME
    body = ObjectStatement(
        object_key=names.key_of(identifier),
        digest=sealed.digest,
        size=sealed.sealed_size,
        issued=now,
        expires=expires,
        delete_rights=tuple(hashlib.sha256(secret).digest() for secret in secrets_),
        signer=signer.fingerprint,
    )
    statements: list[Statement] = [body]
    for part, secret in zip(parts, secrets_, strict=True):
        certificate = part.certificate
        if certificate.hpke_key is None:
            raise CertificateRefused(f"certificate of {certificate.primary_address} has no HPKE key")
        notification = Notification(
            inbox_key=certificate.inbox_key,
            signer=signer.fingerprint,
            reverse_path=part.reverse_path,
            forward_path=part.forward_path,
            trace=part.trace,
            body_identifier=identifier,
            session_key=sealed.session_key,
            digest=sealed.digest,
            sealed_size=sealed.sealed_size,
            content_size=sealed.content_size,
            received=now,
            verdicts=order.verdicts,
            delete_secret=secret,
        )
        entry = sealer.seal(notification, certificate.hpke_key)
        statements.append(EntryStatement(certificate.inbox_key, entry, now, expires, signer.fingerprint))
    return statements
