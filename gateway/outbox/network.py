"""P2P recipients: entries signed by the sender herself, kept before the first append and then repeated as they are.

| the process dies | what happens |
|---|---|
| before the statements are kept | nothing left this machine; a body's file is removed at the next start |
| after that, whatever was appended | the same statements again: every node and inbox has them once |
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gateway.mail.trace import date_time, return_path
from gateway.outbox import contents, handover
from gateway.outbox.model import KeptInjection, Message, Outcome, Recipient
from gateway.outbox.store import OutboxStore
from p2pcore.client.replicas import Written
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.errors import Failure
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent
from p2pcore.mail.send import Outcome as Injected
from p2pcore.records import Verdicts


class Injector(Protocol):
    """Stores messages: p2pcore.mail.send.Sender, signing as the user."""

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection:
        """Return the finished statements. Raises Failure."""
        ...

    async def inject_each(self, injection: Injection) -> Injected:
        """Say for the body and each entry whether it is durable on w nodes. Raises Failure."""
        ...


class NetworkDelivery:
    """Injects messages for recipients whose certificates were found."""

    def __init__(self, store: OutboxStore, injector: Injector, domain: str, clock: Clock) -> None:
        self._store = store
        self._injector = injector
        self._domain = domain
        self._clock = clock

    async def prepare(self, message: Message, found: Sequence[tuple[Recipient, Certificate]]) -> KeptInjection:
        """Seal and sign `message` for at most MAX_DELETE_RIGHTS recipients; the statements are durable on return.

        Raises Failure, StoreError, OSError.
        """
        files = self._store.files
        sealed, file = await asyncio.to_thread(contents.seal_body, files, message.content)
        try:
            parts = [
                RecipientPart(
                    certificate, message.reverse_path, recipient.forward_path, self._trace(message, recipient)
                )
                for recipient, certificate in found
            ]
            injection = await self._injector.prepare(sealed, parts, Verdicts())  # a user may sign no verdicts
            octets = injection.body if isinstance(injection.body, bytes) else None
            numbers = [recipient.number for recipient, _ in found]
            return await self._store.write(
                handover.keep_injection, message.id, numbers, injection.encode(), octets, file
            )
        except (Failure, OSError):
            if file is not None:
                files.remove([file])
            raise

    async def deliver(self, kept: KeptInjection, entries: Sequence[int]) -> list[Outcome]:
        """Inject those `entries` of what was kept that have no outcome yet; gives theirs in that order.

        Raises Malformed (damage), OSError.
        """
        body: bytes | Path = self._store.files.path / kept.file if kept.file is not None else kept.octets or b""
        whole = Injection.restore(kept.statements, body)
        wanted = Injection(whole.object, tuple(whole.entries[entry] for entry in entries), body)
        try:
            injected = await self._injector.inject_each(wanted)
        except Failure as failure:
            return [Outcome.of(failure) for _ in entries]
        if isinstance(injected.body, Failure):  # without its body an entry is no message yet
            return [Outcome.of(injected.body) for _ in entries]
        return [_outcome(each) for each in injected.entries]

    def _trace(self, message: Message, recipient: Recipient) -> bytes:
        """Return-Path and Received (RFC 5321 §4.4); where the user was when she submitted it is nobody's business."""
        received = (
            f"Received: by {self._domain} with ESMTPA id {message.id}\r\n"
            f"\tfor <{recipient.forward_path}>;\r\n\t{date_time(message.accepted)}\r\n"
        )
        return (return_path(message.reverse_path) + received).encode()


def _outcome(written: Written | Failure) -> Outcome:
    if isinstance(written, Failure):
        return Outcome.of(written)
    # Her agent has yet to fetch it: handed on, and not delivered (RFC 3464 §2.3.3)
    return Outcome("delivered", "2.6.0", f"stored on {len(written.nodes)} of {written.k} nodes", success="relayed")
