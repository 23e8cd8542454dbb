"""What clients do to messages: STORE, EXPUNGE, CLOSE."""

from tests.stress.client import Answer, Client
from tests.stress.history import Difference, Effect, Message, Mode, Op
from tests.stress.view import seq_numbers
from tests.stress.wire import numbers, set_of, word
from tests.stress.world import KEYWORDS

FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted", *KEYWORDS)
_STORED = (*FLAGS, "\\Deleted", "\\Deleted", "\\Seen")  # these more often
_SIGNS: dict[str, Mode] = {"": "set", "+": "add", "-": "remove"}


def refused(answer: Answer, why: bool) -> None:
    """A NO must have its reason."""
    if answer.tagged.name != "NO" or not why:
        raise Difference(f"answered {answer.tagged.name} {answer.tagged.code} {answer.tagged.text!r}")


def may_be_missing(client: Client, uids: list[int], moment: int) -> bool:
    """Whether some of the messages, or the mailbox, may have gone."""
    assert client.view is not None
    mailbox = client.view.mailbox
    found = [mailbox.messages.get(uid) for uid in uids]
    return mailbox.may_be_deleted(moment) or any(one is None or mailbox.may_be_gone(one, moment) for one in found)


def some_modseq(client: Client, uids: list[int]) -> int:
    """One that parts messages which have changed from others."""
    view = client.view
    assert view is not None
    told = [one.modseq for uid in uids if (one := view.told.get(uid)) is not None and one.modseq is not None]
    near = [each - client.chance.randrange(2) for each in told]
    return max(client.chance.choice([view.mailbox.modseq, view.safe_modseq, *near]), 1)


# ---- STORE


async def store(client: Client) -> None:
    view = client.view
    assert view is not None
    uids = client.some()
    if not uids:
        return
    by_uid = client.likely(0.5)
    sign = client.chance.choice(["", "+", "+", "+", "-", "-"])
    flags = list(dict.fromkeys(client.chance.choices(_STORED, k=client.chance.choice([1, 1, 2]))))
    folded = frozenset(flag.casefold() for flag in flags)
    silent = client.likely(0.4)
    since = some_modseq(client, uids) if client.condstore and client.likely(0.3) else None
    op = client.world.begin()
    effects = view.mailbox.begin_effect(op, uids if not view.read_only else [], _SIGNS[sign], folded)
    told_before = {uid: view.told[uid] for uid in uids if uid in view.told}
    if silent and not view.read_only:
        view.stored(uids, _SIGNS[sign], folded, op.start)
    named = set_of(uids if by_uid else seq_numbers(view, uids))
    condition = f"(UNCHANGEDSINCE {since}) " if since is not None else ""
    item = f"{sign}FLAGS{'.SILENT' if silent else ''} ({' '.join(flags)})"
    name = "UID STORE" if by_uid else "STORE"
    answer = await client.run(name, f"{name} {named} {condition}{item}", op)
    left = _modified(client, answer, by_uid=by_uid)
    if left and since is None:
        raise Difference("MODIFIED and nothing was asked about modseqs")
    after(client, {uid: effect for uid, effect in effects.items() if uid not in left}, op)
    if answer.ok and not view.read_only:
        _stored(client, answer, effects, left, since, silent=silent)
    else:
        refused(answer, view.read_only or may_be_missing(client, uids, op.end))
        # whether the others were changed is open
        op.sure = False
        for uid in uids:
            view.told.pop(uid, None)
    for uid in left:
        if uid in told_before and uid in view.told and view.told[uid].when == op.start:
            view.told[uid] = told_before[uid]
    client.settle(name, answer)


def after(client: Client, effects: dict[int, tuple[Message, Effect]], op: Op) -> None:
    """A command that changed flags is over: what it told last of each message is from after its effect."""
    assert client.view is not None
    for uid, (message, effect) in effects.items():
        told = client.view.told.get(uid)
        flags = told.flags if told is not None and told.when > op.start else None
        wrong = message.answered(effect, flags, op.end)
        if wrong is not None:
            raise Difference(f"UID {uid} is told to have {sorted(flags or ())} after this; {wrong} is not so")
        message.prune(client.world.horizon)


def _modified(client: Client, answer: Answer, *, by_uid: bool) -> list[int]:
    code = answer.tagged.coded("MODIFIED")
    assert client.view is not None
    if code is None:
        return []
    return [uid if by_uid else client.view.uids[uid - 1] or 0 for uid in numbers(code[0])]


def _stored(
    client: Client,
    answer: Answer,
    effects: dict[int, tuple[Message, Effect]],
    left: list[int],
    since: int | None,
    *,
    silent: bool,
) -> None:
    view, op = client.view, answer.op
    assert view is not None
    for uid, (message, effect) in effects.items():
        before = message.modseqs(op.start, op.end, without=effect)
        known = {each for each in before if each is not None}
        exact = known == before
        if uid in left:
            if exact and since is not None and all(each <= since for each in known):
                raise Difference(f"UID {uid} was left alone, though its modseq is {known}")
            message.effects.remove(effect)
            continue
        there = view.mailbox.must_be_there(message, op.start, op.end)
        if exact and known and since is not None and there and all(each > since for each in known):
            raise Difference(f"UID {uid} was changed, though its modseq is {known}, above {since}")
        told = view.told.get(uid)
        if told is not None and told.modseq is not None and told.when > op.start:
            effect.modseq = told.modseq
        if there and not silent and told is not None and told.when <= op.start:
            raise Difference(f"no FETCH for UID {uid}, whose flags were stored")
        if there:
            _note_change(client, message, effect, op)


def _note_change(client: Client, message: Message, effect: Effect, op: Op) -> None:
    """Where the message surely had other flags before, its modseq has grown above all that were told then."""
    assert client.view is not None
    others = [each for each in message.effects if each is not effect]
    before = Message(message.uid, message.born, effects=others)
    for flag in effect.flags:
        wanted = {"set": True, "add": True, "remove": False}[effect.mode]
        if before.flag(flag, op.start, op.end) == {not wanted}:
            client.view.mailbox.note_change(op)


# ---- away


async def expunge(client: Client) -> None:
    view = client.view
    assert view is not None
    uids = frozenset(client.some(8)) if client.likely(0.4) else None
    if uids is not None and not uids:
        return
    name = "EXPUNGE" if uids is None else "UID EXPUNGE"
    op = client.world.begin()
    expunging = view.mailbox.begin_expunging(op, uids)
    op.withdrawn = view.read_only
    answer = await client.run(name, "EXPUNGE" if uids is None else f"UID EXPUNGE {set_of(uids)}", op)
    if answer.ok and not view.read_only:
        view.mailbox.end_expunging(expunging, op.end)
    else:
        view.mailbox.expunges.remove(expunging)
        op.withdrawn = True
        refused(answer, view.read_only or view.mailbox.may_be_deleted(op.end))
    highest = answer.tagged.coded("HIGHESTMODSEQ")
    if highest is not None:
        view.safe_modseq = max(view.safe_modseq, int(word(highest[0])))
        view.mailbox.modseq = max(view.mailbox.modseq, view.safe_modseq)
    client.settle(name, answer)


async def close(client: Client) -> None:
    """CLOSE takes away what has \\Deleted and says nothing; UNSELECT takes nothing."""
    view = client.view
    assert view is not None
    name = client.chance.choice(["CLOSE", "UNSELECT"])
    op = client.world.begin()
    expunging = view.mailbox.begin_expunging(op, None)
    op.withdrawn = view.read_only or name == "UNSELECT"
    answer = await client.run(name, name, op)
    if not answer.ok:
        raise Difference(f"{name} was answered {answer.tagged.name}")
    if op.withdrawn:
        view.mailbox.expunges.remove(expunging)
    else:
        view.mailbox.end_expunging(expunging, op.end)
    client.remember()
    client.view = None
