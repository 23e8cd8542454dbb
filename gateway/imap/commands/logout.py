"""LOGOUT (RFC 3501 §6.1.3)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session, Then


@dataclass(frozen=True, slots=True)
class Logout:
    @classmethod
    def parse(cls, lexer: Lexer) -> "Logout":
        return cls()

    async def run(self, session: Session) -> Done:
        await session.deselect()
        session.untagged(b"BYE until next time")
        return Done(then=Then.CLOSE)
