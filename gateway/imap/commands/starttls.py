"""STARTTLS (RFC 3501 §6.2.1). What follows the tagged OK is the connection's work."""

from dataclasses import dataclass

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session, Then


@dataclass(frozen=True, slots=True)
class StartTls:
    @classmethod
    def parse(cls, lexer: Lexer) -> "StartTls":
        return cls()

    async def run(self, session: Session) -> Done:
        if session.channel.tls:
            raise Bad("this connection uses TLS already")
        if not session.doorkeeper.tls_available:
            raise Bad("this server has no TLS certificate")
        return Done("begin TLS negotiation now", then=Then.START_TLS)
