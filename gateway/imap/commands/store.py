"""STORE (RFC 3501 §6.4.6) and UID STORE, with UNCHANGEDSINCE (RFC 7162 §3.1.3)."""

from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad, No
from gateway.imap.flags import parse_flags
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet, format_sequence_set
from gateway.imap.session import Done, Session
from gateway.mailbox.model import FlagMode, MessageRow


@dataclass(frozen=True, slots=True)
class Store:
    messages: SequenceSet
    mode: FlagMode
    silent: bool
    flags: frozenset[str]
    unchanged_since: int | None
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer, *, by_uid: bool = False) -> "Store":
        lexer.space()
        messages = lexer.sequence_set()
        unchanged_since = None
        if lexer.skip(b" (UNCHANGEDSINCE "):
            unchanged_since = lexer.number64()
            lexer.expect(b")")
        lexer.space()
        mode: FlagMode = "add" if lexer.skip(b"+") else "remove" if lexer.skip(b"-") else "replace"
        item = lexer.word("FLAGS")
        if item not in ("FLAGS", "FLAGS.SILENT"):
            raise Bad(f"STORE has no item {item}")
        lexer.space()
        if lexer.peek(b"("):
            names = lexer.parenthesised(lexer.flag, empty=True)
        else:
            names = [lexer.flag()]
            while not lexer.at_end and lexer.skip(b" ") and not lexer.at_end:
                names.append(lexer.flag())
        return cls(messages, mode, item == "FLAGS.SILENT", parse_flags(names), unchanged_since, by_uid)

    async def run(self, session: Session) -> Done:
        selection = session.writable_selection
        if self.unchanged_since is not None:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        view = selection.view
        uids = view.chosen(self.messages, by_uid=self.by_uid)
        result = await session.store.store_flags(
            selection.mailbox.id, uids, self.mode, self.flags, self.unchanged_since
        )
        for row in result.changed:
            self._answer(session, row)
            await session.channel.flush(params.FLUSH_ABOVE)
        code = None
        if result.modified:
            named = result.modified if self.by_uid else [view.seq(uid) or 0 for uid in result.modified]
            code = f"MODIFIED {format_sequence_set(named)}"
        if not self.by_uid and len(result.changed) + len(result.modified) < len(uids):
            raise No("some of these messages have been expunged", "EXPUNGEISSUED")  # RFC 5530
        return Done(code=code)

    def _answer(self, session: Session, row: MessageRow) -> None:
        view = session.selection.view
        seq = view.seq(row.uid)
        if seq is None:
            return
        expected = _folded(self._result(view.rows[row.uid].flags))
        changed = row.modseq != view.rows[row.uid].modseq
        silent = self.silent and not view.is_untold(row.uid)
        view.told(row)
        session.tell_keywords()
        items: list[bytes] = [b"UID %d" % row.uid] if self.by_uid or session.qresync else []
        # RFC 3501 §6.4.6: .SILENT leaves out only what the client can work out by itself
        if not silent or expected != _folded(row.flags):
            items.append(b"FLAGS " + view.flags_list(row.uid))
        elif not (session.condstore and changed):
            return
        if session.condstore:
            items.append(b"MODSEQ (%d)" % row.modseq)  # RFC 7162 §3.1.3: with .SILENT as well
        session.untagged(b"%d FETCH (%s)" % (seq, b" ".join(items)))

    def _result(self, before: frozenset[str]) -> frozenset[str]:
        if self.mode == "add":
            return before | self.flags
        if self.mode == "remove":
            removed = _folded(self.flags)
            return frozenset(flag for flag in before if flag.casefold() not in removed)
        return self.flags


@dataclass(frozen=True, slots=True)
class UidStore:
    @classmethod
    def parse(cls, lexer: Lexer) -> Store:
        return Store.parse(lexer, by_uid=True)


def _folded(flags: frozenset[str]) -> frozenset[str]:
    return frozenset(flag.casefold() for flag in flags)
