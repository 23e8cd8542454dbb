"""CLOSE (RFC 3501 §6.4.2) and UNSELECT (RFC 3691)."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.session import Done, Session
from gateway.mailbox.errors import NoSuchMailbox


@dataclass(frozen=True, slots=True)
class Close:
    """Expunges without a word, except after EXAMINE."""

    @classmethod
    def parse(cls, lexer: Lexer) -> "Close":
        return cls()

    async def run(self, session: Session) -> Done:
        selection = session.selection
        await session.deselect()
        if not selection.read_only:
            try:
                await session.store.expunge(selection.mailbox.id, None)
            except NoSuchMailbox:
                return Done("the mailbox was deleted meanwhile")
        return Done()


@dataclass(frozen=True, slots=True)
class Unselect:
    """As CLOSE, but expunges nothing."""

    @classmethod
    def parse(cls, lexer: Lexer) -> "Unselect":
        return cls()

    async def run(self, session: Session) -> Done:
        await session.deselect()
        return Done()
