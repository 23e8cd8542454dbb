"""CREATE (RFC 3501 §6.3.3), with the special use of RFC 6154 §3."""

from dataclasses import dataclass

from gateway.imap.errors import Bad, No
from gateway.imap.lexer import Lexer
from gateway.imap.mailbox_names import DELIMITER
from gateway.imap.name_response import tell_name
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Create:
    name: str
    uses: tuple[str, ...]

    @classmethod
    def parse(cls, lexer: Lexer) -> "Create":
        lexer.space()
        name = lexer.mailbox()
        uses: list[str] = []
        if lexer.skip(b" ("):
            parameter = lexer.word("a parameter")
            if parameter != "USE":
                raise Bad(f"CREATE has no parameter {parameter}")
            lexer.space()
            uses = lexer.parenthesised(lexer.flag, empty=True)
            lexer.expect(b")")
        return cls(name, tuple(uses))

    async def run(self, session: Session) -> Done:
        if len(self.uses) > 1:
            raise No("a mailbox has one special use", "USEATTR")
        use = "\\" + self.uses[0].lstrip("\\").capitalize() if self.uses else None
        made = await session.store.create(self.name, use)
        if session.rev2 and made.name != self.name.removesuffix(DELIMITER):
            await tell_name(session, made.name, self.name.removesuffix(DELIMITER))  # RFC 9051 §6.3.4
        return Done()
