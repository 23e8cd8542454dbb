"""SELECT and EXAMINE, and what a client that was away is told (RFC 7162 §3.2)."""

from tests.stress.changing import refused
from tests.stress.client import Answer, Cache, Client
from tests.stress.history import Difference, Op
from tests.stress.mailbox import Mailbox
from tests.stress.reading import identified, resolve
from tests.stress.view import RECENT, View
from tests.stress.wire import Value, number, numbers, pairs, set_of, words


async def select(client: Client) -> None:
    """Select a mailbox; where this client has a memory of it, resynchronise."""
    names = ["INBOX"] * 8 + ["Archive"] * 3 + ["Trash", *client.world.names]
    name = client.chance.choice(names)
    read_only = client.likely(0.15)
    op = client.world.begin()
    possible = {one for one in client.world.called(name, op.start, op.start + 1) if one}
    floors = {one: (one.top, one.modseq) for one in possible}
    known = [one.uidvalidity for one in possible if one.uidvalidity in client.caches]
    cache = client.caches.get(known[0]) if known and known[0] is not None and client.likely(0.8) else None
    parameter = ""
    named = cache is not None and bool(cache.flags) and client.likely(0.7)
    if cache is not None:
        parameter = f" (QRESYNC ({known[0]} {cache.modseq}{' ' + set_of(cache.flags) if named else ''}))"
    elif client.kind != "plain" and client.likely(0.2):
        parameter = " (CONDSTORE)"
        client.condstore = True
    client.remember()
    verb = "EXAMINE" if read_only else "SELECT"
    answer = await client.run(verb, f"{verb} {name}{parameter}", op)
    client.view = None
    if not answer.ok:
        refused(answer, None in client.world.called(name, op.start, op.end))
        return
    mailbox = _opened(client, answer, name, floors, read_only=read_only)
    assert client.view is not None
    exists = len(client.view.uids)
    if cache is not None and known[0] == mailbox.uidvalidity:
        await _resynchronise(client, answer, cache, news=not named)
    else:
        await resolve(client)
    _judge_recent(client, exists)


def _opened(
    client: Client, answer: Answer, name: str, floors: dict[Mailbox, tuple[int, int]], *, read_only: bool
) -> Mailbox:
    op = answer.op
    codes = {}
    for one in answer.untagged:
        if one.name == "OK" and one.code:
            codes[bytes(one.code[0] or b"").decode("ascii").upper() if isinstance(one.code[0], bytes) else ""] = (
                one.code[1:]
            )
    for needed in ("UIDVALIDITY", "UIDNEXT", "HIGHESTMODSEQ", "PERMANENTFLAGS"):
        if needed not in codes:
            raise Difference(f"{name} was selected without {needed}")
    mode = "READ-ONLY" if read_only else "READ-WRITE"
    if answer.tagged.coded(mode) is None:
        raise Difference(f"selected, and not said to be {mode}")
    mailbox = identified(client.world.called(name, op.start, op.end), number(codes["UIDVALIDITY"][0]), name)
    floor = floors.get(mailbox, (0, 0))
    mailbox.told_uidnext(number(codes["UIDNEXT"][0]), floor[0])
    highest = number(codes["HIGHESTMODSEQ"][0])
    mailbox.told_highest_modseq(highest, floor[1], op.start, op.end)
    view = client.view = View(mailbox, read_only, qresync=client.qresync, condstore=client.condstore)
    view.safe_modseq = highest
    for name_ in ("EXISTS", "FLAGS"):
        (line,) = answer.named(name_)
        view.take(line, op, op.end, numbers_in_use=True)
    if bool(answer.named("RECENT")) == client.rev2:
        raise Difference("RECENT belongs to IMAP4rev1, and to nothing else")
    for line in answer.named("RECENT"):
        view.take(line, op, op.end, numbers_in_use=True)
    expected, possible = len(mailbox.certain(op.start, op.end)), len(mailbox.candidates(op.start, op.end))
    if not expected <= len(view.uids) <= possible + mailbox.coming(op.end):
        raise Difference(f"{len(view.uids)} EXISTS in {mailbox.label}, not between {expected} and {possible}")
    return mailbox


async def _resynchronise(client: Client, answer: Answer, cache: Cache, *, news: bool) -> None:
    """Make of the memory and of what was told the mailbox as it is; then ask, and compare.

    `news`: messages that came are told too, since no UIDs were named.
    """
    view, op = client.view, answer.op
    assert view is not None
    flags = dict(cache.flags)
    vanished: set[int] = set()
    for line in answer.named("VANISHED"):
        view.take(line, op, op.end, numbers_in_use=True)
        vanished.update(numbers(line.values[-1]))
    for line in answer.named("FETCH"):
        view.take(line, op, op.end, numbers_in_use=True)
        items = pairs(line.values[0])
        flags[number(items["UID"])] = _flags(items["FLAGS"])
    remembered = {uid: its_flags for uid, its_flags in flags.items() if uid not in vanished}
    answer = await client.run("UID FETCH", "UID FETCH 1:* (FLAGS)")
    if not answer.ok:
        refused(answer, view.mailbox.may_be_deleted(answer.op.end))
    _compare(view, remembered, answer, op, news=news)


def _flags(value: Value) -> frozenset[str]:
    return frozenset(flag.decode("ascii").casefold() for flag in words(value)) - {RECENT}


def _compare(view: View, remembered: dict[int, frozenset[str]], answer: Answer, selected: Op, *, news: bool) -> None:
    mailbox = view.mailbox
    for uid, flags in remembered.items():
        message = mailbox.messages.get(uid)
        if message is None or message.surely_dead(selected.start):
            raise Difference(f"UID {uid} is gone, and no VANISHED told it to a client that was away")
        wrong = message.wrong_flag(flags, selected.start, selected.end)
        if wrong is not None and not mailbox.may_be_gone(message, selected.end):
            raise Difference(
                f"to a client that was away UID {uid} has {sorted(flags)}; {wrong} is not so: {message.story()}"
            )
    for uid in answer.fetched:
        message = mailbox.messages.get(uid)
        if (
            news
            and message is not None
            and uid not in remembered
            and mailbox.must_be_there(message, selected.start, selected.end)
        ):
            raise Difference(f"UID {uid} has come, and was not told to a client that was away")


def _judge_recent(client: Client, exists: int) -> None:
    """After SELECT, with all flags told: as many messages have \\Recent as RECENT says."""
    view = client.view
    assert view is not None
    marked = sum(told.recent for told in view.told.values())
    if len(view.told) == len(view.uids) == exists and view.recent is not None and marked != view.recent:
        raise Difference(f"{view.recent} RECENT, and {marked} messages with \\Recent")
