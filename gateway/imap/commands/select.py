"""SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2), with CONDSTORE's parameter (RFC 7162 §3.1.8)."""

from dataclasses import dataclass

from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    condstore: bool
    read_only: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Select":
        lexer.space()
        name = lexer.mailbox()
        parameters: list[str] = []
        if lexer.skip(b" ("):
            parameters.append(lexer.word("a parameter"))
            while lexer.skip(b" "):
                parameters.append(lexer.word("a parameter"))
            lexer.expect(b")")
        for parameter in parameters:
            if parameter != "CONDSTORE":
                raise Bad(f"SELECT has no parameter {parameter}")
        return cls(name, bool(parameters))

    async def run(self, session: Session) -> Done:
        if self.condstore:
            session.enabled.add("CONDSTORE")
        selected = await session.select(self.name, read_only=self.read_only)
        mailbox, view = selected.mailbox, selected.view
        # RFC 3501 §6.3.1: these responses, in any order
        session.channel.write(view.flags_lines())
        session.untagged(b"%d EXISTS" % len(view))
        session.untagged(b"%d RECENT" % len(view.recent))
        unseen = view.first_unseen()
        if unseen is not None:
            session.untagged_ok("the first unseen message", f"UNSEEN {unseen}")
        session.untagged_ok("UIDs are valid", f"UIDVALIDITY {mailbox.uidvalidity}")
        session.untagged_ok("the next UID", f"UIDNEXT {mailbox.uidnext}")
        # RFC 7162 §3.1.2.1: with every SELECT, asked for or not
        session.untagged_ok("the highest modseq", f"HIGHESTMODSEQ {max(mailbox.highest_modseq, 1)}")
        return Done(f"{mailbox.name} is selected", "READ-ONLY" if self.read_only else "READ-WRITE")


@dataclass(frozen=True, slots=True)
class Examine:
    @classmethod
    def parse(cls, lexer: Lexer) -> Select:
        select = Select.parse(lexer)
        return Select(select.name, select.condstore, read_only=True)
