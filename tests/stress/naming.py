"""CREATE, DELETE and RENAME, one after the other over all clients; everything else goes on meanwhile."""

from tests.stress.changing import refused
from tests.stress.client import Client
from tests.stress.history import Op
from tests.stress.mailbox import Mailbox
from tests.stress.world import World

POOL = ("one", "two", "tree", "tree/leaf", "tree/leaf/bud", "tree/root")


async def rename_something(client: Client) -> None:
    """One of the three, with a name that is likely to fit."""
    async with client.world.naming:
        act = client.chance.choice([_create, _create, _delete, _rename])
        await act(client)


def _named(world: World) -> dict[str, Mailbox]:
    return {name: box for name in world.existing() if (box := world.called_now(name)) is not None}


def _above(name: str) -> list[str]:
    levels = name.split("/")
    return ["/".join(levels[:count]) for count in range(1, len(levels))]


async def _create(client: Client) -> None:
    world = client.world
    name = client.chance.choice(POOL)
    there = _named(world)
    op = world.begin()
    if name not in there:
        for each in (*_above(name), name):
            if each not in there:
                world.name(op, each, Mailbox(each))
    answer = await client.run("CREATE", f"CREATE {name}", op)
    if not answer.ok:
        op.withdrawn = True
        refused(answer, name in there and answer.tagged.coded("ALREADYEXISTS") is not None)
    client.settle("CREATE", answer)


async def _delete(client: Client) -> None:
    world = client.world
    name = client.chance.choice(POOL)
    there = _named(world)
    op = world.begin()
    parent = any(other.startswith(name + "/") for other in there)
    box = there.get(name)
    expunging = None
    if box is not None and not parent:
        world.name(op, name, None)
        box.deletion = op
        expunging = box.begin_expunging(op, None, any_flags=True)
    answer = await client.run("DELETE", f"DELETE {name}", op)
    if answer.ok and box is not None and expunging is not None:
        box.end_expunging(expunging, op.end)
    else:
        op.withdrawn = True
        if box is not None and expunging is not None:
            box.expunges.remove(expunging)
            box.deletion = None
        refused(answer, box is None or parent)
    client.settle("DELETE", answer)


async def _rename(client: Client) -> None:
    world = client.world
    if client.likely(0.2):
        await _empty_inbox(client)
        return
    there = _named(world)
    old, new = client.chance.choice(POOL), client.chance.choice(POOL)
    possible = old in there and new not in there and not new.startswith(old + "/")
    moving = [name for name in there if name == old or name.startswith(old + "/")]
    possible = possible and not any(new + name[len(old) :] in there for name in moving)
    op = world.begin()
    if possible:
        _move(world, op, old, new, there, moving)
    answer = await client.run("RENAME", f"RENAME {old} {new}", op)
    if not answer.ok:
        op.withdrawn = True
        refused(answer, not possible)
    client.settle("RENAME", answer)


async def _empty_inbox(client: Client) -> None:
    """RFC 9051 §6.3.6: RENAME of INBOX moves its messages to a new mailbox, under UIDs that it does not tell."""
    world = client.world
    there = _named(world)
    inbox, new = there["INBOX"], client.chance.choice(POOL)
    made = Mailbox(new)
    op = world.begin()
    creation, expunging = made.begin_creation(op, [], []), inbox.begin_expunging(op, None, any_flags=True)
    if new not in there:
        _move(world, op, new, new, {**there, new: made}, [new])
    else:
        op.withdrawn = True
    answer = await client.run("RENAME", f"RENAME INBOX {new}", op)
    creation.moved = inbox.candidates(op.start, op.end)
    creation.contents = [one.content for one in creation.moved]
    creation.flags = [one.certain_flags(op.start, op.end) for one in creation.moved]
    if answer.ok and new not in there:
        inbox.end_expunging(expunging, op.end)  # which UID is which message, the audit will see
    else:
        inbox.expunges.remove(expunging)
        made.forget_creation(creation, op.end)
        refused(answer, new in there)
    client.settle("RENAME", answer)


def _move(world: World, op: Op, old: str, new: str, there: dict[str, Mailbox], moving: list[str]) -> None:
    after = {new + name[len(old) :]: there[name] for name in moving}
    for name in moving:
        if name not in after:
            world.name(op, name, None)
    for name, box in after.items():
        world.name(op, name, box)
    for name in _above(new):
        if name not in there or (name in moving and name not in after):
            world.name(op, name, Mailbox(name))
