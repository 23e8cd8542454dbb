"""FETCH (RFC 3501 §6.4.5) and UID FETCH, with CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4, §3.2.6)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.imap import params
from gateway.imap.errors import Bad, No
from gateway.imap.fetch_items import FetchItem, Item
from gateway.imap.fetch_plan import FetchArguments, Plan
from gateway.imap.fetch_response import FetchResponse
from gateway.imap.fetch_values import responses_of_rows
from gateway.imap.lexer import Lexer
from gateway.imap.resync import known_ranges, vanished, vanished_responses
from gateway.imap.sequence_sets import SequenceSet
from gateway.imap.session import Done, Session
from gateway.mail.structure import STRUCTURED
from gateway.mailbox.errors import NoSuchMessage, StoreDamaged, StoreFull, TooLarge
from gateway.mailbox.model import SEEN, FlagsChanged, MessageRow
from gateway.mailbox.params import CONTENT_IN_ROW


@dataclass(frozen=True, slots=True)
class Fetch:
    messages: SequenceSet
    plan: Plan
    changed_since: int | None
    vanished: bool = False
    by_uid: bool = False

    @classmethod
    def parse(cls, lexer: Lexer, *, by_uid: bool = False) -> "Fetch":
        lexer.space()
        messages = lexer.sequence_set()
        lexer.space()
        arguments = FetchArguments.parse(lexer, by_uid=by_uid)
        return cls(messages, arguments.plan, arguments.changed_since, arguments.vanished, by_uid)

    async def run(self, session: Session) -> Done:
        if self.vanished and not session.qresync:
            raise Bad("VANISHED needs ENABLE QRESYNC first")  # RFC 7162 §3.2.6
        if Item.MODSEQ in self.plan.items:
            session.enabled.add("CONDSTORE")  # RFC 7162 §3.1: a CONDSTORE enabling command
        await session.absorb()
        view = session.selection.view
        uids = view.chosen(self.messages, by_uid=self.by_uid)
        if self.vanished:
            await self._tell_vanished(session)
        if self.changed_since is not None:
            uids = [uid for uid in uids if view.rows[uid].modseq > self.changed_since]
        outcome = _Outcome()
        for number, batch in enumerate(self._batches(uids, view.rows)):
            if number == 1:
                await session.channel.flush()  # the first responses leave at once
            await self._batch(session, batch, outcome)
            await session.channel.flush(params.FLUSH_ABOVE)
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

    def _batches(self, uids: Sequence[int], rows: Mapping[int, MessageRow]) -> Iterator[Sequence[int]]:
        """At most FETCH_BATCH messages at a time, and not more octets of them than the store may give at once."""
        if self.plan.octets == "all":
            of_each, together = CONTENT_IN_ROW, params.FETCH_OCTETS  # what is larger is not read at once
        else:
            of_each, together = STRUCTURED, params.FETCH_STRUCTURED
        batch: list[int] = []
        held = 0
        most = params.FETCH_FIRST  # so that the first response does not wait for many others
        for uid in uids:
            size = min(rows[uid].size, of_each)
            if batch and (len(batch) >= most or held + size > together):
                yield batch
                batch, held, most = [], 0, params.FETCH_BATCH
            batch.append(uid)
            held += size
        if batch:
            yield batch

    async def _batch(self, session: Session, uids: Sequence[int], outcome: "_Outcome") -> None:
        """Answer for these messages; those that are gone or cannot be answered for are noted."""
        seen_now = await self._mark_seen(session, uids)
        session.tell_keywords()
        view, channel = session.selection.view, session.channel
        numbered = view.numbered(uids)
        if not self.plan.needs_store:
            if Item.FLAGS in self.plan.items:
                view.told_flags(uids)
            channel.write(responses_of_rows(self.plan.items, view, numbered))
            outcome.missing = outcome.missing or len(numbered) < len(uids)
            return
        structures = await session.store.precomputed(session.selection.mailbox.id, uids, self.plan.octets)
        plan, plan_seen_now = self.plan, self._with_flags(session) if seen_now else self.plan
        answered = 0
        lines: list[bytes] = []
        held = 0
        for seq, row in numbered:
            structure = structures.get(row.uid)
            its_plan = plan_seen_now if row.uid in seen_now else plan
            try:
                line = its_plan.response(view, seq, row, structure)
            except NoSuchMessage:
                continue
            if line is not None:
                if Item.FLAGS in its_plan.items:
                    view.told_flags((row.uid,))
                answered += 1
                lines.append(line)
                held += len(line)
            if line is None or held > params.FLUSH_ABOVE:
                channel.write(b"".join(lines))
                lines.clear()
                held = 0
            if line is None:
                response = FetchResponse(session, row.uid, structure)
                answered += await self._read_and_send(response, its_plan.items, outcome)
            if not held:
                await channel.flush(params.FLUSH_ABOVE)
        channel.write(b"".join(lines))
        outcome.missing = outcome.missing or answered < len(uids)

    async def _read_and_send(self, response: FetchResponse, items: tuple[FetchItem, ...], outcome: "_Outcome") -> bool:
        """Whether the message was there."""
        try:
            await response.send(items)
        except NoSuchMessage:
            return False
        except No as refusal:
            outcome.refusal = refusal
        except StoreDamaged as damage:
            outcome.refusal = No(str(damage), damage.code)
        return True

    def _with_flags(self, session: Session) -> Plan:
        """RFC 3501 §6.4.5: if \\Seen is set now, say so; RFC 7162 §3.2: and with which modseq."""
        told = (Item.FLAGS, Item.MODSEQ) if session.condstore else (Item.FLAGS,)
        return self.plan.telling((*told, Item.UID) if session.qresync else told)

    async def _mark_seen(self, session: Session, uids: Sequence[int]) -> frozenset[int]:
        """Set \\Seen where reading a body does that; returns the messages that did not have it.

        Where it cannot be set (a full disk, a message with all the flags it may have) they are read without.
        """
        selection = session.selection
        if not self.plan.reads_body or selection.read_only:  # RFC 3501 §6.3.2: EXAMINE changes nothing
            return frozenset()
        unseen = [uid for uid in uids if SEEN not in selection.view.rows[uid].flags]
        if not unseen:
            return frozenset()
        try:
            result = await session.store.store_flags(selection.mailbox.id, unseen, "add", frozenset({SEEN}))
        except (StoreFull, TooLarge):
            return frozenset()
        # told by the message's response, or at the command's end where it gets none
        selection.view.absorb(map(FlagsChanged, result.changed))
        return frozenset(row.uid for row in result.changed)


@dataclass(slots=True)
class _Outcome:
    missing: bool = False  # some message is gone
    refusal: No | None = None  # some message cannot be given in the form that was asked for, or is damaged


@dataclass(frozen=True, slots=True)
class UidFetch:
    @classmethod
    def parse(cls, lexer: Lexer) -> Fetch:
        return Fetch.parse(lexer, by_uid=True)
