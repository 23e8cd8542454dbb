"""Opens connections: a domain's hosts one after the other, with TLS where a host offers it (RFC 5321 §5.1, RFC 7435).

| TLS | for | a host without TLS, or with another's certificate |
|---|---|---|
| any | every domain that asks for nothing | is used all the same: a broken handshake is repeated in clear |
| tested | a domain whose MTA-STS policy is in testing mode | is used all the same, and logged (RFC 8461 §5) |
| verified | MTA-STS in enforce mode, and the smarthost that we log in to | gets nothing: deferred with 4.7.5 |

Where any TLS will do, certificates are not verified: whoever could put a false one there could also leave STARTTLS out,
and clear text would be the alternative (RFC 7435 §3).
"""

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import dataclass, field
from typing import Literal, Protocol

import aiosmtplib
import structlog

from gateway.outbound import params
from gateway.outbound.errors import NotDelivered
from gateway.outbound.mx import Target
from gateway.outbound.protocol import HostProtocol
from gateway.outbound.replies import parse_reply
from gateway.outbound.session import FAILURES, Session, Timeouts
from gateway.outbound.sts_policy import Policy
from p2pcore.crypto.tls import verifying_context
from p2pcore.networks import is_loopback, numeric

log = structlog.get_logger("mail")

SUBMISSIONS_PORT = 465  # TLS from the first octet (RFC 8314 §3.3)
_INSECURE = "4.7.5"  # RFC 3463 §3.8: cryptographic failure
_NO_ANSWER = "4.4.1"  # RFC 3463 §3.5: no answer from host
_READY = 220
_TRIED = 2  # RFC 5321 §5.1: at least two addresses

_Tls = Literal["none", "any", "verified"]


class Exchangers(Protocol):
    """Says where a domain's mail goes: gateway.outbound.mx.MailExchangers."""

    async def targets(self, domain: str) -> tuple[Target, ...]:
        """Return at least one target, best first. Raises NotDelivered."""
        ...


class Policies(Protocol):
    """Says what a domain asks of its senders: gateway.outbound.mta_sts.MtaSts."""

    async def policy(self, domain: str) -> Policy | None: ...


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in to a smarthost (RFC 4954)."""

    user: str
    password: str = field(repr=False)


class _NoTls(Exception):
    """TLS did not come up, or not with the certificate wanted; the text says why."""


class Courier:
    """Connects to destinations as `hostname`.

    `single`: all mail goes to one smarthost, whatever the domain. `policies` None: no domain's MTA-STS policy is asked
    for. With a `login` all hosts are smarthosts, which are logged in to: over verified TLS, or on loopback. `verified`
    is the context of verified TLS.
    """

    def __init__(
        self,
        exchangers: Exchangers,
        hostname: str,
        timeouts: Timeouts | None = None,
        *,
        single: bool = False,
        policies: Policies | None = None,
        login: Login | None = None,
        verified: ssl.SSLContext | None = None,
    ) -> None:
        self.single = single
        self._exchangers = exchangers
        self._hostname = hostname.encode("idna").decode("ascii") if not hostname.isascii() else hostname
        self._timeouts = timeouts or Timeouts()
        self._policies = policies
        self._login = login
        self._silent: dict[tuple[str, int], float] = {}  # endpoint → until when, by the event loop's clock
        any_certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        any_certificate.check_hostname = False
        any_certificate.verify_mode = ssl.CERT_NONE
        self._contexts: dict[_Tls, ssl.SSLContext] = {
            "any": any_certificate,
            "verified": verified or verifying_context(),
        }

    async def connect(self, domain: str, *, besides: str = "") -> Session:
        """Return a connection to the first of the domain's hosts that takes one.

        Where one is asked for `besides` a host, those that lately took none are not waited for. Raises NotDelivered.
        """
        targets = [
            each
            for each in await self._exchangers.targets(domain)
            if not besides or (each.host != besides and not self._is_silent(each))
        ]
        if not targets:
            raise NotDelivered("4.4.1", f"{domain} has no mail exchanger besides {besides} that answers")
        policy = None
        if self._policies is not None and not domain.startswith("["):
            policy = await self._policies.policy(domain)
        last: NotDelivered | None = None
        time = asyncio.get_running_loop().time
        until = time() + self._timeouts.opening / 1_000
        for number, target in enumerate(sorted(targets, key=self._is_silent)):  # RFC 5321 §4.5.4.1
            if number >= _TRIED and time() > until:
                break  # what was silent is known, so the next attempt begins behind it
            try:
                session = await self._greet(domain, target, policy)
            except NotDelivered as failure:
                last = failure
                if failure.status == _NO_ANSWER:
                    self._note_silent(target)
            else:
                self._silent.pop((target.address, target.port), None)
                return session
        assert last is not None, "there is at least one target"
        raise last

    def _is_silent(self, target: Target) -> bool:
        """Whether it lately took no connection."""
        now = asyncio.get_running_loop().time()
        return self._silent.get((target.address, target.port), now) > now

    def _note_silent(self, target: Target) -> None:
        if len(self._silent) >= params.MAX_SILENT:
            self._silent.pop(next(iter(self._silent)))
        self._silent[target.address, target.port] = asyncio.get_running_loop().time() + params.SILENT / 1_000

    async def _greet(self, domain: str, target: Target, policy: Policy | None) -> Session:
        """Connect as the policy, or our login, wants it. Raises NotDelivered."""
        trusted = is_loopback(target.address) and not self._is_implicit(target)
        if self._login is not None and not trusted:
            return await self._verified(target, "the smarthost gets our password over verified TLS only")
        if policy is not None and policy.mode != "none":
            try:
                return await self._by_policy(domain, target, policy)
            except NotDelivered as failure:
                if policy.mode == "enforce":
                    log.warning("mta-sts", domain=domain, host=target.host, mode=policy.mode, detail=failure.reply)
                    raise
                if failure.status != _INSECURE:
                    raise
                log.info("mta-sts", domain=domain, host=target.host, mode=policy.mode, detail=failure.reply)
        try:
            return await self._open(target, "any")
        except _NoTls:
            return await self._open(target, "none")

    async def _by_policy(self, domain: str, target: Target, policy: Policy) -> Session:
        """Connect if the policy names the host (RFC 8461 §4.1), with verified TLS (§4.2). Raises NotDelivered."""
        if not policy.allows(target.host):
            raise NotDelivered(_INSECURE, f"{domain} has an MTA-STS policy that does not name {target.host}")
        return await self._verified(target, f"{domain} has an MTA-STS policy")

    async def _verified(self, target: Target, why: str) -> Session:
        """Connect with verified TLS. Raises NotDelivered: 4.7.5 where that is what fails."""
        try:
            return await self._open(target, "verified")
        except _NoTls as failure:
            raise NotDelivered(_INSECURE, f"{why}, and {target.host}: {failure}") from failure

    async def _open(self, target: Target, tls: _Tls) -> Session:
        """Connect and introduce ourselves. Raises NotDelivered (always temporary), _NoTls."""
        timeout = self._timeouts.command / 1_000
        where = f"{target.host} [{target.address}]:{target.port}"
        client = aiosmtplib.SMTP(
            hostname=_tls_name(target), local_hostname=self._hostname, timeout=timeout, start_tls=False
        )
        session = None
        try:
            await self._connect(client, target, tls)
            await self._introduce(client)
            await self._secure(client, target, tls)
            if self._login is not None:
                await _log_in(client, self._login)
            session = Session(client, target, self._timeouts, _cipher(client))
        except aiosmtplib.SMTPResponseException as refusal:
            reply = parse_reply(refusal.code, refusal.message)
            if reply.code < 0:  # aiosmtplib's own word for what is no reply
                raise NotDelivered(reply.status, f"{where}: {refusal.message}") from refusal
            # Another host, or this one later, may well take it: a refusal of the connection says nothing of the mail
            raise NotDelivered(f"4{reply.status[1:]}", reply.text, target.host) from refusal
        except FAILURES as error:
            raise NotDelivered(_NO_ANSWER, f"{where}: {str(error) or type(error).__name__}") from error
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

    async def _connect(self, client: aiosmtplib.SMTP, target: Target, tls: _Tls) -> None:
        """Have the greeting; on the port of implicit TLS, inside it. Raises FAILURES, _NoTls."""
        context = self._contexts[tls] if tls == "verified" and self._is_implicit(target) else None
        timeout = self._timeouts.command / 1_000
        loop = asyncio.get_running_loop()
        protocol = HostProtocol(loop, client._on_connection_lost)
        connection = await self._dial(target)
        try:
            # Instead of client.connect, which has no place for a protocol of another class
            client.transport, client.protocol = await loop.create_connection(
                lambda: protocol,
                sock=connection,
                ssl=context,
                server_hostname=_tls_name(target) if context else None,
                ssl_handshake_timeout=timeout if context else None,
            )
        except ssl.SSLError as error:
            raise _NoTls(str(error)) from error
        greeting = await protocol.read_response(timeout)
        if greeting.code != _READY:
            raise aiosmtplib.SMTPConnectResponseError(greeting.code, greeting.message)

    def _is_implicit(self, target: Target) -> bool:
        return self._login is not None and target.port == SUBMISSIONS_PORT

    async def _secure(self, client: aiosmtplib.SMTP, target: Target, tls: _Tls) -> None:
        """Bring up TLS, by STARTTLS, and introduce ourselves again (RFC 3207 §4.2). Raises FAILURES, _NoTls."""
        if tls == "none" or client.get_transport_info("ssl_object") is not None:
            return
        if not client.supports_extension("starttls"):
            if tls == "verified":
                raise _NoTls("it does not offer STARTTLS")
            return
        try:
            await client.starttls(server_hostname=_tls_name(target), tls_context=self._contexts[tls])
        except aiosmtplib.SMTPResponseException as refusal:
            if tls == "verified":
                raise _NoTls(f"it refuses STARTTLS: {refusal.message}") from refusal
            return
        except (*FAILURES, UnicodeError) as error:  # UnicodeError: DNS has names that TLS has not
            raise _NoTls(str(error) or type(error).__name__) from error
        await self._introduce(client)


async def _log_in(client: aiosmtplib.SMTP, login: Login) -> None:
    """Log in by the first of the host's ways that works; some offer what they do not support. Raises FAILURES.

    Instead of client.login, which has lost the refusal where the host hangs up after it.
    """
    ways = {"cram-md5": client.auth_crammd5, "plain": client.auth_plain, "login": client.auth_login}
    refusal: aiosmtplib.SMTPAuthenticationError | None = None
    for way in client.supported_auth_methods:
        try:
            await ways[way](login.user, login.password)
        except aiosmtplib.SMTPAuthenticationError as failure:
            refusal = failure
        except FAILURES as failure:
            raise refusal or failure from failure
        else:
            return
    raise refusal or aiosmtplib.SMTPException("it offers no way to log in that is known here")


def _cipher(client: aiosmtplib.SMTP) -> str:
    tls = client.get_transport_info("ssl_object")
    return f"{tls.version()} {client.get_transport_info('cipher')[0]}" if tls is not None else ""


def _tls_name(target: Target) -> str:
    """Return the name that a certificate is for; of a host known by its address only, the address."""
    return target.address if _is_address(target.host) else target.host


def _is_address(host: str) -> bool:
    return host.startswith("[") or numeric(host.strip("[]")) is not None
