"""What a recipient does when messages are durably hers: acknowledge their entries, delete their bodies (§3.3)."""

from collections import OrderedDict
from collections.abc import Sequence

from p2pcore import params
from p2pcore.client.replicas import Addressed, Everywhere, Replicas
from p2pcore.clock import Clock
from p2pcore.crypto.statements import Signer
from p2pcore.errors import Expired
from p2pcore.records import (
    Acknowledge,
    AcknowledgeStatement,
    CleanupTask,
    Delete,
    Deletion,
    ObjectStatement,
    SignedStatement,
)

_REMEMBERED = 32  # acknowledgements, of at most 34 kB


class Finisher:
    """Acknowledgements and deletions to all holders, in one request per node; idempotent."""

    def __init__(self, replicas: Replicas, signer: Signer, instance: bytes, clock: Clock) -> None:
        """`signer` is the inbox's owner, `instance` her agent's 16 octets."""
        self._replicas = replicas
        self._signer = signer
        self._instance = instance
        self._clock = clock
        self._made: OrderedDict[tuple[bytes, ...], SignedStatement] = OrderedDict()  # by entries

    async def finish(self, tasks: Sequence[CleanupTask]) -> list[bool]:
        """Return for each of at most MAX_ACKNOWLEDGED tasks whether every holder that could be found has confirmed.

        The caller repeats those that are not done. Raises CannotKnow where k and w are not known.
        """
        inbox_key = self._signer.certificate.inbox_key
        acknowledgement = self._acknowledgement(inbox_key, tasks)
        items = [Addressed(inbox_key, Acknowledge(acknowledgement), min(task.received for task in tasks))]
        deletion_of: dict[int, int] = {}
        for index, task in enumerate(tasks):
            if task.object is not None:
                deletion_of[index] = len(items)
                items.append(_deletion(task, task.object))
        acknowledged, *_ = outcomes = await self._replicas.everywhere_many(items)
        return [
            _is_over(acknowledged) and (index not in deletion_of or _is_over(outcomes[deletion_of[index]]))
            for index in range(len(tasks))
        ]

    def _acknowledgement(self, inbox_key: bytes, tasks: Sequence[CleanupTask]) -> SignedStatement:
        """Return one statement for all `tasks`; it outlives their entries by TOMBSTONE_GRACE.

        Tasks that are repeated get the statement that they had: another one would be kept beside it on every node.
        """
        now = self._clock()
        entries = tuple(task.entry for task in tasks)
        made = self._made.get(entries)
        if made is not None and made.statement.expires > now:
            self._made.move_to_end(entries)
            return made
        statement = AcknowledgeStatement(
            inbox_key=inbox_key,
            entries=entries,
            instance=self._instance,
            issued=now,
            expires=max(now, *(task.entry_expires for task in tasks)) + params.TOMBSTONE_GRACE,
            signer=self._signer.fingerprint,
        )
        self._made[entries] = made = self._signer.sign([statement])[0]
        if len(self._made) > _REMEMBERED:
            self._made.popitem(last=False)
        return made


def _is_over(outcome: Everywhere) -> bool:
    """Return whether nobody is left to tell: what a node holds no more because it has expired needs no deletion."""
    return outcome.done or (bool(outcome.failed) and all(isinstance(failure, Expired) for _, failure in outcome.failed))


def _deletion(task: CleanupTask, signed: SignedStatement) -> Addressed:
    statement = signed.statement
    assert isinstance(statement, ObjectStatement)
    return Addressed(statement.object_key, Delete(Deletion(signed, task.secret)), statement.issued)
