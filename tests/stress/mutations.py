"""Broken servers, by name: each breaks one promise, and the run against it must end with a difference.

Applied where the server runs, before it starts.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from gateway.imap import execution, listing
from gateway.imap.commands import COMMANDS, close, copy, expunge, fetch, idle, store
from gateway.imap.commands import list as list_command
from gateway.imap.commands import move as move_command
from gateway.imap.session import Done, Session
from gateway.imap.state import RULES, News, Rule
from gateway.imap.view import View
from gateway.mailbox import flags, mailboxes, messages, rows
from gateway.mailbox.database import Database, Transaction
from gateway.mailbox.model import SYSTEM_FLAGS, FlagsChanged, Mailbox, MessageRow
from gateway.mailbox.rows import Held, Placed
from gateway.mailbox.store import MailStore
from gateway.mailbox.tracker import Tracker

Put = Callable[[Any, str, Any], None]  # setattr, or one that can be undone
Apply = Callable[[Put], None]
MUTATIONS: dict[str, "Mutation"] = {}


@dataclass(frozen=True, slots=True)
class Mutation:
    """`dies`: the server ends by itself, and is started again."""

    apply: Apply
    dies: bool = False


def _mutation(apply: Apply) -> Apply:
    MUTATIONS[apply.__name__] = Mutation(apply)
    return apply


# ---- what a session is told


@_mutation
def an_expunge_is_not_announced(put: Put) -> None:
    told = View._announce_expunges
    put(View, "_announce_expunges", lambda self, *, vanished: told(self, vanished=vanished).partition(b"\r\n")[2])


@_mutation
def news_of_flags_have_the_next_number(put: Put) -> None:
    told = View.flags_line
    put(View, "flags_line", lambda self, seq, uid, *, modseq: told(self, min(seq + 1, len(self)), uid, modseq=modseq))


@_mutation
def expunge_during_fetch(put: Put) -> None:
    _news_of("FETCH", put)


@_mutation
def expunge_during_store(put: Put) -> None:
    _news_of("STORE", put)


def _news_of(command: str, put: Put) -> None:
    rules = dict(RULES)
    rules[command] = Rule(rules[command].states, News.ALL)
    put(execution, "RULES", rules)


@_mutation
def exists_counts_without_the_expunged(put: Put) -> None:
    def arrivals(self: View, *, recent: bool) -> bytes:
        for uid, row in self._arrived.items():
            self.uids.append(uid)
            self._know(row)
        self._arrived.clear()
        return b"* %d EXISTS\r\n" % (len(self.uids) - len(self._gone))

    put(View, "_announce_arrivals", arrivals)


@_mutation
def other_sessions_miss_changed_flags(put: Put) -> None:
    publish = Tracker.publish
    turns = count()

    def forgetful(self: Tracker, changes: Iterable[Any], gone: Iterable[int]) -> None:
        kept = [one for one in changes if not isinstance(one[1], FlagsChanged) or next(turns) % 3]
        publish(self, kept, gone)

    put(Tracker, "publish", forgetful)


@_mutation
def new_keywords_are_not_defined(put: Put) -> None:
    put(View, "announce_keywords", lambda self: b"")


@_mutation
def seen_is_set_and_not_told(put: Put) -> None:
    mark = fetch.Fetch._mark_seen

    async def silently(self: fetch.Fetch, session: Session, uids: Sequence[int]) -> frozenset[int]:
        await mark(self, session, uids)
        return frozenset()

    put(fetch.Fetch, "_mark_seen", silently)


@_mutation
def idle_misses_what_came_before(put: Put) -> None:
    async def run(self: idle.Idle, session: Session) -> Done:
        session.channel.write(b"+ idling\r\n")
        await session.channel.flush()
        if session.selected is not None:
            session.selected.watch._news.clear()
        line = await session.channel.read_line()
        assert line.upper() == b"DONE"
        return Done()

    put(idle.Idle, "run", run)


@_mutation
def copy_leaves_out_the_expunged(put: Put) -> None:
    to_place = messages._to_place
    put(View, "is_gone", lambda self, uid: False)
    put(
        messages,
        "_to_place",
        lambda database, mailbox_id, uids, name, all_or_none: to_place(database, mailbox_id, uids, name, False),
    )


# ---- numbers that are promised


@_mutation
def uids_are_given_again(put: Put) -> None:
    def take_out(transaction: Transaction, mailbox_id: int, held: Sequence[Held]) -> None:
        rows.take_out(transaction, mailbox_id, held)
        transaction.connection.execute(
            "UPDATE mailboxes SET uidnext = 1 + (SELECT coalesce(max(uid), 0) FROM messages WHERE mailbox_id = ?1)"
            " WHERE id = ?1",
            (mailbox_id,),
        )

    put(messages, "take_out", take_out)


@_mutation
def uidnext_is_too_low(put: Put) -> None:
    made = mailboxes._mailbox

    def lower(row: tuple[Any, ...]) -> Mailbox:
        box = made(row)
        return replace(box, uidnext=max(box.uidnext - 1, 1))

    put(mailboxes, "_mailbox", lower)


@_mutation
def copyuid_is_in_another_order(put: Put) -> None:
    def code(uidvalidity: int, pairs: Iterable[tuple[int, int]]) -> str | None:
        pairs = list(pairs)
        turned = [new for _, new in pairs][::-1]
        return copy_code(uidvalidity, zip([old for old, _ in pairs], turned, strict=True))

    copy_code = copy.copy_code
    put(copy, "copy_code", code)
    put(move_command, "copy_code", code)


@_mutation
def flags_change_under_the_same_modseq(put: Put) -> None:
    def reflag(
        transaction: Transaction, mailbox_id: int, changes: Sequence[tuple[MessageRow, frozenset[str]]]
    ) -> tuple[MessageRow, ...]:
        changed = rows.reflag(transaction, mailbox_id, changes)
        for row, _ in changes:
            transaction.connection.execute(
                "UPDATE messages SET modseq = ? WHERE mailbox_id = ? AND uid = ?", (row.modseq, mailbox_id, row.uid)
            )
        return changed

    put(flags, "reflag", reflag)


@_mutation
def unchangedsince_is_not_heeded(put: Put) -> None:
    stored = flags.store_flags
    put(flags, "store_flags", lambda *given: stored(given[0], given[1], given[2], given[3], given[4], None))


@_mutation
def expunged_uids_are_not_remembered(put: Put) -> None:
    put(rows, "remember", lambda *arguments: None)


@_mutation
def modseqs_are_counted_anew_at_start(put: Put) -> None:
    opened = Database.open

    def again(*arguments: Any) -> Database:
        database = opened(*arguments)
        database.connection.execute(
            "UPDATE mailboxes SET highest_modseq ="
            " (SELECT coalesce(max(modseq), 1) FROM messages WHERE mailbox_id = mailboxes.id)"
        )
        return database

    put(Database, "open", again)


@_mutation
def changedsince_is_one_too_high(put: Put) -> None:
    parse = fetch.Fetch.parse.__func__  # type: ignore[attr-defined]

    def later(cls: type[fetch.Fetch], lexer: Any, *, by_uid: bool = False) -> fetch.Fetch:
        request: fetch.Fetch = parse(cls, lexer, by_uid=by_uid)
        since = request.changed_since
        return replace(request, changed_since=since + 1) if since is not None else request

    put(fetch.Fetch, "parse", classmethod(later))


# ---- what is kept


@_mutation
def copies_lose_their_keywords(put: Put) -> None:
    def without(database: Database, mailbox_id: int, uids: Sequence[int] | None) -> list[Held]:
        found = rows.held(database, mailbox_id, uids)
        return [replace(one, placed=replace(one.placed, flags=one.placed.flags & SYSTEM_FLAGS)) for one in found]

    put(messages, "held", without)


@_mutation
def copies_lose_their_internal_date(put: Put) -> None:
    def place(transaction: Transaction, mailbox_id: int, placed: Sequence[Placed]) -> tuple[int, ...]:
        return rows.place(transaction, mailbox_id, [replace(one, internal_date=1_000_000_000) for one in placed])

    put(messages, "place", place)


@_mutation
def unseen_is_not_counted(put: Put) -> None:
    def reflag(
        transaction: Transaction, mailbox_id: int, changes: Sequence[tuple[MessageRow, frozenset[str]]]
    ) -> tuple[MessageRow, ...]:
        counter = transaction.connection.execute("SELECT unseen FROM mailboxes WHERE id = ?", (mailbox_id,))
        ((unseen,),) = list(counter)
        changed = rows.reflag(transaction, mailbox_id, changes)
        transaction.connection.execute("UPDATE mailboxes SET unseen = ? WHERE id = ?", (unseen, mailbox_id))
        return changed

    put(flags, "reflag", reflag)


@_mutation
def close_expunges_nothing(put: Put) -> None:
    async def run(self: close.Close, session: Session) -> Done:
        await session.deselect()
        return Done()

    put(close.Close, "run", run)


@_mutation
def uid_expunge_takes_all(put: Put) -> None:
    put(expunge.UidExpunge, "parse", lambda lexer: (lexer.space(), lexer.sequence_set(), expunge.Expunge())[-1])
    commands = dict(COMMANDS)
    commands["UID EXPUNGE"] = expunge.UidExpunge.parse
    put(execution, "COMMANDS", commands)


@_mutation
def replacing_flags_adds_them(put: Put) -> None:
    combined = flags.combined
    put(flags, "combined", lambda old, mode, given: combined(old, "add" if mode == "replace" else mode, given))


@_mutation
def examine_changes_flags(put: Put) -> None:
    run = store.Store.run

    async def freely(self: store.Store, session: Session) -> Done:
        session.selection.read_only = False
        return await run(self, session)

    put(store.Store, "run", freely)


@_mutation
def search_leaves_one_out(put: Put) -> None:
    search = MailStore.search

    async def most(self: MailStore, mailbox_id: int, query: Any) -> tuple[int, ...]:
        found = await search(self, mailbox_id, query)
        return found[:-1] if len(found) > 1 else found

    put(MailStore, "search", most)


@_mutation
def list_leaves_the_last_out(put: Put) -> None:
    entries = listing.list_entries

    def most(*arguments: Any, **named: Any) -> Iterator[Any]:
        yield from list(entries(*arguments, **named))[:-1]

    put(list_command, "list_entries", most)


def _move_in_two_steps(put: Put) -> None:
    turns = count(1)

    def move(
        transaction: Transaction, mailbox_id: int, uids: Sequence[int], destination: str, _all_or_none: bool = False
    ) -> tuple[int, tuple[tuple[int, int], ...]]:
        """Take away, commit, and then put there: a crash between the two loses the messages."""
        target = mailboxes.by_name(transaction.database, destination)
        found = rows.held(transaction.database, mailbox_id, uids)
        rows.take_out(transaction, mailbox_id, found)
        if found and next(turns) % 4 == 0:
            transaction.connection.execute("COMMIT")
            os._exit(9)
        new = rows.place(transaction, target.id, [one.placed for one in found])
        return target.uidvalidity, tuple(zip((one.uid for one in found), new, strict=True))

    put(messages, "move", move)


MUTATIONS["a_crash_in_move_loses_messages"] = Mutation(_move_in_two_steps, dies=True)
