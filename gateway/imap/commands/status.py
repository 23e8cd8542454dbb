"""STATUS (RFC 3501 §6.3.10)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session
from gateway.imap.status_items import parse_status_items, status_line


@dataclass(frozen=True, slots=True)
class Status:
    name: str
    items: tuple[str, ...]

    @classmethod
    def parse(cls, lexer: Lexer) -> "Status":
        lexer.space()
        name = lexer.mailbox()
        lexer.space()
        return cls(name, parse_status_items(lexer))

    async def run(self, session: Session) -> Done:
        mailbox = await session.store.mailbox(self.name)
        session.channel.write(await status_line(session, mailbox, self.items))
        return Done()
