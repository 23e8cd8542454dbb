"""One connection to one host, over which messages go one after the other (RFC 5321 §3.3).

| the connection ends | outcome of each recipient |
|---|---|
| before MAIL was answered, on a connection used before | none: `Stale`, the caller takes a new connection |
| with 421 to MAIL, on a connection used before | the same: the remote has had enough messages over this one |
| before the final dot | as answered so far at RCPT; the others deferred; another host may be tried |
| after the final dot, before its reply | deferred: the remote may have the message and get it twice (RFC 1047) |
"""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from gateway.mail.dsn import Action
from gateway.mail.size_limit import size_limit
from gateway.outbound import params
from gateway.outbound.message import Message, orcpt_value, wire_address, xtext
from gateway.outbound.model import Attempt, Outcome, QueuedRecipient
from gateway.outbound.mx import Target
from gateway.outbound.replies import Reply, parse_reply

_CLOSING = 421  # RFC 5321 §3.8, §4.2.3
FAILURES = (aiosmtplib.SMTPException, OSError)  # OSError includes TimeoutError and TLS errors


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Times in ms (params.py)."""

    connect: int = params.CONNECT_TIMEOUT
    command: int = params.COMMAND_TIMEOUT
    data: int = params.DATA_TIMEOUT
    block: int = params.BLOCK_TIMEOUT
    final: int = params.FINAL_TIMEOUT
    quit: int = params.QUIT_TIMEOUT
    opening: int = params.OPENING


class Stale(Exception):
    """The remote had closed a connection kept for reuse; nothing was sent over it."""


class _Lost(Exception):
    """The connection cannot be used any more; the text says when that was."""


class Session:
    """An open connection after EHLO or HELO."""

    def __init__(self, client: aiosmtplib.SMTP, target: Target, timeouts: Timeouts, cipher: str) -> None:
        self.target = target
        self.cipher = cipher
        self.used = 0
        self.in_doubt = False  # the connection was lost after a final dot: the remote may have that message
        self._client = client
        self._extensions = dict(client.esmtp_extensions)  # the client forgets them when the connection ends
        self._timeouts = timeouts

    @property
    def usable(self) -> bool:
        """Whether another message may be sent over it."""
        return self._client.is_connected and self.used < params.MAX_TRANSACTIONS

    @property
    def is_open(self) -> bool:
        """Whether the connection has lasted until now."""
        return self._client.is_connected

    @property
    def certificate_end(self) -> int | None:
        """When the certificate that the host has shown ends, in ms; None where none was verified."""
        tls = self._client.get_transport_info("ssl_object")
        shown = tls.getpeercert() if tls is not None else None
        return int(ssl.cert_time_to_seconds(shown["notAfter"])) * 1_000 if shown else None

    @property
    def takes_eight_bit(self) -> bool:
        """Whether content may have 8-bit octets (RFC 6152)."""
        return self._offers("8bitmime")

    async def deliver(self, message: Message) -> list[Attempt]:
        """Return how it went for each recipient of `message`, MAX_TRANSACTION_RECIPIENTS at most. Raises Stale."""
        outcomes: dict[int, Attempt] = {}
        acceptable = self._acceptable(message, outcomes)
        may_be_stale = self.used > 0
        try:
            for utf8 in (False, True):  # RFC 6531 §3.4: who does not need SMTPUTF8 goes without
                waiting = [each for each in acceptable if message.needs_utf8(each) == utf8]
                while waiting:
                    waiting = await self._transaction(message, waiting, outcomes, may_be_stale=may_be_stale)
                    may_be_stale = False
        except _Lost as lost:
            self.abort()
            reason = f"{self.target.host}: {lost}"  # ours, the host has not said it (RFC 3464 §2.3.5)
            for each in message.recipients:
                outcomes.setdefault(each.number, Attempt(each.number, "deferred", "4.4.2", reason))
        return [outcomes[each.number] for each in message.recipients]

    async def quit(self) -> None:
        """End the connection politely, within `timeouts.quit`."""
        try:
            await self._client.execute_command(b"QUIT", timeout=self._timeouts.quit / 1_000)
        except FAILURES:
            pass  # the remote had its last word already
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once; what is still buffered is not sent."""
        transport = cast(asyncio.WriteTransport | None, self._client.transport)  # uvloop's are of classes of its own
        if transport is not None:
            transport.abort()
        self._client.close()

    def _acceptable(self, message: Message, outcomes: dict[int, Attempt]) -> list[QueuedRecipient]:
        """Return the recipients whom this host can take the message for; the others get their outcome."""
        waiting = []
        for each in message.recipients:
            refusal = self._unable(message, each)
            if refusal is None:
                waiting.append(each)
            else:
                outcomes[each.number] = Attempt(each.number, "failed", *refusal)
        return waiting

    def _unable(self, message: Message, recipient: QueuedRecipient) -> tuple[str, str] | None:
        """Return why this host cannot take the message for `recipient`, as status and reason; None: it can."""
        host, limit = self.target.host, size_limit(self._extensions.get("size", ""))
        if 0 < limit < message.size:  # RFC 1870 §4
            return "5.3.4", f"message of {message.size} octets, and {host} takes {limit}"
        if message.needs_utf8(recipient) and not self._offers("smtputf8"):  # RFC 6531 §3.5
            return "5.6.7", f"internationalised address or header, and {host} takes ASCII only"
        if message.body == "8BITMIME" and not self.takes_eight_bit:  # RFC 6152 §3
            return "5.6.3", f"8-bit content that cannot be converted, and {host} takes 7-bit only"
        return None

    async def _transaction(
        self, message: Message, batch: Sequence[QueuedRecipient], outcomes: dict[int, Attempt], *, may_be_stale: bool
    ) -> list[QueuedRecipient]:
        """Send the message to `batch`, who all need SMTPUTF8 or all do not; return those to be sent it in another one.

        Raises _Lost, Stale.
        """
        self.used += 1
        try:
            reply = await self._command(self._mail(message, batch), "MAIL")
        except _Lost:
            if not may_be_stale:
                raise
            self.abort()
            raise Stale from None
        if reply.code == _CLOSING and may_be_stale:
            self.abort()
            raise Stale
        if not reply.positive:
            self._decide(batch, reply, outcomes)
            return []
        accepted: list[QueuedRecipient] = []
        later: list[QueuedRecipient] = []
        for each in batch:
            answer = await self._command(self._rcpt(each), "RCPT")
            if answer.positive:
                accepted.append(each)
            elif accepted and answer.too_many_recipients:
                later.append(each)
            else:
                self._decide([each], answer, outcomes)
        if accepted:
            start = await self._command("DATA", "DATA", self._timeouts.data)
            if start.code == 354:
                self._decide(accepted, await self._content(message), outcomes)
                return later
            if start.code < 400:  # RFC 5321 §4.3.2 knows no such reply: nobody can tell what the host waits for
                raise _Lost(f"DATA was answered: {start.text}")
            self._decide(accepted, start, outcomes)
        await self._command("RSET", "RSET")  # RFC 5321 §4.1.4: until then no other MAIL
        return later

    def _mail(self, message: Message, batch: Sequence[QueuedRecipient]) -> str:
        words = [f"MAIL FROM:<{message.reverse_path}>"]
        if self._offers("size"):
            words.append(f"SIZE={message.size}")
        if message.body == "8BITMIME":
            words.append("BODY=8BITMIME")
        if message.needs_utf8(batch[0]):  # and so do the others
            words.append("SMTPUTF8")
        if self._offers("dsn"):
            words += [f"RET={message.ret}"] if message.ret else []
            words += [f"ENVID={xtext(message.envelope_id)}"] if message.envelope_id else []
        return " ".join(words)

    def _rcpt(self, recipient: QueuedRecipient) -> str:
        words = [f"RCPT TO:<{wire_address(recipient)}>"]
        if self._offers("dsn"):
            words += [f"NOTIFY={recipient.notify}"] if recipient.notify else []
            words += [f"ORCPT={orcpt_value(recipient.orcpt)}"] if recipient.orcpt else []
        return " ".join(words)

    async def _content(self, message: Message) -> Reply:
        """Send the content; return the reply that decides. Raises _Lost."""
        protocol = self._client.protocol
        if protocol is None:
            raise _Lost("connection lost at DATA: it is closed")
        # Listening from here on: a host may answer before it has read everything, and then mostly closes
        answer = asyncio.create_task(protocol.read_response(), name="reply to content")
        dotted = False
        try:
            for block in message.blocks():
                await self._write(protocol, bytes(block), answer)
                if answer.done():
                    return self._early(answer.result().code, answer.result().message)
            dotted = True
            protocol.write(b".\r\n")
            async with asyncio.timeout(self._timeouts.final / 1_000):
                response = await answer
            if response.code == _CLOSING:
                self.abort()
            return parse_reply(response.code, response.message)
        except FAILURES as error:
            self.in_doubt = dotted
            when = "after the final dot, so the message may have arrived" if dotted else "while sending content"
            raise _Lost(f"connection lost {when}: {_reason(error)}") from error
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, where writing failed first

    async def _write(
        self, protocol: SMTPProtocol, block: bytes, answer: "asyncio.Task[aiosmtplib.SMTPResponse]"
    ) -> None:
        """Write a block and wait until the buffer takes more, or an answer is there. Raises FAILURES."""
        protocol.write(block)
        drained = asyncio.ensure_future(protocol._drain_helper())
        try:
            done, _ = await asyncio.wait(
                {drained, answer}, timeout=self._timeouts.block / 1_000, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                raise TimeoutError("the host does not read")
            if drained.done():
                drained.result()
        finally:
            drained.cancel()

    def _early(self, code: int, message: str) -> Reply:
        """Return a refusal that came before the content's end; the connection cannot be used again. Raises _Lost."""
        reply = parse_reply(code, message)
        self.abort()
        if reply.code < 400:
            raise _Lost(f"answered before the end of the content: {reply.text}")
        return reply

    async def _command(self, line: str, name: str, timeout: int | None = None) -> Reply:
        try:
            response = await self._client.execute_command(
                line.encode("utf-8", "surrogateescape"), timeout=(timeout or self._timeouts.command) / 1_000
            )
        except FAILURES as error:
            raise _Lost(f"connection lost at {name}: {_reason(error)}") from error
        return parse_reply(response.code, response.message)

    def _decide(self, recipients: Sequence[QueuedRecipient], reply: Reply, outcomes: dict[int, Attempt]) -> None:
        host = self.target.host
        for each in recipients:
            if reply.positive:
                success: Action | None = None if self._offers("dsn") else "relayed"  # RFC 3461 §5.2.2
                outcomes[each.number] = Attempt(each.number, "delivered", reply.status, reply.text, host, success)
            else:
                outcome: Outcome = "failed" if reply.permanent else "deferred"
                outcomes[each.number] = Attempt(each.number, outcome, reply.status, reply.text, host)

    def _offers(self, extension: str) -> bool:
        return extension in self._extensions


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
