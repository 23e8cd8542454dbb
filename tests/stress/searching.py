"""SEARCH with random keys: each message must be found, must not, or may be, and the answer is held against that."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.stress.changing import refused
from tests.stress.client import Answer, Client
from tests.stress.history import Content, Difference, Message, Op
from tests.stress.view import View, seq_numbers
from tests.stress.wire import Value, number, numbers, set_of, word
from tests.stress.world import KEYWORDS, SENDERS, WORDS

Verdict = frozenset[bool]
"""What a key may be for a message: both where it is open."""

BOTH: Verdict = frozenset({True, False})
_FLAGS = ("ANSWERED", "DELETED", "DRAFT", "FLAGGED", "SEEN")


@dataclass(frozen=True, slots=True)
class Key:
    """A search key as it is written, and what it may be for a message during an operation."""

    text: str
    judge: Callable[[Message, Op], Verdict]


def key(client: Client, view: View, depth: int = 2) -> Key:
    """A random search key."""
    chance = client.chance
    if depth and client.likely(0.35):
        kind = chance.choice(["NOT", "OR", "AND"])
        a = key(client, view, depth - 1)
        if kind == "NOT":
            return Key(f"NOT {a.text}", lambda message, op: frozenset(not each for each in a.judge(message, op)))
        b = key(client, view, depth - 1)
        if kind == "OR":
            return Key(f"OR {a.text} {b.text}", lambda one, op: _combined(any, a.judge(one, op), b.judge(one, op)))
        return Key(f"({a.text} {b.text})", lambda one, op: _combined(all, a.judge(one, op), b.judge(one, op)))
    return chance.choice([_flag, _flag, _keyword, _words, _size, _uids, _numbers, _day, _modseq])(client, view)


def _combined(how: Callable[[tuple[bool, bool]], bool], some: Verdict, others: Verdict) -> Verdict:
    return frozenset(how((one, other)) for one in some for other in others)


def _flag(client: Client, view: View) -> Key:
    name = client.chance.choice(_FLAGS)
    wanted = client.likely(0.5)
    flag = "\\" + name.lower()
    return Key(name if wanted else f"UN{name}", lambda one, op: _has(one, flag, op, wanted=wanted))


def _keyword(client: Client, view: View) -> Key:
    name = client.chance.choice(KEYWORDS)
    wanted = client.likely(0.7)
    return Key(f"{'' if wanted else 'UN'}KEYWORD {name}", lambda one, op: _has(one, name.casefold(), op, wanted=wanted))


def _has(message: Message, flag: str, op: Op, *, wanted: bool) -> Verdict:
    if not message.explained:
        return BOTH
    return frozenset(value == wanted for value in message.flag(flag, op.start, op.end))


def _words(client: Client, view: View) -> Key:
    chance = client.chance
    text, sender = chance.choice(WORDS), chance.choice(SENDERS)
    if client.likely(0.3):
        return Key(f"FROM {sender}", lambda one, op: _of_content(one, lambda: sender in _content(one).sender))
    if client.likely(0.4):
        return Key(f"SUBJECT {text.upper()}", lambda one, op: _of_content(one, lambda: text in _content(one).subject))
    if client.likely(0.5):
        return Key(f"BODY {text}", lambda one, op: _of_content(one, lambda: text in _content(one).text))
    mark = chance.randint(1, client.world.marks or 1)
    header = f"<{mark}@stress.example>"
    return Key(f'HEADER Message-ID "{header}"', lambda one, op: _of_content(one, lambda: _content(one).mark == mark))


def _size(client: Client, view: View) -> Key:
    size = client.chance.randrange(150, 450)
    if client.likely(0.5):
        return Key(f"LARGER {size}", lambda one, op: _of_content(one, lambda: len(_content(one).octets) > size))
    return Key(f"SMALLER {size}", lambda one, op: _of_content(one, lambda: len(_content(one).octets) < size))


def _uids(client: Client, view: View) -> Key:
    uids = client.some(6)
    if not uids:
        return Key("ALL", lambda one, op: frozenset({True}))
    return Key(f"UID {set_of(uids)}", lambda one, op: frozenset({one.uid in uids}))


def _numbers(client: Client, view: View) -> Key:
    uids = client.some(6)
    if not uids:
        return Key("ALL", lambda one, op: frozenset({True}))
    return Key(set_of(seq_numbers(view, uids)), lambda one, op: frozenset({one.uid in uids}))


def _day(client: Client, view: View) -> Key:
    day = client.chance.randrange(1, 29)
    name = client.chance.choice(["BEFORE", "ON", "SINCE", "SENTBEFORE", "SENTON", "SENTSINCE"])
    kind = name.removeprefix("SENT")
    test = {"BEFORE": int.__lt__, "ON": int.__eq__, "SINCE": int.__ge__}[kind]
    return Key(f"{name} {day}-Mar-2026", lambda one, op: _of_content(one, lambda: test(_content(one).day, day)))


def _modseq(client: Client, view: View) -> Key:
    if not client.condstore:
        return _flag(client, view)
    modseq = max(view.safe_modseq, 1)

    def judge(message: Message, op: Op) -> Verdict:
        possible = message.modseqs(op.start, op.end)
        if None in possible or not possible:
            return BOTH
        return frozenset(each >= modseq for each in possible if each is not None)

    return Key(f"MODSEQ {modseq}", judge)


def _content(message: Message) -> Content:
    assert message.content is not None
    return message.content


def _of_content(message: Message, test: Callable[[], bool]) -> Verdict:
    return BOTH if message.content is None else frozenset({test()})


# ---- the command


async def search(client: Client) -> None:
    view = client.view
    assert view is not None
    wanted = key(client, view)
    by_uid = client.likely(0.5)
    returns = client.chance.choice(["", "", "RETURN () ", "RETURN (MIN MAX COUNT) ", "RETURN (ALL COUNT) "])
    name = "UID SEARCH" if by_uid else "SEARCH"
    before = list(view.uids)
    answer = await client.run(name, f"{name} {returns}{wanted.text}")
    if answer.ok:
        _judge(client, answer, wanted, before, returns, by_uid=by_uid)
    else:
        refused(answer, view.mailbox.may_be_deleted(answer.op.end))
    client.settle(name, answer)


async def save(client: Client) -> None:
    """SEARCH RETURN (SAVE), and a FETCH of what it saved (RFC 5182)."""
    view = client.view
    assert view is not None
    wanted = key(client, view)
    places = [uid for uid in view.uids if uid is not None]
    searched = await client.run("SEARCH", f"SEARCH RETURN (SAVE) {wanted.text}")
    fetched = await client.run("FETCH", "FETCH $ (UID RFC822.SIZE)") if searched.ok else searched
    if not fetched.ok or searched.named("ESEARCH"):
        refused(fetched, view.mailbox.may_be_deleted(fetched.op.end))
    elif len(places) == len(view.uids):
        told = {uid for uid, items in fetched.fetched.items() if "RFC822.SIZE" in items}  # and not only as news
        must, may = _verdicts(view, searched.op, wanted, places)
        lasting = {uid for uid in must if not view.mailbox.may_be_gone(view.mailbox.message(uid), fetched.op.end)}
        _compare({"ALL": set_of(told).encode("ascii") if told else None}, lasting, may)
    client.settle("FETCH", fetched)


def _verdicts(view: View, op: Op, wanted: Key, uids: list[int]) -> tuple[set[int], set[int]]:
    """UIDs that must be found, and that may be."""
    must, may = set[int](), set[int]()
    for uid in uids:
        message = view.mailbox.messages.get(uid)
        if message is None or not view.mailbox.may_be_there(message, op.start, op.end):
            continue
        verdict = wanted.judge(message, op)
        if True in verdict:
            may.add(uid)
            if False not in verdict and view.mailbox.must_be_there(message, op.start, op.end):
                must.add(uid)
    return must, may


def _judge(client: Client, answer: Answer, wanted: Key, uids: list[int | None], returns: str, *, by_uid: bool) -> None:
    assert client.view is not None
    found = _found(answer, extended=bool(returns) or client.rev2)
    if None in uids:
        return  # what the numbers stand for is not known
    known = [uid for uid in uids if uid is not None]
    must, may = _verdicts(client.view, answer.op, wanted, known)
    if not by_uid:
        places = {uid: place for place, uid in enumerate(known, start=1)}
        must, may = {places[uid] for uid in must}, {places[uid] for uid in may}
    _compare(found, must, may)


def _found(answer: Answer, *, extended: bool) -> dict[str, Value]:
    """The results by name: ALL has the numbers of a plain SEARCH too."""
    if not extended:
        (line,) = answer.named("SEARCH")
        plain = [word(each) for each in line.values if isinstance(each, bytes)]
        return {"ALL": b",".join(plain) if plain else None}
    (line,) = answer.named("ESEARCH")
    values = line.values
    if not isinstance(values[0], list) or values[0] != [b"TAG", answer.tagged.tag.encode("ascii")]:
        raise Difference(f"ESEARCH is not for {answer.tagged.tag}: {values[0]!r}")
    values = values[1:]
    if values and values[0] == b"UID":
        values = values[1:]
    results = {word(item).decode("ascii"): value for item, value in zip(values[::2], values[1::2], strict=True)}
    if "COUNT" not in results and "ALL" not in results and "MIN" not in results:
        results["ALL"] = None
    return results


def _compare(found: dict[str, Value], must: set[int], may: set[int]) -> None:
    if "ALL" in found:
        results = set(numbers(found["ALL"])) if found["ALL"] is not None else set()
        if must - results:
            raise Difference(f"SEARCH leaves out {sorted(must - results)}")
        if results - may:
            raise Difference(f"SEARCH has {sorted(results - may)} besides")
        if "COUNT" in found and number(found["COUNT"]) != len(results):
            raise Difference(f"COUNT is {found['COUNT']!r} of {len(results)}")
    if "COUNT" in found and not len(must) <= number(found["COUNT"]) <= len(may):
        raise Difference(f"COUNT is {found['COUNT']!r}, not between {len(must)} and {len(may)}")
    if "MIN" in found and (number(found["MIN"]) not in may or number(found["MIN"]) > min(must, default=1 << 32)):
        raise Difference(f"MIN is {found['MIN']!r} of {sorted(must)}")
    if "MAX" in found and (number(found["MAX"]) not in may or number(found["MAX"]) < max(must, default=0)):
        raise Difference(f"MAX is {found['MAX']!r} of {sorted(must)}")
