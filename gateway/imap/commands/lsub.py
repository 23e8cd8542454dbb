"""LSUB (RFC 3501 §6.3.9)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.listing import lsub_entries
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Lsub:
    pattern: str

    @classmethod
    def parse(cls, lexer: Lexer) -> "Lsub":
        lexer.space()
        reference = lexer.list_mailbox()
        lexer.space()
        return cls(reference + lexer.list_mailbox())

    async def run(self, session: Session) -> Done:
        for name, attributes in lsub_entries(await session.store.subscriptions(), self.pattern):
            session.list_line(b"LSUB", attributes, name)
        return Done()
