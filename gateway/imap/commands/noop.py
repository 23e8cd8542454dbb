"""NOOP and CHECK (RFC 3501 §6.1.2, §6.4.1): the news that every command's end brings is their whole result."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Noop:
    @classmethod
    def parse(cls, lexer: Lexer) -> "Noop":
        return cls()

    async def run(self, session: Session) -> Done:
        return Done()
