"""What each operation of a batch means: first checked (many: on a thread), then applied in its one transaction."""

import hashlib
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final

import apsw
import msgspec

from p2pcore import params
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import BodyNotHeld, Failure, Malformed, NotAuthorised, NotFound, Tampered, TooLarge
from p2pcore.node import certificates, inboxes, objects, offers, proofs, versioned
from p2pcore.node.admission import Admission
from p2pcore.node.admitted import Admitted
from p2pcore.node.bodies import INLINE, BodyFiles
from p2pcore.node.schema import unused
from p2pcore.node.settings import NodeSettings
from p2pcore.node.storage import Storage, Transaction
from p2pcore.node.uses import Uses
from p2pcore.records import (
    Acknowledge,
    AcknowledgeStatement,
    Append,
    AppendAfter,
    AskCertificate,
    AskInbox,
    AskSettled,
    Delete,
    Deletion,
    EntryStatement,
    Fetch,
    FetchedBody,
    Greet,
    HeadStatement,
    InboxStatus,
    ObjectStatement,
    Offer,
    Operation,
    Publish,
    Resolve,
    Result,
    SignedStatement,
    Store,
    VersionStatement,
    decode,
    encode,
    identity,
)

_COMPARED: Final = 10_000  # items that a batch may ask for, as many as one question: everybody's readers look them up


@dataclass(slots=True)
class Effects:
    """What a transaction leaves to be done on the event loop once it is durable."""

    inboxes: set[bytes] = field(default_factory=set)  # with new entries
    objects: set[bytes] = field(default_factory=set)  # that are held (or deleted) after a Store here
    files: list[str] = field(default_factory=list)  # that no row names
    heads: bool = False  # a newer one was taken
    greeted: set[bytes] = field(default_factory=set)  # IDs of nodes that have just been started


class Writing(msgspec.Struct, frozen=True):
    """A checked operation that changes the database; `size`: octets that it takes, as far as that matters."""

    apply: Callable[[Transaction, Effects], None]
    size: int = 0


class Reading(msgspec.Struct, frozen=True):
    """A checked operation that does not; `apply` is told how many octets its value may have, if it can be long."""

    apply: Callable[[apsw.Connection, int], bytes]


@dataclass(frozen=True, slots=True)
class LargeBody:
    """A checked Store whose body has to be in a file first; then `Operations.store` makes the step."""

    admitted: Admitted[ObjectStatement]
    octets: bytes


Step = Writing | Reading | LargeBody | Failure


class Operations:
    """Turns operations into steps."""

    def __init__(
        self,
        settings: NodeSettings,
        admission: Admission,
        storage: Storage,
        bodies: BodyFiles,
        reads: Mapping[bytes, int],
        uses: Uses,
    ) -> None:
        """`reads`: when owners read that is not in the database yet."""
        self._settings = settings
        self._admission = admission
        self._storage = storage
        self._bodies = bodies
        self._reads = reads
        self._uses = uses

    def check_all(self, operations: Sequence[Operation], carrier: Certificate) -> list[Step]:
        """Return for each operation what is to be done, or the failure to answer it with. May read the database."""
        known = self._known([operation.deletion for operation in operations if isinstance(operation, Delete)])
        refused = _refused_questions(operations)
        return [
            refused if refused and isinstance(operation, Offer | AskSettled) else self._check(operation, carrier, known)
            for operation in operations
        ]

    def _check(self, operation: Operation, carrier: Certificate, known: Set[bytes]) -> Step:
        try:
            match operation:
                case Store():
                    return self._store(operation, carrier)
                case AppendAfter():
                    return self._append_after(operation, carrier)
                case Append():
                    return self.append(operation.entry, carrier)
                case Delete():
                    return self._delete(operation.deletion, known)
                case Acknowledge():
                    return self._acknowledge(operation.acknowledgement, carrier)
                case Publish():
                    return self._publish(operation, carrier)
                case Greet():
                    return _greet(carrier)
                case _:
                    return Reading(self._reading(operation, carrier))
        except Failure as failure:
            return failure

    def admit_object(self, signed: SignedStatement, carrier: Certificate) -> Admitted[ObjectStatement]:
        """Return the statement of a body that `carrier` wants stored. Raises as Admission.statement."""
        return self._admission.statement(ObjectStatement, signed, carrier)

    def store(self, admitted: Admitted[ObjectStatement], *, octets: bytes = b"", file: str = "") -> Writing:
        """Return the step for an object whose body is `octets` or in `file`; a file not taken is left to be removed."""

        def apply(transaction: Transaction, effects: Effects) -> None:
            taken = False
            try:
                taken = objects.store(transaction, self._settings, admitted, octets=octets, file=file)
            finally:
                if file and not taken:
                    effects.files.append(file)
            effects.objects.add(admitted.identity)

        return Writing(apply, admitted.statement.size)

    def append(self, signed: SignedStatement, carrier: Certificate) -> Writing:
        """Return the step of an append-inbox. Raises as Admission.statement."""
        admitted = self._admission.statement(EntryStatement, signed, carrier)

        def apply(transaction: Transaction, effects: Effects) -> None:
            if inboxes.append(transaction, self._settings, admitted):
                effects.inboxes.add(admitted.statement.inbox_key)

        return Writing(apply, len(admitted.octets))

    def _append_after(self, operation: AppendAfter, carrier: Certificate) -> Writing:
        append = self.append(operation.entry, carrier)

        def apply(transaction: Transaction, effects: Effects) -> None:
            if operation.object not in effects.objects and objects.is_wanted(transaction.db, operation.object):
                raise BodyNotHeld(f"object {operation.object.hex()}, which the entry goes with, is not held here")
            append.apply(transaction, effects)

        return Writing(apply, append.size)

    def delete(self, deletion: Deletion) -> Writing:
        """Return the step of a delete: whoever reveals a secret may. Raises as Admission.verified."""
        return self._delete(deletion, self._known([deletion]))

    def _known(self, deletions: Sequence[Deletion]) -> frozenset[bytes]:
        """Return the identities of those objects of `deletions` that have a row here. May read the database.

        Their statements were verified when their rows were made; only one that is unknown here costs a verification.
        """
        if not deletions:
            return frozenset()
        asked = [identity(deletion.object.statement) for deletion in deletions]
        return self._storage.read_now(lambda db: objects.known(db, asked))

    def _delete(self, deletion: Deletion, known: Set[bytes]) -> Writing:
        object_identity = identity(deletion.object.statement)
        admitted = None
        if object_identity not in known:
            admitted = self._admission.verified(ObjectStatement, deletion.object, direct=False)

        def apply(transaction: Transaction, effects: Effects) -> None:
            effects.files.extend(objects.delete(transaction, self._settings, deletion, object_identity, admitted))

        return Writing(apply)

    def _store(self, operation: Store, carrier: Certificate) -> Writing | LargeBody:
        admitted = self.admit_object(operation.object, carrier)
        statement = admitted.statement
        body = operation.body
        if len(body) > params.INLINE_BODY:
            raise TooLarge(f"body of {len(body)} octets in a batch, over {params.INLINE_BODY}")
        if len(body) != statement.size or hashlib.sha256(body).digest() != statement.digest:
            raise Tampered(f"body of object {statement.object_key.hex()} does not match its digest")
        return LargeBody(admitted, body) if len(body) > INLINE else self.store(admitted, octets=body)

    def _acknowledge(self, signed: SignedStatement, carrier: Certificate) -> Writing:
        admitted = self._admission.statement(AcknowledgeStatement, signed, carrier)

        def apply(transaction: Transaction, effects: Effects) -> None:
            # Wakes nobody: its signer knows, and another can wait
            inboxes.acknowledge(transaction, self._settings, admitted)

        return Writing(apply)

    def _publish(self, operation: Publish, carrier: Certificate) -> Writing:
        published = operation.published
        signed = published.version
        direct = carrier.fingerprint == signed.statement.signer
        if isinstance(signed.statement, HeadStatement):
            head = self._admission.verified(HeadStatement, signed, direct=direct)
            versioned.check_head(published)

            def take(transaction: Transaction, effects: Effects) -> None:
                effects.heads |= versioned.take_head(transaction, head)

            return Writing(take)
        # Anybody admitted may pass a version on: its content proves itself and no older one replaces it
        admitted = self._admission.verified(VersionStatement, signed, direct=direct)
        versioned.check_content(admitted.statement, published.content, self._admission.trust)

        def apply(transaction: Transaction, effects: Effects) -> None:
            versioned.publish(transaction, self._settings, admitted, published.content)

        return Writing(apply, len(admitted.octets) + len(published.content))

    def _reading(self, operation: Operation, carrier: Certificate) -> Callable[[apsw.Connection, int], bytes]:
        match operation:
            case Fetch(object_key, digest):
                return lambda db, most: self._fetch(db, object_key, digest, most)
            case Resolve(kind, identifier):
                return lambda db, _: encode(versioned.resolve(db, kind, identifier))
            case AskInbox(inbox_key):
                return lambda db, _: encode(self._inbox_status(db, inbox_key))
            case AskCertificate(fingerprint):
                return lambda db, _: certificates.ask(db, fingerprint)
            case Offer() | AskSettled() if carrier.role != "node":
                raise NotAuthorised(f"{carrier.role} asks what only nodes that repair may ask")
            case Offer(kind, identities):
                return lambda db, _: encode(offers.compare(db, kind, identities))
            case AskSettled():
                return lambda db, _: encode(proofs.answer(db, operation))
        raise Malformed(f"{type(operation).__name__} is not an operation that reads")

    def _inbox_status(self, db: apsw.Connection, inbox_key: bytes) -> InboxStatus:
        room = self._storage.octets + params.MAX_NOTIFICATION <= self._settings.quota
        room = room and self._storage.free() + unused(db) >= self._settings.limits.disk_reserve
        status = inboxes.status(db, inbox_key, self._settings.limits, room=room)
        return msgspec.structs.replace(status, last_read=max(status.last_read, self._reads.get(inbox_key, 0)))

    def _fetch(self, db: apsw.Connection, object_key: bytes, digest: bytes, most: int) -> bytes:
        found = objects.find(db, object_key, digest)
        if found.size > params.INLINE_BODY:
            raise TooLarge(f"object of {found.size} octets: GET it by itself")
        if found.size > most:  # nothing is read for nothing: perhaps all who write wait for this
            raise TooLarge(f"object of {found.size} octets, where {most} are left for this batch's answers")
        self._uses.note(found.number)
        try:
            octets = self._bodies.path(found.file).read_bytes() if found.file else found.octets
        except FileNotFoundError:
            raise NotFound(f"object {object_key.hex()} was deleted just now") from None
        return encode(FetchedBody(decode(SignedStatement, found.signed), octets))


def _refused_questions(operations: Sequence[Operation]) -> Failure | None:
    """Return why the questions of repair in a batch are not answered, None if they are (or there are none).

    In a transaction all who write would wait for them; on a reading connection, for so many, others who read.
    """
    questions = [operation for operation in operations if isinstance(operation, Offer | AskSettled)]
    if 0 < len(questions) < len(operations):
        return Malformed("offers and questions about what is settled come in a batch of their own")
    items = sum(len(question.identities) for question in questions)
    return TooLarge(f"a batch asks for {items} items, over {_COMPARED}") if items > _COMPARED else None


def _greet(carrier: Certificate) -> Writing:
    if carrier.role != "node":
        raise NotAuthorised(f"{carrier.role} greets, which only nodes may")
    return Writing(lambda _, effects: effects.greeted.add(carrier.node_id))


def outcome(failure: Failure) -> Result:
    """Return the result that says `failure`."""
    return Result(failure.http_status, f"{type(failure).__name__}: {failure}"[:1_000])
