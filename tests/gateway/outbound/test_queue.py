"""The durable queue: what is kept, claimed, recorded, owed and forgotten."""

import asyncio
import os
from collections.abc import Awaitable
from pathlib import Path

import pytest

from gateway.mail.dsn import Action
from gateway.outbound import params
from gateway.outbound.bodies import open_content, seal
from gateway.outbound.errors import QueueUnusable
from gateway.outbound.model import Attempt, Outcome, QueueItem, Unit
from gateway.outbound.queue import Queue
from gateway.outbound.schedule import Schedule
from gateway.outbound.storage_key import load_storage_key
from p2pcore.clock import system_clock
from p2pcore.crypto.key_files import KeyFiles
from tests.gateway.outbound.world import CONTENT, KEY, make_network, new_item
from tests.support.identities import ManualClock


async def only(queue: Queue) -> QueueItem:
    (item,) = await queue.items()
    return item


async def claimed(queue: Queue) -> list[Unit]:
    return list((await queue.claim(100)).units)


def ended(item: QueueItem, outcome: Outcome, *numbers: int, success: bool = False) -> list[Attempt]:
    default = {"delivered": "2.0.0", "deferred": "4.0.0", "failed": "5.0.0"}[outcome]
    chosen = numbers or tuple(each.number for each in item.recipients)
    report: Action | None = "relayed" if success else None
    return [Attempt(each, outcome, default, "a reply", "mx.remote.example", report) for each in chosen]


async def reopened(queue: Queue, tmp_path: Path, clock: ManualClock) -> Queue:
    await queue.close()
    again = Queue(tmp_path / "queue", KEY, clock, jitter=lambda: 0.0)
    await again.open()
    return again


async def test_an_accepted_item_survives(queue: Queue, tmp_path: Path, clock: ManualClock) -> None:
    """What was accepted is there after a restart, whole and due."""
    assert await queue.accept(new_item("x@Remote.Example", "y@other.example", ret="FULL"))
    queue = await reopened(queue, tmp_path, clock)
    item = await only(queue)
    assert open_content(item.sealed) == CONTENT
    assert (item.reverse_path, item.submitter, item.ret) == ("alice@example.org", "alice@example.org", "FULL")
    assert [(each.forward_path, each.domain) for each in item.recipients] == [
        ("x@Remote.Example", "remote.example"),
        ("y@other.example", "other.example"),
    ]
    assert {unit.domain for unit in await claimed(queue)} == {"remote.example", "other.example"}
    await queue.close()


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
async def test_sealed_content_is_kept_as_it_is(queue: Queue, tmp_path: Path, size: int) -> None:
    """Content that arrives sealed, in memory or in a file, is copied and opens again."""
    content = os.urandom(size)
    sealed = seal(content)
    await queue.accept(new_item(submission_id="memory", content=sealed))
    assert isinstance(sealed.source, bytes)
    path = tmp_path / "sealed"
    path.write_bytes(sealed.source)
    await queue.accept(
        new_item(
            submission_id="file",
            content=type(sealed)(sealed.session_key, sealed.digest, sealed.sealed_size, sealed.content_size, path),
        )
    )
    path.unlink()
    assert [open_content(item.sealed) for item in await queue.items()] == [content, content]


async def test_nothing_in_clear_is_on_disk(queue: Queue, tmp_path: Path, clock: ManualClock) -> None:
    """Neither content nor envelope can be read without the key, and another key opens nothing."""
    await queue.accept(new_item())
    for path in (tmp_path / "queue").rglob("*"):
        if path.is_file():
            octets = path.read_bytes()
            assert b"first" not in octets
            assert b"remote.example" not in octets
            assert path.stat().st_mode & 0o077 == 0
    await queue.close()
    other = Queue(tmp_path / "queue", bytes(32), clock)
    with pytest.raises(QueueUnusable):
        await other.open()
    await other.close()


async def test_a_repeated_submission_is_known(queue: Queue, clock: ManualClock) -> None:
    """A submission is kept once: while it is queued, and until 30 days after its outcome; per submitter."""
    assert await queue.accept(new_item())
    assert not await queue.accept(new_item())
    item = await only(queue)
    await queue.record(item, ended(item, "delivered"))
    assert await queue.items() == []
    clock.advance(params.SUBMISSION_KEPT)
    assert not await queue.accept(new_item())
    assert not await queue.knows("bob@example.org", "s-1")
    clock.advance(1)
    assert await queue.accept(new_item(submission_id="s-2"))
    item = await only(queue)
    await queue.record(item, ended(item, "delivered"))
    assert await queue.accept(new_item())


async def test_the_same_submission_at_the_same_time_is_kept_once(queue: Queue, tmp_path: Path) -> None:
    """Two sessions that submit the same ID at once get one True and one item with one body."""
    results = await asyncio.gather(*(queue.accept(new_item()) for _ in range(4)))
    assert sorted(results) == [False, False, False, True]
    assert len(list((tmp_path / "queue" / "bodies").iterdir())) == 1


async def test_a_cancelled_accept_leaves_all_or_nothing(queue: Queue, tmp_path: Path) -> None:
    """An agent that hangs up while its mail is being kept leaves no item without its body."""
    for number in range(30):
        task = asyncio.create_task(queue.accept(new_item(submission_id=f"s-{number}")))
        for _ in range(number % 6):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.to_thread(lambda: None)
    assert await queue.accept(new_item(submission_id="last"))
    for item in await queue.items():
        assert open_content(item.sealed) == CONTENT


async def test_a_full_disk_keeps_nothing(queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the body cannot be made durable, accept raises, no row and no file is left, and the ID stays unknown."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gateway.outbound.bodies.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        await queue.accept(new_item())
    monkeypatch.undo()
    assert list((tmp_path / "queue" / "bodies").iterdir()) == []
    assert not await queue.knows("alice@example.org", "s-1")


async def test_an_item_needs_a_recipient(queue: Queue) -> None:
    """An item without recipients is a mistake of the caller."""
    item = new_item()
    with pytest.raises(ValueError, match="without recipients"):
        await queue.accept(type(item)("s", "a@example.org", "a@example.org", (), CONTENT))


async def test_what_is_claimed_is_not_claimed_twice(queue: Queue) -> None:
    """A unit is tried by one at a time, and again only after its release."""
    await queue.accept(new_item("x@remote.example", "y@remote.example", "z@other.example"))
    units = {unit.domain: unit for unit in await claimed(queue)}
    assert [each.forward_path for each in units["remote.example"].recipients] == [
        "x@remote.example",
        "y@remote.example",
    ]
    assert await claimed(queue) == []
    queue.release(units["other.example"])
    assert [unit.domain for unit in await claimed(queue)] == ["other.example"]


async def test_claims_are_bounded(queue: Queue) -> None:
    """No more is claimed than there is room for; the rest stays due."""
    await queue.accept(new_item(*(f"x@d{number}.example" for number in range(5))))
    assert len((await queue.claim(2)).units) == 2
    assert len((await queue.claim(10)).units) == 3


async def test_recipients_have_each_their_own_outcome(queue: Queue, clock: ManualClock, tmp_path: Path) -> None:
    """One is delivered, one failed, one waits and is tried again; the item goes with its last outcome."""
    await queue.accept(new_item("a@r.example", "b@r.example", "c@r.example", notify="NEVER"))
    (unit,) = await claimed(queue)
    item = unit.item
    outcomes = [*ended(item, "delivered", 0), *ended(item, "failed", 1), *ended(item, "deferred", 2)]
    await queue.record(item, outcomes)
    queue.release(unit)
    assert [each.state for each in (await only(queue)).recipients] == ["delivered", "failed", "pending"]
    assert await claimed(queue) == []
    clock.advance(params.RETRY_FIRST)
    (unit,) = await claimed(queue)
    assert [each.forward_path for each in unit.recipients] == ["c@r.example"]
    await queue.record(unit.item, ended(item, "delivered", 2))
    assert await queue.items() == []
    assert list((tmp_path / "queue" / "bodies").iterdir()) == []


async def test_delivered_stays_delivered(queue: Queue) -> None:
    """An outcome that is final is not overwritten by a later one."""
    await queue.accept(new_item("a@r.example", "b@r.example"))
    item = await only(queue)
    await queue.record(item, ended(item, "delivered", 0))
    await queue.record(item, ended(item, "failed", 0))
    assert [each.state for each in (await only(queue)).recipients] == ["delivered", "pending"]


async def test_the_sender_hears_of_a_delay_once(queue: Queue, clock: ManualClock) -> None:
    """After two hours a delay is owed, one time however often it is tried again."""
    await queue.accept(new_item())
    item = await only(queue)
    await queue.record(item, ended(item, "deferred"))
    assert (await queue.claim(10)).reports == ()
    clock.advance(params.DELAYED_AFTER)
    await queue.record(item, ended(item, "deferred"))
    (owed,) = (await queue.claim(10)).reports
    assert [action for _, action in owed.actions] == ["delayed"]
    await queue.drop_report(owed)
    queue.release(owed)
    await queue.record(item, ended(item, "deferred"))
    assert (await queue.claim(10)).reports == ()


async def test_trying_ends_with_a_failure(queue: Queue, clock: ManualClock) -> None:
    """What is deferred when five days are over has failed: 5.4.7, with the last reply."""
    await queue.accept(new_item())
    clock.advance(params.GIVE_UP_AFTER)
    item = await only(queue)
    await queue.record(item, ended(item, "deferred"))
    (recipient,) = (await only(queue)).recipients
    assert (recipient.state, recipient.status, recipient.reply) == ("failed", "5.4.7", "a reply")
    (owed,) = (await queue.claim(10)).reports
    assert [action for _, action in owed.actions] == ["failed"]


@pytest.mark.parametrize(
    ("reverse_path", "notify", "outcome", "actions"),
    [
        ("alice@example.org", "", "failed", ["failed"]),
        ("alice@example.org", "NEVER", "failed", []),
        ("alice@example.org", "SUCCESS", "failed", []),
        ("alice@example.org", "SUCCESS", "delivered", ["relayed"]),
        ("alice@example.org", "", "delivered", []),
        ("", "", "failed", []),
    ],
)
async def test_reports_are_owed_where_they_are_wanted(
    queue: Queue, reverse_path: str, notify: str, outcome: Outcome, actions: list[str]
) -> None:
    """NOTIFY= decides, and nothing is ever reported to the null reverse-path; with no report owed the item ends."""
    await queue.accept(new_item(reverse_path=reverse_path, notify=notify))
    item = await only(queue)
    await queue.record(item, ended(item, outcome, success=True))
    owed = (await queue.claim(10)).reports
    assert [action for each in owed for _, action in each.actions] == actions
    assert bool(await queue.items()) == bool(actions)


async def test_a_report_replaces_what_was_owed_and_outlives_a_crash(
    queue: Queue, tmp_path: Path, clock: ManualClock
) -> None:
    """Once a report is kept, exactly its statements are repeated, also after a restart, until it is stored."""
    network = make_network()
    await queue.accept(new_item())
    item = await only(queue)
    await queue.record(item, ended(item, "failed"))
    (owed,) = (await queue.claim(10)).reports
    injection = await network.report()
    assert await queue.keep_report(owed, injection)
    queue = await reopened(queue, tmp_path, clock)
    work = await queue.claim(10)
    assert work.reports == ()
    (kept,) = work.injections
    assert kept.injection.encode() == injection.encode()
    assert kept.injection.body == injection.body
    assert (await only(queue)).id == item.id
    await queue.injected(kept)
    assert await queue.items() == []
    await queue.close()


async def test_held_mail_waits_for_a_person(queue: Queue, clock: ManualClock) -> None:
    """What is held is not tried, whatever its time; to hold it again is no error; retry makes it due."""
    await queue.accept(new_item())
    item = await only(queue)
    assert await queue.hold(item.id) == 1
    assert await queue.hold(item.id) == 1
    clock.advance(params.RETRY_LAST)
    assert await claimed(queue) == []
    assert await queue.retry() == 0
    assert await queue.retry(item.id) == 1
    assert len(await claimed(queue)) == 1


async def test_retry_makes_everything_due_at_once(queue: Queue) -> None:
    """After a deferral `retry` does not wait for the schedule."""
    await queue.accept(new_item())
    (unit,) = await claimed(queue)
    await queue.record(unit.item, ended(unit.item, "deferred"))
    queue.release(unit)
    assert await claimed(queue) == []
    assert await queue.retry() == 1
    assert len(await claimed(queue)) == 1


async def test_retry_of_a_long_queue_lets_others_have_their_turn(
    queue: Queue, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some recipients at a time, over several messages: whoever asks for anything else meanwhile is answered first."""
    monkeypatch.setattr(params, "RETRY_AT_ONCE", 2)
    for name in ("s-1", "held", "s-2"):
        await queue.accept(new_item("a@r.example", "b@r.example", "c@r.example", submission_id=name, notify="NEVER"))
    for item in await queue.items():
        await queue.record(item, ended(item, "deferred", 0, 1))
        await queue.record(item, ended(item, "failed", 2))
        if item.submission_id == "held":
            await queue.hold(item.id)
    done: list[object] = []

    async def noted(call: Awaitable[object]) -> None:
        done.append(await call)

    await asyncio.gather(noted(queue.retry()), noted(queue.knows("alice@example.org", "s-1")))
    assert done == [True, 4]
    due = [[each.next_attempt <= clock() for each in item.recipients[:2]] for item in await queue.items()]
    assert due == [[True, True], [False, False], [True, True]]
    assert [[each.number for each in unit.recipients] for unit in await claimed(queue)] == [[0, 1], [0, 1]]


async def test_removed_mail_is_gone_and_late_outcomes_do_no_harm(queue: Queue, tmp_path: Path) -> None:
    """Removing forgets item and body without a report, also while it is being tried; its ID stays known."""
    network = make_network()
    await queue.accept(new_item())
    item = await only(queue)
    await queue.record(item, ended(item, "failed"))
    (owed,) = (await queue.claim(10)).reports
    assert await queue.remove(item.id)
    assert not await queue.remove(item.id)
    await queue.record(item, ended(item, "failed"))
    assert not await queue.keep_report(owed, await network.report())
    assert await queue.items() == []
    assert list((tmp_path / "queue" / "bodies").iterdir()) == []
    assert await queue.knows("alice@example.org", "s-1")


async def test_waiting_ends_when_mail_comes(queue: Queue) -> None:
    """An empty queue is waited at without a timer, and the first mail ends the wait."""
    waiting = asyncio.create_task(queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    await queue.accept(new_item())
    await asyncio.wait_for(waiting, 10)


async def test_waiting_ends_when_the_time_comes(tmp_path: Path) -> None:
    """What was deferred wakes the waiter at its time, by a timer."""
    queue = Queue(tmp_path / "queue", KEY, system_clock, schedule=Schedule(first=50, last=50))
    await queue.open()
    await queue.accept(new_item())
    (unit,) = await claimed(queue)
    await queue.record(unit.item, ended(unit.item, "deferred"))
    queue.release(unit)
    await asyncio.wait_for(queue.wait(), 10)
    assert len(await claimed(queue)) == 1
    await queue.close()


async def test_status_counts_items(queue: Queue) -> None:
    """A message counts once, however many recipients it has, and until all have an outcome."""
    assert await queue.count() == 0
    await queue.accept(new_item("a@r.example", "b@r.example"))
    item = await only(queue)
    await queue.record(item, ended(item, "delivered", 0))
    assert await queue.count() == 1


async def test_files_of_a_killed_accept_are_removed(queue: Queue, tmp_path: Path, clock: ManualClock) -> None:
    """A body that no row names is removed when the queue is opened; all others stay."""
    await queue.accept(new_item())
    stray = tmp_path / "queue" / "bodies" / "0123"
    stray.write_bytes(b"half")
    queue = await reopened(queue, tmp_path, clock)
    assert not stray.exists()
    assert open_content((await only(queue)).sealed) == CONTENT
    await queue.close()


def test_the_storage_key_is_made_once(tmp_path: Path) -> None:
    """The key is private and the same ever after; a queue whose key is gone is not silently started anew."""
    path, queue = tmp_path / "gateway-queue.key", tmp_path / "queue"
    key = load_storage_key(KeyFiles(), path, queue)
    assert load_storage_key(KeyFiles(), path, queue) == key
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"short")
    with pytest.raises(QueueUnusable):
        load_storage_key(KeyFiles(), path, queue)
    path.unlink()
    queue.mkdir()
    with pytest.raises(QueueUnusable):
        load_storage_key(KeyFiles(), path, queue)
