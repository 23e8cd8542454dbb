"""What clients ask: FETCH, STATUS, LIST, NOOP."""

from functools import partial

from tests.stress.changing import after, may_be_missing, refused, some_modseq
from tests.stress.client import Answer, Client, never
from tests.stress.history import DELETED, SEEN, Difference
from tests.stress.mailbox import Mailbox
from tests.stress.view import seq_numbers
from tests.stress.wire import number, pairs, set_of, word, words

_ITEMS = (
    "FLAGS", "UID", "RFC822.SIZE", "INTERNALDATE", "ENVELOPE", "BODYSTRUCTURE", "BODY.PEEK[]", "BODY.PEEK[TEXT]",
    "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1]", "BINARY.PEEK[1]", "BINARY.SIZE[1]", "BODY.PEEK[]<7.20>",
    "RFC822.HEADER",
)  # fmt: skip
_LIGHT = ("FLAGS", "UID", "RFC822.SIZE")  # what a server has at hand
_READING = ("BODY[]", "RFC822", "BINARY[1]")  # set \Seen (RFC 9051 §6.4.5)
_RETURNED = {"BODY.PEEK[]<7.20>": "BODY[]<7>"}


async def fetch(client: Client) -> None:
    """FETCH of something, sometimes only of what changed since."""
    view = client.view
    assert view is not None
    everything = client.likely(0.2)
    known = [uid for uid in view.uids if uid is not None]
    uids = known if everything else client.some()
    if not uids:
        return
    by_uid = client.likely(0.5)
    since = some_modseq(client, uids) if client.condstore and client.likely(0.25) else None
    items = _chosen(client, reading=client.likely(0.15) and not everything and since is None)
    op = client.world.begin()
    reads = not view.read_only and any(item in _READING for item in items)
    effects = view.mailbox.begin_effect(op, uids, "add", frozenset({SEEN})) if reads else {}
    named = set_of(uids if by_uid else seq_numbers(view, uids))
    name = "UID FETCH" if by_uid else "FETCH"
    modifier = f" (CHANGEDSINCE {since})" if since is not None else ""
    client.may_break = partial(_goes_while_it_is_sent, client, uids)
    answer = await client.run(name, f"{name} {named} ({' '.join(items)}){modifier}", op)
    client.may_break = never
    after(client, effects, op)
    if answer.ok:
        _complete(client, answer, uids, items, since)
    else:
        op.sure = False  # whether the others are \Seen now is open
        refused(answer, may_be_missing(client, uids, op.end))
    client.settle(name, answer)


def _chosen(client: Client, *, reading: bool) -> list[str]:
    light = client.likely(0.4)
    items = client.chance.sample(_LIGHT if light else _ITEMS, client.chance.randint(1, 2 if light else 4))
    if reading:
        items.append(client.chance.choice(_READING))
    if client.likely(0.4) and client.kind != "plain":
        items.append("MODSEQ")
        client.condstore = True  # RFC 7162 §3.1: FETCH MODSEQ enables
    return items


def _goes_while_it_is_sent(client: Client, uids: list[int]) -> bool:
    """A large message that another session expunges in the middle of its literal: nothing can end that."""
    assert client.view is not None
    found = [message for uid in uids if (message := client.view.mailbox.messages.get(uid)) is not None]
    large = [one for one in found if one.content is None or len(one.content.octets) > 60_000]
    return any(client.view.mailbox.may_be_gone(one, client.world.clock.now) for one in large)


def _complete(client: Client, answer: Answer, uids: list[int], items: list[str], since: int | None) -> None:
    """Every message that was surely there has all items that were asked for, or none if it has not changed since."""
    assert client.view is not None
    op, mailbox = answer.op, client.view.mailbox
    for uid in uids:
        message = mailbox.messages.get(uid)
        if message is None or not mailbox.must_be_there(message, op.start, op.end):
            continue
        got = answer.fetched.get(uid, {})
        lacking = [item for item in items if _RETURNED.get(item, item.replace(".PEEK", "")) not in got]
        if since is not None:
            modseqs = message.modseqs(op.start, op.end)
            if None in modseqs or any(each <= since for each in modseqs if each is not None):
                lacking = lacking if got and "FLAGS" not in got else []
        if lacking:
            raise Difference(f"FETCH of UID {uid} has no {lacking}")


async def noop(client: Client) -> None:
    name = client.chance.choice(["NOOP", "NOOP", "CHECK"])
    await client.must(name, name)


async def resolve(client: Client) -> None:
    """Ask for UID and flags of every message that has been announced only."""
    view = client.view
    assert view is not None
    if None not in view.uids:
        return
    first = view.uids.index(None) + 1
    items = "UID FLAGS MODSEQ" if client.condstore else "UID FLAGS"
    answer = await client.run("FETCH", f"FETCH {first}:{len(view.uids)} ({items})")
    if not answer.ok:
        refused(answer, bool(view.mailbox.expunges) or _something_went(view.mailbox, answer.op.end))
    client.settle("FETCH", answer)


def _something_went(mailbox: Mailbox, moment: int) -> bool:
    return (
        mailbox.may_be_deleted(moment)
        or bool(mailbox.dead)
        or any(mailbox.may_be_gone(one, moment) for one in mailbox.messages.values())
    )


async def status(client: Client) -> None:
    name = client.chance.choice(sorted(client.world.names))
    items = ["MESSAGES", "UNSEEN", "DELETED", "SIZE", "UIDNEXT", "UIDVALIDITY"]
    if client.condstore:
        items.append("HIGHESTMODSEQ")
    op = client.world.begin()
    floors = {one: (one.top, one.modseq) for one in client.world.called(name, op.start, op.start + 1) if one}
    answer = await client.run("STATUS", f"STATUS {name} ({' '.join(items)})", op)
    possible = client.world.called(name, op.start, op.end)
    if not answer.ok:
        refused(answer, None in possible)
    else:
        (line,) = answer.named("STATUS")
        values = {each: number(value) for each, value in pairs(line.values[1]).items()}
        mailbox = identified(possible, values["UIDVALIDITY"], name)
        judge_status(mailbox, values, op.start, op.end, floors.get(mailbox, (0, 0)))
    client.settle("STATUS", answer)


def identified(possible: set[Mailbox | None], uidvalidity: int, name: str) -> Mailbox:
    """The mailbox that has this UIDVALIDITY, of those that the name may stand for."""
    boxes = [one for one in possible if one is not None]
    for one in boxes:
        if one.uidvalidity == uidvalidity:
            return one
    unknown = [one for one in boxes if one.uidvalidity is None]
    if len(unknown) == 1:
        unknown[0].uidvalidity = uidvalidity
        return unknown[0]
    raise Difference(f"{name} has UIDVALIDITY {uidvalidity}, and is {[(one.label, one.uidvalidity) for one in boxes]}")


def judge_status(mailbox: Mailbox, values: dict[str, int], start: int, end: int, floors: tuple[int, int]) -> None:
    """Every counter lies between what it must be at least and what it may be at most."""
    surely, perhaps = mailbox.certain(start, end), mailbox.candidates(start, end)
    coming = mailbox.coming(end)
    unknown = coming or any(one.content is None for one in perhaps)
    bounds: dict[str, tuple[int, int | None]] = {
        "MESSAGES": (len(surely), len(perhaps) + coming),
        "UNSEEN": (
            sum(True not in one.flag(SEEN, start, end) for one in surely),
            sum(False in one.flag(SEEN, start, end) or not one.explained for one in perhaps) + coming,
        ),
        "DELETED": (
            sum(False not in one.flag(DELETED, start, end) for one in surely),
            sum(True in one.flag(DELETED, start, end) or not one.explained for one in perhaps) + coming,
        ),
        "SIZE": (
            sum(len(one.content.octets) for one in surely if one.content),
            None if unknown else sum(len(one.content.octets) for one in perhaps if one.content),
        ),
    }
    for item, (low, high) in bounds.items():
        if values[item] < low or (high is not None and values[item] > high):
            raise Difference(f"STATUS {mailbox.label} has {item} {values[item]}, not between {low} and {high}")
    mailbox.told_uidnext(values["UIDNEXT"], floors[0])
    if "HIGHESTMODSEQ" in values:
        mailbox.told_highest_modseq(values["HIGHESTMODSEQ"], floors[1], start, end)


async def listing(client: Client) -> None:
    """LIST of everything: each name that surely exists, none that surely does not."""
    answer = await client.run("LIST", client.chance.choice(['LIST "" "*"', 'LIST "" (*) RETURN (CHILDREN SUBSCRIBED)']))
    if not answer.ok:
        raise Difference(f"LIST was answered {answer.tagged.name}")
    op, world = answer.op, client.world
    listed = {
        word(one.values[2]).decode("ascii"): {each.lower() for each in words(one.values[0])}
        for one in answer.named("LIST")
    }
    for name in listed.keys() | world.names.keys():
        possible = world.called(name, op.start, op.end)
        if name not in listed and None not in possible:
            raise Difference(f"LIST leaves {name} out")
        if name in listed and possible == {None}:
            raise Difference(f"LIST names {name}, which is not there")
    for name, attributes in listed.items():
        if (b"\\haschildren" in attributes) != any(other.startswith(name + "/") for other in listed):
            raise Difference(f"LIST says {sorted(attributes)} of {name}")
    client.settle("LIST", answer)
