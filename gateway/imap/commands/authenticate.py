"""AUTHENTICATE PLAIN and SCRAM-SHA-256 (RFC 3501 §6.2.2, RFC 4616, RFC 7677), with initial responses (RFC 4959)."""

import base64
import binascii
import secrets
from dataclasses import dataclass

from gateway.imap.commands.login import admitted, log_in, refuse_login, require_privacy, wait_for_turn
from gateway.imap.errors import Bad, No
from gateway.imap.lexer import Lexer
from gateway.imap.scram import ScramExchange
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Authenticate:
    mechanism: str
    initial: bytes | None

    @classmethod
    def parse(cls, lexer: Lexer) -> "Authenticate":
        lexer.space()
        mechanism = lexer.word("a mechanism")
        return cls(mechanism, lexer.astring("an initial response") if lexer.skip(b" ") else None)

    async def run(self, session: Session) -> Done:
        scram = self.mechanism == "SCRAM-SHA-256" and session.doorkeeper.scram_available
        if self.mechanism != "PLAIN" and not scram:
            raise No(f"the mechanism {self.mechanism} is not offered", "CANNOT")
        require_privacy(session)
        first = _decoded(self.initial) if self.initial is not None else await _exchange(session, b"")
        return await _scram(session, first) if scram else await _plain(session, first)


async def _plain(session: Session, message: bytes) -> Done:
    try:
        identity, user, password = message.split(b"\0")
    except ValueError:
        raise Bad("the response is not identity NUL user NUL password") from None
    if identity not in (b"", user):
        raise No("nobody may act for another user here", "AUTHORIZATIONFAILED")  # RFC 5530
    return await log_in(session, user, password)


async def _scram(session: Session, message: bytes) -> Done:
    exchange = ScramExchange(message)
    await wait_for_turn(session, exchange.user)
    verifier = session.doorkeeper.verifier(exchange.user)
    nonce = secrets.token_urlsafe(24).encode("ascii")
    outcome = exchange.conclude(await _exchange(session, exchange.challenge(verifier, nonce)))
    if outcome is None:
        raise await refuse_login(session, exchange.user)
    if await _exchange(session, outcome):  # RFC 5802 §5: IMAP has no room for it in the tagged OK
        raise Bad("the last response of SCRAM is empty")
    return await admitted(session, exchange.user, await session.doorkeeper.admit(exchange.user, verifier))


async def _exchange(session: Session, challenge: bytes) -> bytes:
    """Send a challenge and return the response to it. Raises Bad if the client cancels."""
    session.channel.write(b"+ " + base64.b64encode(challenge) + b"\r\n")
    await session.channel.flush()
    return _decoded(await session.channel.read_line())


def _decoded(encoded: bytes) -> bytes:
    if encoded == b"*":  # RFC 3501 §6.2.2: the client cancels
        raise Bad("AUTHENTICATE was cancelled")
    if encoded == b"=":  # RFC 4959 §3: an empty initial response
        return b""
    try:
        return base64.b64decode(encoded, validate=True)
    except binascii.Error:
        raise Bad("the response is not base64") from None
