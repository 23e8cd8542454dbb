"""SELECT and EXAMINE (RFC 3501 §6.3.1, §6.3.2), with the parameters of RFC 7162 §3.1.8 and §3.2.5."""

from dataclasses import dataclass, replace

from gateway.imap import params
from gateway.imap.errors import Bad
from gateway.imap.lexer import Lexer
from gateway.imap.name_response import tell_name
from gateway.imap.resync import Resync, vanished, vanished_responses
from gateway.imap.session import Done, Selected, Session


@dataclass(frozen=True, slots=True)
class Select:
    name: str
    condstore: bool
    resync: Resync | None
    read_only: bool = False

    @classmethod
    def parse(cls, lexer: Lexer) -> "Select":
        lexer.space()
        name = lexer.mailbox()
        parameters = _Parameters()
        if lexer.skip(b" "):
            lexer.parenthesised(lambda: parameters.take(lexer))
        return cls(name, parameters.condstore, parameters.resync)

    async def run(self, session: Session) -> Done:
        if self.resync is not None and not session.qresync:
            raise Bad("QRESYNC needs ENABLE QRESYNC first")  # RFC 7162 §3.2.5
        if self.condstore:
            session.enabled.add("CONDSTORE")
        if session.selected is not None:
            session.untagged_ok("the mailbox that was selected is closed", "CLOSED")  # RFC 7162 §3.2.11
        selected = await session.select(self.name, read_only=self.read_only)
        mailbox, view = selected.mailbox, selected.view
        # RFC 3501 §6.3.1: these responses, in any order
        session.channel.write(view.flags_lines())
        session.untagged(b"%d EXISTS" % len(view))
        if session.rev2:
            await tell_name(session, mailbox.name, self.name)  # RFC 9051 §6.3.2
        else:
            session.untagged(b"%d RECENT" % len(view.recent))
        unseen = view.first_unseen() if mailbox.unseen and not session.rev2 else None
        if unseen is not None:
            session.untagged_ok("the first unseen message", f"UNSEEN {unseen}")
        session.untagged_ok("UIDs are valid", f"UIDVALIDITY {mailbox.uidvalidity}")
        session.untagged_ok("the next UID", f"UIDNEXT {mailbox.uidnext}")
        # RFC 7162 §3.1.2.1: with every SELECT, asked for or not
        session.untagged_ok("the highest modseq", f"HIGHESTMODSEQ {max(mailbox.highest_modseq, 1)}")
        if self.resync is not None and self.resync.uidvalidity == mailbox.uidvalidity:
            await self._tell_changes(session, selected, self.resync)
        return Done(f"{mailbox.name} is selected", "READ-ONLY" if self.read_only else "READ-WRITE")

    async def _tell_changes(self, session: Session, selected: Selected, resync: Resync) -> None:
        """RFC 7162 §3.2.5.1: what went and what changed since the client was here."""
        view = selected.view
        remembered = await session.store.expunged(selected.mailbox.id, resync.modseq)
        gone = vanished(remembered, resync.known, view.gaps(), resync.unchanged_up_to(view.uids))
        for line in vanished_responses(gone, earlier=True):
            session.channel.write(line)
        for seq, uid in enumerate(view.uids, start=1):
            if view.rows[uid].modseq > resync.modseq and resync.asks_about(uid):
                session.channel.write(view.flags_line(seq, uid, modseq=True))
                await session.channel.flush(params.FLUSH_ABOVE)


class _Parameters:
    """SELECT's parameters as they are read."""

    def __init__(self) -> None:
        self.condstore = False
        self.resync: Resync | None = None

    def take(self, lexer: Lexer) -> None:
        parameter = lexer.word("a parameter")
        if parameter == "CONDSTORE":
            self.condstore = True
        elif parameter == "QRESYNC":
            lexer.space()
            self.resync = Resync.parse(lexer)
        else:
            raise Bad(f"SELECT has no parameter {parameter}")


@dataclass(frozen=True, slots=True)
class Examine:
    @classmethod
    def parse(cls, lexer: Lexer) -> Select:
        return replace(Select.parse(lexer), read_only=True)
