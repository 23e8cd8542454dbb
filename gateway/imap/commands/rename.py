"""RENAME (RFC 3501 §6.3.5)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Rename:
    old: str
    new: str

    @classmethod
    def parse(cls, lexer: Lexer) -> "Rename":
        lexer.space()
        old = lexer.mailbox()
        lexer.space()
        return cls(old, lexer.mailbox())

    async def run(self, session: Session) -> Done:
        await session.store.rename(self.old, self.new)
        return Done()
