"""SUBSCRIBE and UNSUBSCRIBE (RFC 3501 §6.3.6, §6.3.7)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Subscribe:
    name: str
    on: bool = True

    @classmethod
    def parse(cls, lexer: Lexer) -> "Subscribe":
        lexer.space()
        return cls(lexer.mailbox())

    async def run(self, session: Session) -> Done:
        await session.store.subscribe(self.name, self.on)
        return Done()


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    @classmethod
    def parse(cls, lexer: Lexer) -> Subscribe:
        return Subscribe(Subscribe.parse(lexer).name, on=False)
