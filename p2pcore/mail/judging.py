"""Whether statements that a node gave for an inbox hold: signature, role, and the right inbox (docs/formats.md §4)."""

import asyncio
from collections.abc import Callable, Sequence

from p2pcore.client.replicas import Replicas
from p2pcore.client.versions import ask_certificate
from p2pcore.crypto.certificates import Certificate
from p2pcore.dht.contact import Contact
from p2pcore.errors import CertificateRefused, Failure, Tampered, UnknownCertificate
from p2pcore.records import AcknowledgeStatement, EntryStatement, SignedStatement

Outcome = Certificate | Failure  # the signer's certificate, or why the statement is not accepted
_IN_THREAD = 8  # statements: verifying more at once would be felt on the event loop


class InboxJudge:
    """Judges what nodes say of the inbox of `inbox_key`; asks them for certificates that are unknown here."""

    def __init__(self, replicas: Replicas, inbox_key: bytes) -> None:
        self._replicas = replicas
        self._inbox_key = inbox_key

    async def entries(self, statements: Sequence[SignedStatement]) -> list[Outcome]:
        """Return an outcome per statement, in order: entries of this inbox by who may sign them. Nobody is asked."""
        return await self._outcomes(statements, self._entry)

    async def entry(self, contact: Contact, signed: SignedStatement) -> Outcome:
        """Return the outcome of one whose signer's certificate is unknown: `contact` is asked for it."""
        return await self._with_certificate(contact, signed, self._entry)

    async def acknowledgements(self, contact: Contact, statements: Sequence[SignedStatement]) -> list[Outcome]:
        """Return an outcome per statement, in order: acknowledgements of this inbox by its owner."""
        outcomes = await self._outcomes(statements, self._acknowledgement)
        for index, signed in enumerate(statements):
            if isinstance(outcomes[index], UnknownCertificate):
                outcomes[index] = await self._with_certificate(contact, signed, self._acknowledgement)
        return outcomes

    async def _outcomes(
        self, statements: Sequence[SignedStatement], judge: Callable[[SignedStatement], Outcome]
    ) -> list[Outcome]:
        if len(statements) > _IN_THREAD:
            return await asyncio.to_thread(lambda: [judge(signed) for signed in statements])
        return [judge(signed) for signed in statements]

    async def _with_certificate(
        self, contact: Contact, signed: SignedStatement, judge: Callable[[SignedStatement], Outcome]
    ) -> Outcome:
        """Judge again once the node that gave the statement has given its signer's certificate."""
        again = judge(signed)  # one unknown signer may have signed the whole page
        if not isinstance(again, UnknownCertificate):
            return again
        try:
            await ask_certificate(
                self._replicas.batcher, contact, self._replicas.checker.trust, signed.statement.signer
            )
        except Failure as failure:
            return failure
        return judge(signed)

    def _entry(self, signed: SignedStatement) -> Outcome:
        statement = signed.statement
        if not isinstance(statement, EntryStatement) or statement.inbox_key != self._inbox_key:
            return Tampered("not an entry of this inbox")
        return self._verified(signed)

    def _acknowledgement(self, signed: SignedStatement) -> Outcome:
        statement = signed.statement
        if not isinstance(statement, AcknowledgeStatement) or statement.inbox_key != self._inbox_key:
            return Tampered("not an acknowledgement of this inbox")
        outcome = self._verified(signed)
        if isinstance(outcome, Certificate) and self._replicas.checker.trust.is_compromised(outcome):
            return CertificateRefused(f"certificate of {outcome.name} is compromised")
        return outcome

    def _verified(self, signed: SignedStatement) -> Outcome:
        try:
            return self._replicas.checker.verify(signed)
        except Failure as failure:
            return failure
