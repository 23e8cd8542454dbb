"""EXPUNGE (RFC 3501 §6.4.3) and UID EXPUNGE (RFC 4315 §2.1). The EXPUNGE responses are the news at their end."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Expunge:
    uids: SequenceSet | None = None

    @classmethod
    def parse(cls, lexer: Lexer) -> "Expunge":
        return cls()

    async def run(self, session: Session) -> Done:
        selection = session.writable_selection
        uids = None if self.uids is None else self.uids.select(selection.view.uids)
        if uids is None or uids:
            await session.store.expunge(selection.mailbox.id, uids)
        return Done()


@dataclass(frozen=True, slots=True)
class UidExpunge:
    @classmethod
    def parse(cls, lexer: Lexer) -> Expunge:
        lexer.space()
        return Expunge(lexer.sequence_set())
