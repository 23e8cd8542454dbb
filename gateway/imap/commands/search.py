"""SEARCH (RFC 3501 §6.4.4) and UID SEARCH."""

from dataclasses import dataclass

from gateway.imap.lexer import Lexer
from gateway.imap.search_keys import Program, parse_search, resolve
from gateway.imap.session import Done, Session


@dataclass(frozen=True, slots=True)
class Search:
    program: Program
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Search":
        lexer.space()
        return cls(parse_search(lexer))

    async def run(self, session: Session) -> Done:
        if self.program.modseq:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        selection = session.selection
        view = selection.view
        found = await session.store.search(selection.mailbox.id, resolve(self.program.term, view))
        told = [(uid, seq) for uid in found if (seq := view.seq(uid)) is not None]
        numbers = [uid if self.by_uid else seq for uid, seq in told]
        suffix = ""
        if self.program.modseq and told:
            # RFC 7162 §3.1.5: the highest modseq of what was found, never with an empty answer
            suffix = f" (MODSEQ {max(view.rows[uid].modseq for uid, _ in told)})"
        session.untagged(" ".join(["SEARCH", *map(str, numbers)]).encode("ascii") + suffix.encode("ascii"))
        return Done()


@dataclass(frozen=True, slots=True)
class UidSearch:
    @classmethod
    def parse(cls, lexer: Lexer) -> Search:
        return Search(Search.parse(lexer).program, by_uid=True)
