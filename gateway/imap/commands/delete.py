"""DELETE (RFC 3501 §6.3.4)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Delete:
    name: str

    @classmethod
    def parse(cls, lexer: Lexer) -> "Delete":
        lexer.space()
        return cls(lexer.mailbox())

    async def run(self, session: Session) -> Done:
        await session.store.delete(self.name)
        return Done()
