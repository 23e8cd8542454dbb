"""RENAME (RFC 3501 §6.3.5)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.mailbox_names import DELIMITER
from gateway.imap.name_response import tell_name
from gateway.imap.session import Done, Session
from gateway.mailbox.names import INBOX


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
        if session.rev2 and self.old != INBOX:  # INBOX stays where it is
            made = await session.store.mailbox(self.new.removesuffix(DELIMITER))
            await tell_name(session, made.name, self.old)  # RFC 9051 §6.3.6
        return Done()
