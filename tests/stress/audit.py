"""Between rounds nobody changes anything: everything is asked for anew, and must be exactly as the model has it.

What was open until then (connections and servers that died) is known now; the model goes on from what was seen.
"""

from collections import Counter

from tests.stress.client import Client
from tests.stress.history import DELETED, SEEN, Creation, Difference, Effect, Message, Op
from tests.stress.mailbox import Mailbox
from tests.stress.reading import identified, judge_status, listing
from tests.stress.wire import Value, number, pairs, word, words
from tests.stress.world import Naming, World

_ITEMS = "(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE BODY.PEEK[])"


async def audit(client: Client) -> None:
    """Compare the whole account; `client` is one that does nothing else. Raises Difference."""
    world = client.world
    _close_open_ends(world)
    await _names(client)
    for name in world.existing():
        await _mailbox(client, name)
    for mailbox in world.mailboxes():
        for creation in mailbox.creations:
            _judge_creation(world, mailbox, creation)
        mailbox.creations.clear()


def _close_open_ends(world: World) -> None:
    """What was under way when a connection went is over, whatever came of it."""
    now = world.clock.tick()
    for op in world.hung_up:
        op.end = now
    world.hung_up.clear()
    for mailbox in world.mailboxes():
        for expunging in list(mailbox.expunges):
            mailbox.settle_expunging(expunging)
            mailbox.expunges.remove(expunging)


async def _names(client: Client) -> None:
    await listing(client)
    answer = await client.must("LIST", 'LIST "" "*"')
    world = client.world
    for name in [word(one.values[2]).decode("ascii") for one in answer.named("LIST")]:
        status = await client.must("STATUS", f"STATUS {name} (UIDVALIDITY)")
        (line,) = status.named("STATUS")
        possible = world.called(name, answer.op.start, status.op.end)
        box = identified(possible, number(pairs(line.values[1])["UIDVALIDITY"]), name)
        world.names[name] = [Naming(Op(0, world.clock.tick()), box)]
    there = {word(one.values[2]).decode("ascii") for one in answer.named("LIST")}
    for name in list(world.names):
        if name not in there:
            del world.names[name]


async def _mailbox(client: Client, name: str) -> None:
    world = client.world
    mailbox = world.called_now(name)
    assert mailbox is not None
    floors = mailbox.top, mailbox.modseq
    answer = await client.must("EXAMINE", f"EXAMINE {name}")
    highest = next(code for one in answer.untagged if (code := one.coded("HIGHESTMODSEQ")))
    mailbox.told_highest_modseq(number(highest[0]), floors[1], answer.op.start, answer.op.end)
    (exists,) = answer.named("EXISTS")
    found: dict[int, dict[str, Value]] = {}
    if exists.number:
        answer = await client.must("FETCH", f"FETCH 1:{exists.number} {_ITEMS}")
        listed = [pairs(one.values[0]) for one in answer.named("FETCH")]
        found = {number(items["UID"]): items for items in listed}
        if list(found) != sorted(found) or len(found) != exists.number:
            raise Difference(f"{name} has {exists.number} messages, and FETCH gives UIDs {list(found)}")
    _judge_messages(world, mailbox, found, answer.op, number(highest[0]))
    await _status(client, name, mailbox, found, floors)


def _judge_messages(world: World, mailbox: Mailbox, found: dict[int, dict[str, Value]], op: Op, highest: int) -> None:
    start, end = op.start, op.end
    for message in mailbox.certain(start, end):
        if message.uid not in found:
            raise Difference(f"UID {message.uid} of {mailbox.label} is lost")
    for uid, items in found.items():
        message = mailbox.learn(uid, start, end)
        _identify(world, mailbox, message, items)
        flags = frozenset(flag.decode("ascii").casefold() for flag in words(items["FLAGS"])) - {"\\recent"}
        wrong = message.wrong_flag(flags, start, end)
        if wrong is not None:
            raise Difference(f"UID {uid} of {mailbox.label} has {sorted(flags)} in the end; {wrong} is not so")
        modseq = number(words(items["MODSEQ"])[0])
        if modseq > highest:
            raise Difference(f"UID {uid} of {mailbox.label} has modseq {modseq}, above HIGHESTMODSEQ {highest}")
        mailbox.told_modseq(message, modseq, start, end)
        mailbox.told_version(message, modseq, flags)
        message.effects = [Effect(op, "set", flags, modseq=modseq)]
        message.deaths.clear()
        message.born = Op(message.born.start, op.end)
        message.explained = True
        message.touched = op.end
    for uid in [uid for uid in mailbox.messages if uid not in found]:
        message = mailbox.messages.pop(uid)
        if not message.deaths:
            raise Difference(f"UID {uid} of {mailbox.label} was seen and is not there")
        mailbox.dead.add(uid)


def _identify(world: World, mailbox: Mailbox, message: Message, items: dict[str, Value]) -> None:
    """Which message it is, by its octets; and who has put it there."""
    octets = word(items["BODY[]"])
    if message.content is None or not message.explained:
        mark = int(octets.partition(b"Message-ID: <")[2].partition(b"@")[0])
        makers: list[tuple[Creation, int]] = [
            (one, place)
            for one in mailbox.creations
            for place, content in enumerate(one.contents)
            if (content is None or content.mark == mark) and place not in one.claimed
        ]
        makers.sort(key=lambda maker: maker[0].contents[maker[1]] is None)  # those that are known first
        if not makers and not message.explained:
            raise Difference(f"UID {message.uid} of {mailbox.label} is a message that nobody put there")
        if makers and not message.explained:
            maker, place = makers[0]
            message.content = world.by_mark[mark]
            maker.claimed.append(place)
            flags = maker.flags[place]
            if flags is not None and len(makers) == 1:  # of several copies of one message it is not known which this is
                message.effects.insert(0, Effect(maker.op, "set", *flags))
    content = message.content
    if content is None:
        return
    if octets != content.octets:
        raise Difference(f"UID {message.uid} of {mailbox.label} is not message {content.mark}")
    if number(items["RFC822.SIZE"]) != len(octets) or word(items["INTERNALDATE"]).decode() != content.internal_date:
        raise Difference(f"size or internal date of UID {message.uid} of {mailbox.label} is wrong")


def _judge_creation(world: World, mailbox: Mailbox, creation: Creation) -> None:
    """All of its messages came, or none (RFC 3502); what was moved is in one of the two places (RFC 6851)."""
    if mailbox not in [world.called_now(name) for name in world.names]:
        return
    if any(uid > creation.floor for uid in mailbox.dead):
        return  # some came, and went again
    if creation.moved:
        _judge_move(creation)
    elif creation.claimed and len(creation.claimed) < len(creation.contents) and None not in creation.flags:
        marks = [content.mark for content in creation.contents if content is not None]
        raise Difference(f"messages {marks} were put into {mailbox.label} together, and not all came")


def _judge_move(creation: Creation) -> None:
    """Copies of one message are alike, so they are counted."""
    came = Counter(one.mark for place in creation.claimed if (one := creation.contents[place]) is not None)
    left, stayed = Counter[int](), Counter[int]()
    for message in creation.moved:
        if message.content is None or any(op.start != creation.op.start for op in message.deaths):
            continue  # somebody else may have taken it
        (left if message.deaths else stayed)[message.content.mark] += 1
    lost, twice = left - came, came & stayed if not left else Counter[int]()
    if lost:
        raise Difference(f"messages {sorted(lost)} were lost between two mailboxes")
    if twice:
        raise Difference(f"messages {sorted(twice)} were moved, and are in both mailboxes")


async def _status(
    client: Client, name: str, mailbox: Mailbox, found: dict[int, dict[str, Value]], floors: tuple[int, int]
) -> None:
    """The counters agree with the messages."""
    answer = await client.must(
        "STATUS", f"STATUS {name} (MESSAGES UNSEEN DELETED SIZE UIDNEXT UIDVALIDITY HIGHESTMODSEQ)"
    )
    (line,) = answer.named("STATUS")
    values = {item: number(value) for item, value in pairs(line.values[1]).items()}
    judge_status(mailbox, values, answer.op.start, answer.op.end, floors)
    flags = [{flag.lower() for flag in words(items["FLAGS"])} for items in found.values()]
    counted = {
        "MESSAGES": len(found),
        "UNSEEN": sum(SEEN.encode() not in each for each in flags),
        "DELETED": sum(DELETED.encode() in each for each in flags),
        "SIZE": sum(number(items["RFC822.SIZE"]) for items in found.values()),
    }
    for item, count in counted.items():
        if values[item] != count:
            raise Difference(f"STATUS {name} has {item} {values[item]}, and the messages make {count}")
