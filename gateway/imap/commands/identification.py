"""ID (RFC 2971)."""

from dataclasses import dataclass

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session

_MAX_VALUES = 60  # RFC 2971 §3.3: at most 30 field-value pairs


@dataclass(frozen=True, slots=True)
class Identification:
    """What the client says of itself is read and passed over: RFC 2971 §3 forbids acting on it."""

    @classmethod
    def parse(cls, lexer: Lexer) -> "Identification":
        lexer.space()
        if lexer.skip(b"NIL"):
            return cls()
        values = lexer.parenthesised(lexer.nstring, empty=True)
        if len(values) % 2 or len(values) > _MAX_VALUES:
            raise Bad("ID takes up to 30 pairs of a field and a value")
        return cls()

    async def run(self, session: Session) -> Done:
        session.untagged(b'ID ("name" "p2pmail")')
        return Done()
