"""A session with a gateway's relay port: TLS both ways under the domain's certificates, then SASL EXTERNAL.

The gateway must show exactly the certificate that the domain record lists for it, before anything is said.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import aiosmtplib
from aiosmtplib.protocol import SMTPProtocol

from gateway.mail.size_limit import size_limit
from gateway.outbound.message import orcpt_value, xtext
from gateway.outbound.replies import Reply, parse_reply
from gateway.outbox.model import Message, Recipient
from gateway.outbox.params import RELAY_DOT_TIMEOUT, OutboxLimits
from p2pcore import params
from p2pcore.crypto.tls import user_client_context
from p2pcore.errors import Unreachable
from p2pcore.records import GatewayInfo, Identity

_ENDS = (aiosmtplib.SMTPException, OSError, TimeoutError)


class Unanswered(Unreachable):
    """The final dot was sent and no reply came: the gateway may have the message (RFC 1047)."""


class RelaySession:
    """An authenticated session; one transaction after the other."""

    def __init__(self, client: aiosmtplib.SMTP, gateway: GatewayInfo, limits: OutboxLimits) -> None:
        """Use `Dialler.session`."""
        self.gateway = gateway
        self._client = client
        self._extensions = dict(client.esmtp_extensions)  # the client forgets them when the connection ends
        self._limits = limits

    @property
    def max_size(self) -> int:
        """The largest content it takes in octets, 0 for no limit (RFC 1870 §3)."""
        return size_limit(self._extensions.get("size", ""))

    def offers(self, extension: str) -> bool:
        """Return whether EHLO named `extension`."""
        return extension in self._extensions

    async def mail(self, message: Message, envelope_id: str) -> Reply:
        """Begin a transaction under `envelope_id`, the submission's; her own ENVID beside it. Raises Unreachable."""
        options = [f"ENVID={envelope_id}"]  # RFC 3461 §4.4
        if self.offers("size"):
            options.append(f"SIZE={message.content.size}")  # RFC 1870 §6
        if message.body == "8BITMIME" and self.offers("8bitmime"):
            options.append("BODY=8BITMIME")  # RFC 6152 §2
        if message.smtputf8:
            options.append("SMTPUTF8")  # RFC 6531 §3.4
        if message.ret and self.offers("dsn"):
            options.append(f"RET={message.ret}")  # RFC 3461 §4.3
        if message.envelope_id and self.offers("xenvid"):
            options.append(f"XENVID={xtext(message.envelope_id)}")
        return await self._command("MAIL", f"FROM:<{message.reverse_path}>", *options)

    async def probe(self, reverse_path: str, forward_path: str) -> Reply:
        """Ask whether a recipient would be taken, in a transaction that is dropped. Raises Unreachable."""
        options = [] if (reverse_path + forward_path).isascii() else ["SMTPUTF8"]
        reply = await self._command("MAIL", f"FROM:<{reverse_path}>", *options)
        if reply.positive:
            reply = await self._command("RCPT", f"TO:<{forward_path}>")
        await self.reset()
        return reply

    async def recipient(self, recipient: Recipient) -> Reply:
        """Name one recipient. Raises Unreachable."""
        options: list[str] = []
        if self.offers("dsn"):
            if recipient.notify:
                options.append(f"NOTIFY={recipient.notify}")
            if recipient.orcpt:
                options.append(f"ORCPT={orcpt_value(recipient.orcpt)}")
        return await self._command("RCPT", f"TO:<{recipient.forward_path}>", *options)

    async def reset(self) -> None:
        """Drop the open transaction. Raises Unreachable."""
        await self._command("RSET")

    async def content(self, stuffed: Iterator[bytes]) -> Reply:
        """Send DATA and the content (`contents.stuffed`); gives the reply that decides.

        Raises Unreachable where the final dot was not sent, Unanswered where it was; what `stuffed` raises ends the
        session.
        """
        reply = await self._command("DATA")
        protocol = self._client.protocol
        if reply.code != 354 or protocol is None:
            return self._refusal(reply)
        # Listening from here on: a gateway that refuses may say so before it has everything
        answer = asyncio.create_task(protocol.read_response(), name="reply to content")
        dotted = False
        try:
            piece = await asyncio.to_thread(next, stuffed)
            while (following := await asyncio.to_thread(next, stuffed, None)) is not None and not answer.done():
                await self._write(protocol, piece, answer)
                piece = following
            if answer.done():
                self._client.close()  # the rest of the content would be read as commands
            else:
                dotted = True
                protocol.write(piece)
            async with asyncio.timeout(RELAY_DOT_TIMEOUT / params.SECOND):
                response = await answer
            reply = parse_reply(response.code, response.message)
            return reply if dotted else self._refusal(reply)
        except _ENDS as error:
            text = f"{self._name}: content: {type(error).__name__} {error}".rstrip()
            self._client.close()
            raise Unanswered(text) if dotted else Unreachable(text) from error
        except BaseException:
            self._client.close()
            raise
        finally:
            if not answer.cancel() and not answer.cancelled():
                answer.exception()  # seen, where writing failed first

    async def _write(
        self, protocol: SMTPProtocol, piece: bytes, answer: "asyncio.Task[aiosmtplib.SMTPResponse]"
    ) -> None:
        """Write a piece and wait until the buffer takes more, or an answer is there. Raises what the transport does."""
        protocol.write(piece)
        drained = asyncio.ensure_future(protocol._drain_helper())  # the flow control that asyncio's own streams use
        try:
            timeout = self._limits.command_timeout / params.SECOND
            done, _ = await asyncio.wait({drained, answer}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                raise TimeoutError("the gateway does not read")
            if drained.done():
                drained.result()
        finally:
            drained.cancel()

    async def _command(self, *words: str) -> Reply:
        try:
            response = await self._client.execute_command(*(word.encode() for word in words))
        except (*_ENDS, ValueError) as error:
            self._client.close()
            raise Unreachable(f"{self._name}: {words[0]}: {type(error).__name__} {error}".rstrip()) from error
        if response.code == 421:  # RFC 5321 §3.8: it is closing
            raise Unreachable(f"{self._name}: {words[0]}: 421 {response.message}")
        return parse_reply(response.code, response.message)

    def _refusal(self, reply: Reply) -> Reply:
        """Return a refusal that came before the final dot. Raises Unreachable where it is none (RFC 5321 §4.3.2)."""
        if reply.code < 400:
            self._client.close()
            raise Unreachable(f"{self._name}: answered before the content: {reply.text}")
        return reply

    @property
    def _name(self) -> str:
        return f"gateway {self.gateway.host}"


class Dialler:
    """Opens sessions as the user of `identity`, which may be renewed; `helo` is the EHLO name."""

    def __init__(self, identity: Identity, helo: str, limits: OutboxLimits) -> None:
        self.identity = identity
        self._helo = helo
        self._limits = limits

    @asynccontextmanager
    async def session(self, gateway: GatewayInfo) -> AsyncIterator[RelaySession]:
        """Give a session in which the gateway has accepted the user's certificate; on leaving it is closed.

        Raises Unreachable, also where its certificate is not the one in the domain record.
        """
        client = aiosmtplib.SMTP(
            hostname=gateway.host,
            port=gateway.port,
            local_hostname=self._helo,
            timeout=self._limits.command_timeout / params.SECOND,
            use_tls=True,
            start_tls=False,
            tls_context=user_client_context(self.identity, gateway.certificate),
        )
        try:
            await self._log_in(client, gateway)
            yield RelaySession(client, gateway, self._limits)
            if client.is_connected:
                try:
                    await client.quit(timeout=self._limits.connect_timeout / params.SECOND)
                except _ENDS:
                    return  # it owes us nothing any more
        finally:
            client.close()

    async def _log_in(self, client: aiosmtplib.SMTP, gateway: GatewayInfo) -> None:
        try:
            await client.connect(timeout=self._limits.connect_timeout / params.SECOND)
            await client.ehlo()
            # RFC 4954 §4, RFC 4422 appendix A: "=" is the empty initial response, she acts as whom TLS showed
            response = await client.execute_command(b"AUTH", b"EXTERNAL", b"=")
        except _ENDS as error:
            raise Unreachable(f"gateway {gateway.host}: {type(error).__name__} {error}".rstrip()) from error
        if response.code != 235:
            raise Unreachable(f"gateway {gateway.host}: {response.code} {response.message}")


def in_order(gateways: Sequence[GatewayInfo], purpose: str) -> list[GatewayInfo]:
    """Return the gateways that take submissions, in the same order for one `purpose`, in others for others."""
    return sorted(
        (gateway for gateway in gateways if gateway.port),
        key=lambda gateway: hashlib.sha256(purpose.encode() + gateway.hpke_key).digest(),
    )
