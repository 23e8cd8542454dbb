"""NAMESPACE (RFC 2342): one personal namespace, nothing shared."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Namespace:
    @classmethod
    def parse(cls, lexer: Lexer) -> "Namespace":
        return cls()

    async def run(self, session: Session) -> Done:
        session.untagged(b'NAMESPACE (("" "/")) NIL NIL')
        return Done()
