"""From a complete content to its outcome: verification, trace, sealing to each recipient, and storing on the network.

`accept` returns only what the network has confirmed; every other way out of it is an exception, and none of them is
answered with a success.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gateway.mail.envelope import Envelope
from gateway.mail.outgoing import NewRecipient
from gateway.mail.trace import Hop, original_recipient, protocol_name, trace_block
from gateway.smtp import params, replies
from gateway.smtp.content import ContentSink
from gateway.smtp.examined import Examined
from gateway.smtp.limits import Client
from gateway.smtp.replies import Refusal
from gateway.smtp.verify import Verification, Verifier
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.mail.injection import Injection, RecipientPart, SealedContent
from p2pcore.mail.send import Stored
from p2pcore.records import Verdicts


class RelayedReports(Protocol):
    """Tells senders that their mail is stored: gateway.smtp.relayed."""

    async def tell(self, arrival: "Arrival", header: bytes, stored: Stored) -> None:
        """Return once the report that was asked for, if any, is durably queued. Raises nothing."""
        ...


class Injector(Protocol):
    """Stores messages: p2pcore.mail.send.Sender."""

    async def prepare(self, sealed: SealedContent, parts: Sequence[RecipientPart], verdicts: Verdicts) -> Injection: ...

    async def inject(self, injection: Injection) -> Stored:
        """Return when body and every entry are durable on w nodes. Raises Failure."""
        ...


class Arrival(Struct, frozen=True):
    """What is known of a message besides its content.

    `recipients`: certificate and forward-path of each user; `requests`: by forward-path, what DSN parameters asked for.
    """

    identifier: str
    client: Client
    helo: str
    extended: bool
    cipher: tuple[str, str] | None
    envelope: Envelope
    recipients: tuple[tuple[Certificate, str], ...]
    requests: Mapping[str, NewRecipient]
    envelope_id: str


class Acceptor:
    """Decides about contents and has them stored. `hostname` is our name in trace and verdicts.

    `reports` tells senders who asked for it; None: nobody is told.
    """

    def __init__(
        self,
        hostname: str,
        verifier: Verifier,
        injector: Injector,
        clock: Clock,
        deadline: int,
        reports: RelayedReports | None = None,
    ) -> None:
        self._hostname = hostname
        self._verifier = verifier
        self._injector = injector
        self._clock = clock
        self._deadline = deadline / 1_000
        self._reports = reports

    def verifies(self, client: Client) -> bool:
        """Return whether `accept` will look at signatures of what `client` sends."""
        return self._verifier.applies_to(client)

    async def accept(self, arrival: Arrival, examined: Examined, content: ContentSink) -> Stored:
        """Return when the message is durable on w nodes for every recipient; `examined` was shown `content`.

        Raises Refusal, Failure, TimeoutError (the deadline), OSError (temporary directory).
        """
        async with asyncio.timeout(self._deadline):
            sealed = await content.finish()
            if examined.header.is_cut:
                raise Refusal(replies.HEADER_TOO_LONG)
            if examined.header.begins_folded:
                raise Refusal(replies.HEADER_FOLDED)
            if examined.header.received_fields() > params.MAX_RECEIVED_FIELDS:
                raise Refusal(replies.MAIL_LOOP)
            verification = await self._verify(arrival, examined)
            if verification.disposition == "reject":
                raise Refusal(replies.DMARC_REJECT, verification.dmarc)
            if verification.disposition == "defer":
                raise Refusal(replies.DMARC_UNDECIDED, verification.dmarc)
            parts = self._parts(arrival, self._trace(arrival, verification))
            injection = await self._injector.prepare(sealed, parts, self._verdicts(arrival, verification))
            stored = await self._injector.inject(injection)
        if self._reports is not None and self._may_be_told(arrival.client, verification):
            await self._reports.tell(arrival, examined.header.octets, stored)
        return stored

    def _parts(self, arrival: Arrival, trace: bytes) -> list[RecipientPart]:
        reverse_path = arrival.envelope.reverse_path
        parts = []
        for certificate, forward_path in arrival.recipients:
            original = arrival.requests[forward_path].orcpt
            above = original_recipient(original, forward_path).encode()
            parts.append(RecipientPart(certificate, reverse_path, forward_path, trace + above))
        return parts

    def _may_be_told(self, client: Client, verification: Verification) -> bool:
        """Return whether a report to the reverse-path goes to who sent the message, and to nobody else."""
        if self._verifier.applies_to(client):
            return verification.spf.startswith("pass ")
        return client.is_trusted or client.is_loopback

    async def _verify(self, arrival: Arrival, examined: Examined) -> Verification:
        if not self._verifier.applies_to(arrival.client):
            return Verification()
        reverse_path = arrival.envelope.reverse_path
        hashes = examined.finish()
        return await self._verifier.verify(arrival.client, arrival.helo, reverse_path, examined.header.octets, hashes)

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
