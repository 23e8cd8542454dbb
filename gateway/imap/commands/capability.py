"""CAPABILITY (RFC 3501 §6.1.1)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Capability:
    @classmethod
    def parse(cls, lexer: Lexer) -> "Capability":
        return cls()

    async def run(self, session: Session) -> Done:
        session.untagged(b"CAPABILITY " + session.capabilities().encode("ascii"))
        return Done()
