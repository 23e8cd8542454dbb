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
        uids = None if self.uids is None else selection.view.chosen(self.uids, by_uid=True)
        removed = await session.store.expunge(selection.mailbox.id, uids) if uids is None or uids else ()
        return Done(code=await modseq_code(session) if removed else None)


async def modseq_code(session: Session) -> str | None:
    """HIGHESTMODSEQ for the tagged OK of a command that removed messages (RFC 7162 §3.2.7); None if not asked for."""
    if not session.qresync:
        return None
    await session.absorb()  # what has happened up to then is told before the OK
    return f"HIGHESTMODSEQ {session.selection.view.highest_modseq}"


@dataclass(frozen=True, slots=True)
class UidExpunge:
    @classmethod
    def parse(cls, lexer: Lexer) -> Expunge:
        lexer.space()
        return Expunge(lexer.sequence_set())
