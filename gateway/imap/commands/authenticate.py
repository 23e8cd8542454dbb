"""AUTHENTICATE PLAIN (RFC 3501 §6.2.2, RFC 4616), with the initial response of RFC 4959."""

import base64
import binascii
from dataclasses import dataclass

from gateway.imap.commands.login import log_in, require_privacy
from gateway.imap.errors import Bad, No
from gateway.imap.lexer import Lexer
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
        if self.mechanism != "PLAIN":
            raise No(f"the mechanism {self.mechanism} is not offered", "CANNOT")
        require_privacy(session)
        encoded = self.initial
        if encoded is None:
            session.channel.write(b"+ \r\n")
            await session.channel.flush()
            encoded = await session.channel.read_line()
        if encoded == b"*":  # RFC 3501 §6.2.2: the client cancels
            raise Bad("AUTHENTICATE was cancelled")
        if encoded == b"=":  # RFC 4959 §3: an empty initial response
            encoded = b""
        try:
            identity, user, password = base64.b64decode(encoded, validate=True).split(b"\0")
        except (ValueError, binascii.Error):
            raise Bad("the response is not base64 of identity NUL user NUL password") from None
        if identity not in (b"", user):
            raise No("nobody may act for another user here", "AUTHORIZATIONFAILED")  # RFC 5530
        return await log_in(session, user, password)
