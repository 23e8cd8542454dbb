"""MOVE (RFC 6851). The EXPUNGE responses are the news at its end."""

from dataclasses import dataclass

from gateway.imap.commands.copy import copy_code, parse_copy, place
from gateway.imap.commands.expunge import modseq_code
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Move:
    messages: SequenceSet
    destination: str
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Move":
        return cls(*parse_copy(lexer))

    async def run(self, session: Session) -> Done:
        uidvalidity, pairs = await place(session, session.writable_selection, session.store.move, self)
        code = copy_code(uidvalidity, pairs)
        if code is None:
            return Done()
        session.untagged_ok("moved", code)  # RFC 6851 §4.3: before the EXPUNGE responses
        return Done(code=await modseq_code(session))


@dataclass(frozen=True, slots=True)
class UidMove:
    @classmethod
    def parse(cls, lexer: Lexer) -> Move:
        return Move(*parse_copy(lexer), by_uid=True)
