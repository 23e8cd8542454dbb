"""SEARCH (RFC 3501 §6.4.4) and UID SEARCH, with RETURN (RFC 4731) and a result that is kept (RFC 5182)."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad, No
from gateway.imap.lexer import Lexer
from gateway.imap.search_answer import esearch_response, reported, search_response
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
        program = self.program
        if program.charset is not None and "UTF8=ACCEPT" in session.enabled:
            raise Bad("strings are UTF-8 here, and no charset is named")  # RFC 6855 §3
        if program.modseq:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        selection = session.selection
        view = selection.view
        saving = program.returns is not None and "SAVE" in program.returns
        try:
            program.require_answerable()
            query = resolve(program.term, view, int(time.time()))
        except No:
            if saving:
                view.saved = ()
            raise
        if saving:
            view.saved = ()  # RFC 5182 §2.1: a SEARCH that fails with NO leaves an empty result
        found = await session.store.search(selection.mailbox.id, query)
        uids = [uid for uid in found if view.seq(uid) is not None]
        if saving:
            view.saved = tuple(reported(uids, program.returns))  # RFC 5182 §2.1: MIN and MAX save only these
        await self._answer(session, uids)
        return Done()

    async def _answer(self, session: Session, uids: Sequence[int]) -> None:
        program, view = self.program, session.selection.view
        named = reported(uids, program.returns)
        modseq = max((view.rows[uid].modseq for uid in named), default=None) if program.modseq else None
        numbers = uids if self.by_uid else [view.seq(uid) or 0 for uid in uids]
        returns = program.returns
        if returns is None and session.rev2:
            returns = frozenset({"ALL"})  # RFC 9051 §6.4.4: SEARCH responses are no more
        if returns is None:
            for piece in search_response(numbers, modseq):
                session.channel.write(piece)
                await session.channel.flush(params.FLUSH_ABOVE)
        elif returns != {"SAVE"}:  # RFC 5182 §2.1: SAVE alone answers nothing
            session.channel.write(esearch_response(session.tag, returns, numbers, modseq, by_uid=self.by_uid))
            await session.channel.flush(params.FLUSH_ABOVE)


@dataclass(frozen=True, slots=True)
class UidSearch:
    @classmethod
    def parse(cls, lexer: Lexer) -> Search:
        return Search(Search.parse(lexer).program, by_uid=True)
