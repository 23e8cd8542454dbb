"""From a complete content to its outcome: verification, trace, sealing to each recipient, and storing on the network.

`accept` returns only what the network has confirmed; every other way out of it is an exception, and none of them is
answered with a success.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.mail.envelope import Envelope
from gateway.mail.trace import Hop, protocol_name, trace_block
from gateway.smtp import params, replies
from gateway.smtp.content import ContentSink
from gateway.smtp.data import HeaderScanner
from gateway.smtp.limits import Client
from gateway.smtp.replies import Refusal
from gateway.smtp.signatures import is_signed
from gateway.smtp.verify import Verification, Verifier
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent
from p2pcore.mail.send import Stored
from p2pcore.records import Verdicts


class Injector(Protocol):
    """Stores messages: p2pcore.mail.send.Sender."""

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection: ...

    async def inject(self, injection: Injection) -> Stored:
        """Return when body and every entry are durable on w nodes. Raises Failure."""
        ...


@dataclass(frozen=True, slots=True)
class Arrival:
    """What is known of a message besides its content; `recipients`: certificate and forward-path of each user."""

    identifier: str
    client: Client
    helo: str
    extended: bool
    cipher: tuple[str, str] | None
    envelope: Envelope
    recipients: tuple[tuple[Certificate, str], ...]


class Acceptor:
    """Decides about contents and has them stored. `hostname` is our name in trace and verdicts."""

    def __init__(self, hostname: str, verifier: Verifier, injector: Injector, clock: Clock, deadline: int) -> None:
        self._hostname = hostname
        self._verifier = verifier
        self._injector = injector
        self._clock = clock
        self._deadline = deadline / 1_000

    def needs_clear(self, client: Client) -> bool:
        """Return whether `accept` will want the content in clear."""
        return self._verifier.applies_to(client)

    async def accept(self, arrival: Arrival, header: HeaderScanner, content: ContentSink) -> Stored:
        """Return when the message is durable on w nodes for every recipient.

        Raises Refusal, Failure, TimeoutError (the deadline), OSError (temporary directory).
        """
        if header.received_fields() > params.MAX_RECEIVED_FIELDS:
            raise Refusal(replies.MAIL_LOOP)
        async with asyncio.timeout(self._deadline):
            sealed = await content.finish()
            verification = await self._verify(arrival, header, content)
            content.forget_clear()
            if verification.disposition == "reject":
                raise Refusal(replies.DMARC_REJECT, verification.dmarc)
            trace = self._trace(arrival, verification)
            reverse_path = arrival.envelope.reverse_path
            parts = [
                RecipientPart(certificate, reverse_path, forward_path, trace)
                for certificate, forward_path in arrival.recipients
            ]
            injection = await self._injector.prepare(sealed, parts, self._verdicts(arrival, verification))
            return await self._injector.inject(injection)

    async def _verify(self, arrival: Arrival, header: HeaderScanner, content: ContentSink) -> Verification:
        if not self._verifier.applies_to(arrival.client):
            return Verification()
        octets = header.octets
        clear = content.clear() if is_signed(octets) else b""  # joining a large one for nothing would be felt
        return await self._verifier.verify(arrival.client, arrival.helo, arrival.envelope.reverse_path, octets, clear)

    def _trace(self, arrival: Arrival, verification: Verification) -> bytes:
        version, suite = arrival.cipher or ("", "")
        hop = Hop(
            helo=arrival.helo,
            client_name=verification.client_name,
            client_address=arrival.client.address,
            host=self._hostname,
            protocol=protocol_name(
                extended=arrival.extended,
                tls=arrival.cipher is not None,
                authenticated=False,
                smtputf8=arrival.envelope.smtputf8,
            ),
            identifier=arrival.identifier,
            time=self._clock(),
            forward_path=arrival.envelope.single_forward_path,
            cipher=suite if version == "TLSv1.3" else "",  # older suites have another name at OpenSSL than at IANA
        )
        return trace_block(arrival.envelope.reverse_path, hop, verification.results)

    def _verdicts(self, arrival: Arrival, verification: Verification) -> Verdicts:
        return Verdicts(
            client_address=arrival.client.address,
            client_name=verification.client_name,
            helo=arrival.helo,
            tls=" ".join(arrival.cipher or ()),
            spf=verification.spf,
            dkim=verification.dkim,
            dmarc=verification.dmarc,
            gateway=self._hostname,
            disposition="quarantine" if verification.disposition == "quarantine" else "deliver",
        )
