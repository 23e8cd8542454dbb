"""FETCH (RFC 3501 §6.4.5) and UID FETCH, with CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4, §3.2.6)."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad, No
from gateway.imap.fetch_items import Binary, FetchItem, Item, Section, parse_fetch_items
from gateway.imap.fetch_response import NEEDS_PRECOMPUTED, FetchResponse
from gateway.imap.lexer import Lexer
from gateway.imap.resync import known_ranges, vanished, vanished_responses
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.session import Done, Session
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.model import SEEN


@dataclass(frozen=True, slots=True)
class Fetch:
    messages: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None
    vanished: bool = False
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer, *, by_uid: bool = False) -> "Fetch":
        lexer.space()
        messages = lexer.sequence_set()
        lexer.space()
        items = parse_fetch_items(lexer)
        modifiers = _Modifiers()
        if lexer.skip(b" "):
            lexer.parenthesised(lambda: modifiers.take(lexer))
        if modifiers.vanished and (not by_uid or modifiers.changed_since is None):
            raise Bad("VANISHED belongs to UID FETCH with CHANGEDSINCE")  # RFC 7162 §3.2.6
        if modifiers.changed_since is not None and Item.MODSEQ not in items:
            items = (*items, Item.MODSEQ)  # RFC 7162 §3.1.4.1: CHANGEDSINCE asks for it
        if by_uid and Item.UID not in items:
            items = (Item.UID, *items)  # RFC 3501 §6.4.8: UID is in every response to a UID command
        return cls(messages, items, modifiers.changed_since, modifiers.vanished, by_uid)

    async def run(self, session: Session) -> Done:
        if self.vanished and not session.qresync:
            raise Bad("VANISHED needs ENABLE QRESYNC first")  # RFC 7162 §3.2.6
        if Item.MODSEQ in self.items:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        view = session.selection.view
        uids = view.chosen(self.messages, by_uid=self.by_uid)
        if self.vanished:
            await self._tell_vanished(session)
        if self.changed_since is not None:
            uids = [uid for uid in uids if view.rows[uid].modseq > self.changed_since]
        outcome = _Outcome()
        for start in range(0, len(uids), params.FETCH_BATCH):
            await self._batch(session, uids[start : start + params.FETCH_BATCH], outcome)
        if outcome.refusal is not None:
            raise outcome.refusal
        if outcome.missing and not self.by_uid:
            raise No("some of these messages have been expunged", "EXPUNGEISSUED")  # RFC 5530
        return Done()

    async def _tell_vanished(self, session: Session) -> None:
        """RFC 7162 §3.2.6: before any FETCH response."""
        assert self.changed_since is not None
        selection = session.selection
        remembered = await session.store.expunged(selection.mailbox.id, self.changed_since)
        known = known_ranges(self.messages, selection.view.largest_uid)
        for line in vanished_responses(vanished(remembered, known, selection.view.gaps()), earlier=True):
            session.channel.write(line)
            await session.channel.flush(params.FLUSH_ABOVE)

    async def _batch(self, session: Session, uids: Sequence[int], outcome: "_Outcome") -> None:
        """Answer for these messages; those that are gone or cannot be answered for are noted."""
        selection = session.selection
        seen_now = await self._mark_seen(session, uids)
        session.tell_keywords()
        structures = {}
        if any(isinstance(item, Section | Binary) or item in NEEDS_PRECOMPUTED for item in self.items):
            structures = await session.store.precomputed(selection.mailbox.id, uids)
        for uid in uids:
            items = self.items
            if uid in seen_now:
                # RFC 3501 §6.4.5: if \Seen is set now, say so; RFC 7162 §3.2: and with which modseq
                told = (Item.FLAGS, Item.MODSEQ) if session.condstore else (Item.FLAGS,)
                told = (*told, Item.UID) if session.qresync else told
                items = (*items, *(item for item in told if item not in items))
            try:
                await FetchResponse(session, uid, structures.get(uid)).send(items)
            except NoSuchMessage:
                outcome.missing = True
            except No as refusal:
                outcome.refusal = refusal
            await session.channel.flush(params.FLUSH_ABOVE)

    async def _mark_seen(self, session: Session, uids: Sequence[int]) -> frozenset[int]:
        """Set \\Seen where reading a body does that; returns the messages that did not have it."""
        selection = session.selection
        reads = any(isinstance(item, Section | Binary) and not item.peek for item in self.items)
        if not reads or selection.read_only:  # RFC 3501 §6.3.2: EXAMINE changes nothing
            return frozenset()
        unseen = [uid for uid in uids if SEEN not in selection.view.rows[uid].flags]
        if not unseen:
            return frozenset()
        result = await session.store.store_flags(selection.mailbox.id, unseen, "add", frozenset({SEEN}))
        for row in result.changed:
            selection.view.told(row)
        return frozenset(row.uid for row in result.changed)


class _Modifiers:
    """FETCH's modifiers as they are read."""

    def __init__(self) -> None:
        self.changed_since: int | None = None
        self.vanished = False

    def take(self, lexer: Lexer) -> None:
        modifier = lexer.word("a fetch modifier")
        if modifier == "CHANGEDSINCE":
            lexer.space()
            self.changed_since = lexer.number(maximum=2**63 - 1)
        elif modifier == "VANISHED":
            self.vanished = True
        else:
            raise Bad(f"FETCH has no modifier {modifier}")


@dataclass(slots=True)
class _Outcome:
    missing: bool = False  # some message is gone
    refusal: No | None = None  # some message cannot be given in the form that was asked for


@dataclass(frozen=True, slots=True)
class UidFetch:
    @classmethod
    def parse(cls, lexer: Lexer) -> Fetch:
        return Fetch.parse(lexer, by_uid=True)
