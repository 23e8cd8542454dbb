"""Random work on a store, against a model that is a few dictionaries."""

import asyncio
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mailbox.store import MailStore
from tests.gateway.mailbox.conftest import KEY, check_counters

NAMES = ("INBOX", "Sent")
FLAGS = st.frozensets(st.sampled_from(["\\Seen", "\\Deleted", "k"]))
UIDS = st.lists(st.integers(1, 8), max_size=3, unique=True)
BOX = st.sampled_from([0, 1])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), BOX, FLAGS),
        st.tuples(st.just("copy"), BOX, UIDS, BOX),
        st.tuples(st.just("move"), BOX, UIDS, BOX),
        st.tuples(st.just("add"), BOX, UIDS, FLAGS),
        st.tuples(st.just("remove"), BOX, UIDS, FLAGS),
        st.tuples(st.just("expunge"), BOX),
    ),
    max_size=15,
)


class Model:
    """Two mailboxes: UID → (flags, size)."""

    def __init__(self) -> None:
        self.boxes: list[dict[int, tuple[frozenset[str], int]]] = [{}, {}]
        self.uidnext = [1, 1]

    def place(self, box: int, messages: list[tuple[frozenset[str], int]]) -> None:
        for message in messages:
            self.boxes[box][self.uidnext[box]] = message
            self.uidnext[box] += 1


async def follow(steps: list[tuple[object, ...]], directory: Path) -> None:
    store, model = await MailStore.open(directory, KEY), Model()
    ids = [(await store.mailbox(name)).id for name in NAMES]
    for step in steps:
        match step:
            case ("append", int(box), frozenset() as flags):
                await store.append(NAMES[box], b"x" * model.uidnext[box], flags, 0, 0)
                model.place(box, [(flags, model.uidnext[box])])
            case ("copy" | "move" as verb, int(box), list(uids), int(target)):
                await getattr(store, verb)(ids[box], uids, NAMES[target])
                there = [uid for uid in sorted(uids) if uid in model.boxes[box]]
                model.place(target, [model.boxes[box][uid] for uid in there])
                for uid in there if verb == "move" else []:
                    del model.boxes[box][uid]
            case ("add" | "remove" as mode, int(box), list(uids), frozenset() as flags):
                await store.store_flags(ids[box], uids, "add" if mode == "add" else "remove", flags)
                for uid in set(uids) & set(model.boxes[box]):
                    had, size = model.boxes[box][uid]
                    model.boxes[box][uid] = (had | flags if mode == "add" else had - flags, size)
            case ("expunge", int(box)):
                await store.expunge(ids[box], None)
                kept = {uid: one for uid, one in model.boxes[box].items() if "\\Deleted" not in one[0]}
                model.boxes[box] = kept
    await check_counters(store)
    for box, name in enumerate(NAMES):
        snapshot = await store.snapshot(name)
        assert {row.uid: (row.flags, row.size) for row in snapshot.messages} == model.boxes[box]
        assert snapshot.mailbox.uidnext == model.uidnext[box]
        for row in snapshot.messages:
            assert len(await store.read(ids[box], row.uid)) == row.size
    await store.close()


@settings(max_examples=25, deadline=None)
@given(STEPS)
def test_any_work(steps: list[tuple[object, ...]]) -> None:
    """After any sequence of calls the store holds what the model holds, and its counters count that."""
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(follow(steps, Path(directory)))
