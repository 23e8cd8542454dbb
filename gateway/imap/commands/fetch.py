"""FETCH (RFC 3501 §6.4.5) and UID FETCH, with CHANGEDSINCE (RFC 7162 §3.1.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad, No
from gateway.imap.fetch_items import FetchItem, Item, Section, parse_fetch_items
from gateway.imap.fetch_response import NEEDS_PRECOMPUTED, FetchResponse
from gateway.imap.lexer import Lexer
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.session import Done, Session
from gateway.mailbox.errors import NoSuchMessage
from gateway.mailbox.model import SEEN


@dataclass(frozen=True, slots=True)
class Fetch:
    messages: SequenceSet
    items: tuple[FetchItem, ...]
    changed_since: int | None
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer, *, by_uid: bool = False) -> "Fetch":
        lexer.space()
        messages = lexer.sequence_set()
        lexer.space()
        items = parse_fetch_items(lexer)
        changed_since = None
        if lexer.skip(b" ("):
            modifier = lexer.word("a fetch modifier")
            if modifier != "CHANGEDSINCE":
                raise Bad(f"FETCH has no modifier {modifier}")
            lexer.space()
            changed_since = lexer.number(maximum=2**63 - 1)
            lexer.expect(b")")
            if Item.MODSEQ not in items:
                items = (*items, Item.MODSEQ)  # RFC 7162 §3.1.4.1: CHANGEDSINCE asks for it
        if by_uid and Item.UID not in items:
            items = (Item.UID, *items)  # RFC 3501 §6.4.8: UID is in every response to a UID command
        return cls(messages, items, changed_since, by_uid)

    async def run(self, session: Session) -> Done:
        if Item.MODSEQ in self.items:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        view = session.selection.view
        if self.by_uid:
            uids = self.messages.select(view.uids)
        else:
            uids = [view.uids[seq - 1] for seq in self.messages.positions(len(view))]
        if self.changed_since is not None:
            uids = [uid for uid in uids if view.rows[uid].modseq > self.changed_since]
        missing = 0
        for start in range(0, len(uids), params.FETCH_BATCH):
            missing += await self._batch(session, uids[start : start + params.FETCH_BATCH])
        if missing and not self.by_uid:
            raise No("some of these messages have been expunged", "EXPUNGEISSUED")  # RFC 5530
        return Done()

    async def _batch(self, session: Session, uids: Sequence[int]) -> int:
        """Answer for these messages; returns how many of them are gone."""
        selection = session.selection
        seen_now = await self._mark_seen(session, uids)
        session.tell_keywords()
        structures = {}
        if any(isinstance(item, Section) or item in NEEDS_PRECOMPUTED for item in self.items):
            structures = await session.store.precomputed(selection.mailbox.id, uids)
        missing = 0
        for uid in uids:
            items = self.items
            if uid in seen_now:
                # RFC 3501 §6.4.5: if \Seen is set now, say so; RFC 7162 §3.2: and with which modseq
                told = (Item.FLAGS, Item.MODSEQ) if session.condstore else (Item.FLAGS,)
                items = (*items, *(item for item in told if item not in items))
            try:
                await FetchResponse(session, uid, structures.get(uid)).send(items)
            except NoSuchMessage:
                missing += 1
            await session.channel.flush(params.FLUSH_ABOVE)
        return missing

    async def _mark_seen(self, session: Session, uids: Sequence[int]) -> frozenset[int]:
        """Set \\Seen where reading a body does that; returns the messages that did not have it."""
        selection = session.selection
        reads = any(isinstance(item, Section) and not item.peek for item in self.items)
        if not reads or selection.read_only:  # RFC 3501 §6.3.2: EXAMINE changes nothing
            return frozenset()
        unseen = [uid for uid in uids if SEEN not in selection.view.rows[uid].flags]
        if not unseen:
            return frozenset()
        result = await session.store.store_flags(selection.mailbox.id, unseen, "add", frozenset({SEEN}))
        for row in result.changed:
            selection.view.told(row)
        return frozenset(row.uid for row in result.changed)


@dataclass(frozen=True, slots=True)
class UidFetch:
    @classmethod
    def parse(cls, lexer: Lexer) -> Fetch:
        return Fetch.parse(lexer, by_uid=True)
