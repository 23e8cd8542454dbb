"""What became of items that a node still holds: the proofs of their end, given and asked for (docs/formats.md §8).

A node that was down while mail was read comes back with all of it. Its offers are answered with what is settled
(OfferReply), and it asks for the proofs: acknowledgements, which carry their owner's signature, and the secrets of
delete rights, which must fit the digests in the object statements that it holds itself. They are carried out as if they
had been sent to it, so a peer's word alone ends nothing.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from p2pcore.client.primitives import PeerClient
from p2pcore.client.results import failure_of
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.node import proofs
from p2pcore.node.proofs import Kind
from p2pcore.node.service import Service
from p2pcore.records import (
    Acknowledge,
    AskSettled,
    Batch,
    Delete,
    Deletion,
    EntryStatement,
    ObjectStatement,
    Operation,
    Settled,
    SignedStatement,
    decode,
)

Held = Mapping[bytes, SignedStatement]  # by identity

_PORTION: Final = 100  # items asked for at a time
_CARRIED_OUT: Final = 500  # statements in one transaction

_log = logging.getLogger(__name__)


class Settlement:
    """Ends what is held here and over elsewhere. `carrier` is this node's own certificate."""

    def __init__(self, service: Service, peers: PeerClient, carrier: Certificate) -> None:
        self._service = service
        self._peers = peers
        self._carrier = carrier

    async def learn(self, contact: Contact, kind: Kind, identities: Sequence[bytes]) -> int:
        """Ask `contact` what settled these and carry it out; return how many are no longer held, durably.

        What it cannot prove stays. Raises the Failure of a peer that does not answer sensibly.
        """
        ended = 0
        for start in range(0, len(identities), _PORTION):
            held = await self._held(kind, identities[start : start + _PORTION])
            while held:
                await self._ask(contact, kind, held)
                left = await self._held(kind, list(held))
                ended += len(held) - len(left)
                if len(left) == len(held):
                    break
                held = left
        return ended

    async def _held(self, kind: Kind, identities: Sequence[bytes]) -> Held:
        return await self._service.storage.read(lambda db: proofs.still_held(db, kind, identities))

    async def _ask(self, contact: Contact, kind: Kind, held: Held) -> None:
        for result in await self._peers.call(contact, _questions(kind, held)):
            failure = failure_of(result)
            if failure is not None:
                _log.info("%s does not say what settled an item: %s", contact.endpoint, failure)
                continue
            settled = decode(Settled, result.value)
            operations = _operations(settled, held)
            for start in range(0, len(operations), _CARRIED_OUT):
                batch = Batch(settled.certificates, operations[start : start + _CARRIED_OUT])
                for outcome in await self._service.carry_out(batch, self._carrier, created=0):
                    if outcome.status != 200:
                        _log.info("proof from %s is refused: %s", contact.endpoint, outcome.reason)


def _questions(kind: Kind, held: Held) -> list[AskSettled]:
    """Return one question for objects, one per inbox for entries."""
    by_inbox: dict[bytes, list[bytes]] = {}
    for identity, signed in held.items():
        statement = signed.statement
        inbox_key = statement.inbox_key if isinstance(statement, EntryStatement) else b""
        by_inbox.setdefault(inbox_key, []).append(identity)
    return [AskSettled(kind, inbox_key, tuple(identities)) for inbox_key, identities in by_inbox.items()]


def _operations(settled: Settled, held: Held) -> tuple[Operation, ...]:
    """Return what `settled` comes to; a secret that opens no right of an object in `held` is left out."""
    by_right: dict[bytes, SignedStatement] = {}
    for signed in held.values():
        if isinstance(signed.statement, ObjectStatement):
            by_right.update(dict.fromkeys(signed.statement.delete_rights, signed))
    deletions = [
        Delete(Deletion(by_right[right], secret))
        for secret in settled.secrets
        if (right := hashlib.sha256(secret).digest()) in by_right
    ]
    return *map(Acknowledge, settled.acknowledgements), *deletions
