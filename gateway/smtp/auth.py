"""AUTH (RFC 4954): PLAIN (RFC 4616), LOGIN and EXTERNAL (RFC 4422 appendix A), and what follows from failures.

A role is given its mechanisms; a password is taken over TLS or from loopback only. After STARTTLS nobody is
logged in.
"""

import asyncio
import base64
import binascii
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

from gateway.errors import AccountClosed
from gateway.login_delays import LoginDelays
from gateway.mail.submission import is_among
from gateway.smtp import params, replies
from gateway.smtp.chunking import ChunkedDialogue
from gateway.smtp.command_loop import Command
from gateway.smtp.connection import Shared
from gateway.smtp.keywords import keyword
from gateway.smtp.limits import FailedLogins
from gateway.smtp.reader import LineTooLong
from gateway.smtp.replies import Refusal, Reply
from gateway.smtp.transaction import SubmittedTransaction
from p2pcore.clock import Clock
from p2pcore.crypto.certificates import Certificate
from p2pcore.crypto.trust import Trust
from p2pcore.errors import CertificateRefused, ClockSkew

Authenticate = Callable[[str, str], Awaitable[Certificate | None]]
"""Returns the certificate of the user whose name and password these are; as slow for an unknown name.

Raises AccountClosed where both are right.
"""


class LoginRefused(Exception):
    """The mechanism ran to its end and the client is not who it says."""

    def __init__(self, reply: Reply, detail: str) -> None:
        super().__init__(detail)
        self.reply = reply
        self.detail = detail


class AuthDialogue(ChunkedDialogue[SubmittedTransaction]):
    """A session whose client must say who it is; `user` is its certificate, None before that."""

    def __init__(self, shared: Shared, logins: "Logins") -> None:
        super().__init__(shared)
        self.user: Certificate | None = None
        self._logins = logins
        self._failures = 0

    def offered(self) -> list[str]:
        """Return the mechanisms that may be used now."""
        return [name for name, mechanism in self._logins.mechanisms.items() if mechanism.may_be_used(self)]

    def extensions(self) -> list[str]:
        offered = self.offered()
        return [*super().extensions(), *([f"AUTH {' '.join(offered)}"] if offered else [])]

    def _restart_on(self, transport: asyncio.Transport) -> None:
        super()._restart_on(transport)
        self.user = None

    async def do_auth(self, argument: str) -> None:
        if not self.extended:
            raise Refusal(replies.SEND_EHLO_FIRST)
        if self.user is not None:
            raise Refusal(replies.AUTH_ALREADY)
        if self.in_transaction:
            raise Refusal(replies.AUTH_IN_TRANSACTION)
        name, _, initial = argument.partition(" ")
        mechanism = self._logins.mechanisms.get(keyword(name))
        if mechanism is None:
            raise Refusal(replies.AUTH_UNKNOWN)
        if not mechanism.may_be_used(self):
            raise Refusal(mechanism.unusable)
        self._logins.failed.check(self.client)
        try:
            self.user = await mechanism.run(self, _decoded(initial) if initial else None)
        except LoginRefused as refused:
            await self._count_failure(keyword(name), refused)
        else:
            self._failures = 0
            self.reply(replies.AUTHENTICATED)

    async def ask(self, challenge: bytes = b"") -> bytes:
        """Send a challenge and return the response, both without their base64. Raises Refusal, ClientGone."""
        self.reply(Reply(334, "", base64.b64encode(challenge).decode()))
        await self.flush()
        self.arm(self._shared.settings.limits.command_timeout)
        try:
            line = await self._input.next_line(params.MAX_AUTH_LINE)
        except LineTooLong as error:
            raise Refusal(replies.AUTH_LINE_TOO_LONG) from error
        text = line.removesuffix(b"\r\n").decode("latin-1")
        if text == "*":
            raise Refusal(replies.AUTH_CANCELLED)
        return _decoded(text) if text else b""

    async def pause(self, seconds: float) -> None:
        """Let the client wait; only this connection does, each has its own task."""
        self.disarm()
        await asyncio.sleep(seconds)

    async def _count_failure(self, mechanism: str, refused: LoginRefused) -> None:
        self._failures += 1
        self._logins.failed.failed(self.client)
        self._shared.log.refused(
            reply=str(refused.reply), client=self.client.address, detail=f"{mechanism}: {refused.detail}"
        )
        delay = self._shared.settings.limits.failed_login_delay * 2 ** (self._failures - 1)
        await self.pause(delay / params.SECOND)
        self.reply(refused.reply)
        if self._failures >= params.LOGIN_FAILURES:
            self.end_with(replies.TOO_MANY_FAILURES)

    COMMANDS: ClassVar[Mapping[str, Command]] = {**ChunkedDialogue.COMMANDS, "AUTH": do_auth}


@dataclass(frozen=True, slots=True)
class Mechanism:
    """`run` gets the initial response (None: there was none) and returns who it is.

    It raises LoginRefused, Refusal, ClientGone. `unusable` is said where `may_be_used` is False.
    """

    run: Callable[[AuthDialogue, bytes | None], Awaitable[Certificate]]
    may_be_used: Callable[[AuthDialogue], bool]
    unusable: Reply


@dataclass(frozen=True, slots=True)
class Logins:
    """What all sessions of a role share: its mechanisms by name, and who has failed."""

    mechanisms: Mapping[str, Mechanism]
    failed: FailedLogins


@dataclass(frozen=True, slots=True)
class Passwords:
    """What the mechanisms with a password share: who is let in by one, and how long an attempt waits."""

    authenticate: Authenticate
    delays: LoginDelays

    async def log_in(self, session: AuthDialogue, name: bytes, password: bytes) -> Certificate:
        """Return who it is, after the wait of an account or address with many failures.

        Raises LoginRefused, Refusal where her account is closed for now.
        """
        client, user = session.client.address, name.decode(errors="replace")
        await session.pause(self.delays.wait(client, user))
        try:
            certificate = await self.authenticate(name.decode(), password.decode())
        except UnicodeDecodeError:
            certificate = None
        except AccountClosed as closed:
            raise Refusal(replies.AUTH_CLOSED, str(closed)) from closed
        if certificate is None:
            self.delays.failed(client, user)
            raise LoginRefused(replies.AUTH_FAILED, f"user {name[:80]!r}")
        self.delays.succeeded(client, user)
        return certificate


def has_privacy(session: AuthDialogue) -> bool:
    """Return whether a password may be said here (RFC 4954 §4, RFC 8314 §3.3)."""
    return session.cipher is not None or session.client.is_loopback


def plain(passwords: Passwords) -> Mechanism:
    """PLAIN: identity NUL name NUL password in one message."""

    async def run(session: AuthDialogue, initial: bytes | None) -> Certificate:
        response = await session.ask() if initial is None else initial
        parts = response.split(b"\0")
        if len(parts) != 3:
            raise Refusal(replies.AUTH_NOT_BASE64)
        identity, name, password = parts
        if identity not in (b"", name):
            raise LoginRefused(replies.AUTH_FAILED, "nobody may act for another user")
        return await passwords.log_in(session, name, password)

    return Mechanism(run, has_privacy, replies.AUTH_NEEDS_TLS)


def login(passwords: Passwords) -> Mechanism:
    """LOGIN: name and password, each asked for; it was never standardised, and some mail readers know nothing else."""

    async def run(session: AuthDialogue, initial: bytes | None) -> Certificate:
        name = await session.ask(b"Username:") if initial is None else initial
        return await passwords.log_in(session, name, await session.ask(b"Password:"))

    return Mechanism(run, has_privacy, replies.AUTH_NEEDS_TLS)


def external(trust: Trust, clock: Clock) -> Mechanism:
    """EXTERNAL: who the TLS client certificate says; a non-empty response must be one of that user's addresses."""

    async def run(session: AuthDialogue, initial: bytes | None) -> Certificate:
        response = await session.ask() if initial is None else initial
        try:
            certificate = trust.add(shown_certificate(session) or b"")
            check_user(certificate, trust, clock())
        except (CertificateRefused, ClockSkew) as failure:
            raise LoginRefused(replies.CERTIFICATE_FAILED, str(failure)) from failure
        if response and not is_among(response.decode(errors="replace"), certificate.addresses):
            raise LoginRefused(replies.CERTIFICATE_FAILED, f"{certificate.name} may not act for another user")
        return certificate

    return Mechanism(run, lambda session: shown_certificate(session) is not None, replies.AUTH_UNKNOWN)


def shown_certificate(session: AuthDialogue) -> bytes | None:
    """Return the client's TLS certificate (DER), whose key it has shown to hold; None where it showed none."""
    if session.transport is None or session.cipher is None:
        return None
    secured = cast(ssl.SSLObject | None, session.transport.get_extra_info("ssl_object"))
    return None if secured is None else secured.getpeercert(binary_form=True)


def check_user(certificate: Certificate, trust: Trust, now: int) -> None:
    """Refuse who is no user of the domain now; OpenSSL knows no roles and no revocations. Raises CertificateRefused."""
    if certificate.role != "user":
        raise CertificateRefused(f"{certificate.name} is a {certificate.role}, not a user")
    trust.judge(certificate, now, now, direct=True)


def _decoded(text: str) -> bytes:
    """Return what base64 `text` holds; "=" stands for an empty initial response (RFC 4954 §4). Raises Refusal."""
    if text == "=":
        return b""
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (ValueError, binascii.Error) as error:
        raise Refusal(replies.AUTH_NOT_BASE64) from error
