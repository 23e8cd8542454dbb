"""Opens connections: a domain's hosts one after the other, with TLS where a host offers it (RFC 5321 §5.1, RFC 7435).

Certificates are not verified: whoever could put a false one there could also leave STARTTLS out, and clear text would
be the alternative (RFC 7435 §3). A host whose handshake fails is dialled again without TLS for the same reason.
"""

import asyncio
import ipaddress
import socket
import ssl
from typing import Protocol

import aiosmtplib

from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import Target
from gateway.outbound.replies import parse_reply
from gateway.outbound.session import FAILURES, Session, Timeouts


class Exchangers(Protocol):
    """Says where a domain's mail goes: gateway.outbound.mx.MailExchangers."""

    async def targets(self, domain: str) -> tuple[Target, ...]:
        """Return at least one target, best first. Raises NotDelivered."""
        ...


class _HandshakeFailed(Exception):
    """STARTTLS was accepted and TLS did not come up."""


class Courier:
    """Connects to destinations as `hostname`."""

    def __init__(self, exchangers: Exchangers, hostname: str, timeouts: Timeouts | None = None) -> None:
        self._exchangers = exchangers
        self._hostname = hostname.encode("idna").decode("ascii") if not hostname.isascii() else hostname
        self._timeouts = timeouts or Timeouts()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def connect(self, domain: str) -> Session:
        """Return a connection to the first of the domain's hosts that takes one. Raises NotDelivered."""
        last: NotDelivered | None = None
        for target in await self._exchangers.targets(domain):
            try:
                return await self._greet(target)
            except NotDelivered as failure:
                last = failure
        assert last is not None, "there is at least one target"
        raise last

    async def _greet(self, target: Target) -> Session:
        try:
            return await self._open(target, tls=True)
        except _HandshakeFailed:
            return await self._open(target, tls=False)

    async def _open(self, target: Target, *, tls: bool) -> Session:
        """Connect and introduce ourselves. Raises NotDelivered (always temporary), _HandshakeFailed."""
        timeout = self._timeouts.command / 1_000
        client = aiosmtplib.SMTP(local_hostname=self._hostname, timeout=timeout, start_tls=False)
        session = None
        try:
            await client.connect(sock=await self._dial(target), timeout=timeout)
            await self._introduce(client)
            cipher = ""
            if tls and client.supports_extension("starttls") and await self._start_tls(client, target):
                await self._introduce(client)
                version = client.get_transport_info("ssl_object").version()
                cipher = f"{version} {client.get_transport_info('cipher')[0]}"
            session = Session(client, target, self._timeouts, cipher)
        except aiosmtplib.SMTPResponseException as refusal:
            reply = parse_reply(refusal.code, refusal.message)
            # Another host, or this one later, may well take it: a refusal of the connection says nothing of the mail
            raise NotDelivered(f"4{reply.status[1:]}", reply.text, target.host) from refusal
        except FAILURES as error:
            where = f"{target.host} [{target.address}]:{target.port}"
            raise NotDelivered("4.4.1", f"{where}: {str(error) or type(error).__name__}") from error
        finally:
            if session is None:
                client.close()
        return session

    async def _dial(self, target: Target) -> socket.socket:
        family = socket.AF_INET6 if ipaddress.ip_address(target.address).version == 6 else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(self._timeouts.connect / 1_000):
                await asyncio.get_running_loop().sock_connect(connection, (target.address, target.port))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _introduce(self, client: aiosmtplib.SMTP) -> None:
        try:
            await client.ehlo()
        except aiosmtplib.SMTPHeloError as refusal:
            if refusal.code < 500:
                raise
            await client.helo()  # RFC 5321 §3.2

    async def _start_tls(self, client: aiosmtplib.SMTP, target: Target) -> bool:
        """Return whether TLS is up; False: the host refused the command. Raises _HandshakeFailed."""
        name = None if _is_address(target.host) else target.host
        try:
            await client.starttls(server_hostname=name or target.address, tls_context=self._tls)
        except aiosmtplib.SMTPResponseException:
            return False
        except FAILURES as error:
            raise _HandshakeFailed from error
        return True


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.startswith("[")
    return True
