"""What may be under way at once: shares of one domain, of strangers and of reports; a very long queue."""

import asyncio
from pathlib import Path

import apsw
import pytest

from gateway.database import keyed
from gateway.mail.outgoing import NewItem, NewRecipient
from gateway.outbound import params
from gateway.outbound.bodies import open_beginning, seal
from gateway.outbound.model import Attempt, Unit
from gateway.outbound.queue import Queue
from gateway.outbound.rows import PENDING
from p2pcore.errors import Tampered
from p2pcore.mail.injection import SealedContent
from p2pcore.params import DAY
from tests.gateway.outbound.world import CONTENT, KEY, new_item
from tests.support.identities import ManualClock


def to(domain: str, number: int, *, reverse_path: str = "alice@example.org") -> NewItem:
    return new_item(f"x@{domain}", submission_id=f"{domain}-{number}", reverse_path=reverse_path)


async def claimed(queue: Queue) -> list[Unit]:
    return list((await queue.claim(params.MAX_UNDER_WAY)).units)


@pytest.fixture
def small_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shares of four instead of a hundred."""
    for name in ("DOMAIN_UNDER_WAY", "STRANGERS_UNDER_WAY", "REPORTS_UNDER_WAY"):
        monkeypatch.setattr(params, name, 4)


async def test_one_domain_does_not_take_all_the_room(queue: Queue, clock: ManualClock, small_shares: None) -> None:
    """What is due for others is claimed past its long line; it gets more when half of its share has ended."""
    for number in range(9):
        await queue.accept(to("slow.example", number))
    clock.advance(1)
    await queue.accept(to("other.example", 0))
    first = await claimed(queue)
    assert [unit.domain for unit in first] == ["slow.example"] * 4 + ["other.example"]
    queue.release(first[4])
    for unit in first[:1]:
        await queue.record(unit.item, [Attempt(0, "delivered", "2.0.0", "")])
        queue.release(unit)
    assert [unit.domain for unit in await claimed(queue)] == ["other.example"]
    await queue.record(first[1].item, [Attempt(0, "delivered", "2.0.0", "")])
    queue.release(first[1])
    assert [unit.domain for unit in await claimed(queue)] == ["slow.example"] * 2


async def test_waiting_ends_when_there_is_room_again(queue: Queue, clock: ManualClock, small_shares: None) -> None:
    """What its share holds back is not due, and is again as soon as the share has room."""
    for number in range(6):
        await queue.accept(to("slow.example", number))
    units = await claimed(queue)
    waiting = asyncio.create_task(queue.wait())
    for unit in units:
        await asyncio.wait([waiting], timeout=0)
        await queue.record(unit.item, [Attempt(0, "delivered", "2.0.0", "")])
        queue.release(unit)
    async with asyncio.timeout(10):
        await waiting
    assert len(await claimed(queue)) == 2


async def test_reports_to_strangers_leave_room_for_users(queue: Queue, clock: ManualClock, small_shares: None) -> None:
    """Whoever asks for reports chooses hosts and domains: those never fill the room."""
    for number in range(9):
        await queue.accept(to(f"s{number}.example", number, reverse_path=""))
    clock.advance(1)
    await queue.accept(to("other.example", 0))
    assert [unit.item.reverse_path for unit in await claimed(queue)] == ["", "", "", "", "alice@example.org"]


async def test_reports_to_strangers_leave_room_at_one_host(queue: Queue, clock: ManualClock) -> None:
    """Nor do they fill the share of a smarthost, or of the one domain that most strangers and users have in common."""
    for number in range(params.DOMAIN_UNDER_WAY):
        await queue.accept(to("s.example", number, reverse_path=""))
    clock.advance(1)
    await queue.accept(to("s.example", params.DOMAIN_UNDER_WAY))
    assert [unit.item.reverse_path for unit in await claimed(queue)].count("alice@example.org") == 1


async def test_a_thousand_domains_of_one_message_share_it(queue: Queue) -> None:
    """One message with a thousand recipients in as many domains is read once, not a thousand times."""
    recipients = tuple(NewRecipient(f"x@d{number}.example") for number in range(1_000))
    await queue.accept(NewItem("s-1", "alice@example.org", "alice@example.org", recipients, CONTENT))
    units = await claimed(queue)
    assert len(units) == 1_000
    assert len({id(unit.item) for unit in units}) == 1
    assert {len(unit.recipients) for unit in units} == {1}


async def test_one_host_gets_a_message_once(queue: Queue) -> None:
    """RFC 5321 §4.5.4.1: with a smarthost all recipients but our own domain's are tried together, and none twice."""
    await queue.accept(new_item("x@a.example", "bob@example.org", "y@b.example", "z@[192.0.2.1]"))
    units = (await queue.claim(100, "example.org")).units
    assert [(unit.domain, [each.forward_path for each in unit.recipients]) for unit in units] == [
        ("", ["x@a.example", "y@b.example", "z@[192.0.2.1]"]),
        ("example.org", ["bob@example.org"]),
    ]
    assert not (await queue.claim(100, "example.org")).units
    await queue.record(units[0].item, [Attempt(0, "delivered", "2.0.0", "ok")])
    queue.release(units[0])
    (again,) = (await queue.claim(100, "example.org")).units
    assert [each.number for each in again.recipients] == [2, 3]


async def test_one_host_has_one_share(queue: Queue, clock: ManualClock, small_shares: None) -> None:
    """Mail to many domains by one smarthost leaves room to our own domain's."""
    for number in range(6):
        await queue.accept(to(f"d{number}.example", 0))
    clock.advance(1)
    await queue.accept(to("example.org", 0))
    units = (await queue.claim(100, "example.org")).units
    assert [unit.domain for unit in units] == [""] * 4 + ["example.org"]
    waiting = asyncio.create_task(queue.wait("example.org"))
    for unit in units[:2]:
        await asyncio.wait([waiting], timeout=0)
        await queue.record(unit.item, [Attempt(0, "delivered", "2.0.0", "")])
        queue.release(unit)
    async with asyncio.timeout(10):
        await waiting
    assert len((await queue.claim(100, "example.org")).units) == 2


async def test_who_was_put_off_together_is_tried_together(tmp_path: Path, clock: ManualClock) -> None:
    """RFC 5321 §4.5.4.1: one copy for all recipients at a host, at the second attempt as at the first."""
    draws = iter([-1.0, 0.0, 1.0])
    queue = Queue(tmp_path / "queue", KEY, clock, jitter=lambda: next(draws))
    await queue.open()
    await queue.accept(new_item(*(f"u{number}@r.example" for number in range(3))))
    (unit,) = await claimed(queue)
    await queue.record(unit.item, [Attempt(number, "deferred", "4.0.0", "later") for number in range(3)])
    queue.release(unit)
    clock.advance(params.RETRY_FIRST)
    (unit,) = await claimed(queue)
    assert len(unit.recipients) == 3
    await queue.close()


async def test_reports_are_made_some_at_a_time(queue: Queue, small_shares: None) -> None:
    """A thousand failures at once are not a thousand reports in memory."""
    for number in range(6):
        await queue.accept(to("r.example", number))
    for item in await queue.items():
        await queue.record(item, [Attempt(0, "failed", "5.0.0", "no")])
    work = await queue.claim(100)
    assert len(work.reports) == 4
    assert not (await queue.claim(100)).reports
    queue.release(work.reports[0])
    assert len((await queue.claim(100)).reports) == 1


async def test_a_clock_set_back_by_a_day_holds_nothing_up(queue: Queue, clock: ManualClock) -> None:
    """What was put off by the later clock, mail and reports, is due as soon as somebody looks."""
    await queue.accept(to("r.example", 0))
    (unit,) = await claimed(queue)
    await queue.record(unit.item, [Attempt(0, "deferred", "4.0.0", "later")])
    queue.release(unit)
    await queue.accept(to("failed.example", 1))
    (failed,) = await claimed(queue)
    await queue.record(failed.item, [Attempt(0, "failed", "5.0.0", "no")])
    (owed,) = (await queue.claim(100)).reports
    await queue.postpone_report(owed, clock() + params.REPORT_RETRY)
    queue.release(owed)
    clock.advance(-DAY)
    async with asyncio.timeout(10):
        await queue.wait()
    work = await queue.claim(100)
    assert ([each.domain for each in work.units], len(work.reports)) == (["r.example"], 1)


async def test_listing_is_bounded_by_recipients_too(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of a thousand messages of a thousand recipients each is not answered in full."""
    monkeypatch.setattr(params, "LISTED_RECIPIENTS", 3)
    for number in range(3):
        await queue.accept(new_item("a@r.example", "b@r.example", submission_id=f"{number}"))
    assert len(await queue.items()) == 1
    assert await queue.count() == 3


async def test_due_mail_is_found_by_its_index(queue: Queue, tmp_path: Path) -> None:
    """However long the queue: what is due, and what is put off longest, is read off an index."""
    await queue.accept(to("r.example", 0))
    await queue.close()
    connection = keyed(tmp_path / "queue" / "queue.db", KEY)
    for sql, values in (
        (PENDING, (1, "[]", "example.org")),
        ("SELECT max(next_attempt) FROM recipients WHERE state = 'pending'", ()),
    ):
        plan = " ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values))
        assert "COVERING INDEX recipients_due" in plan
        assert "TEMP B-TREE" not in plan
    connection.close()


@pytest.mark.parametrize("layout", [1, 2])
async def test_a_queue_of_an_older_layout_is_read(
    queue: Queue, tmp_path: Path, clock: ManualClock, layout: int
) -> None:
    """What an older program has queued goes on its way, and what it did not keep is kept from now on."""
    await queue.accept(to("r.example", 0, reverse_path=""))
    await queue.accept(to("r.example", 1))
    await queue.close()
    connection: apsw.Connection = keyed(tmp_path / "queue" / "queue.db", KEY)
    connection.execute(
        "DROP INDEX recipients_due; DROP INDEX items_accepted; ALTER TABLE recipients DROP COLUMN stranger;"
        "CREATE INDEX recipients_due ON recipients (next_attempt) WHERE state = 'pending';"
        f"{'DROP TABLE sendings;' if layout == 1 else ''} PRAGMA user_version = {layout}"
    )
    connection.close()
    again = Queue(tmp_path / "queue", KEY, clock)
    await again.open()
    assert len(await claimed(again)) == 2
    assert len(await again.sendings()) == (0 if layout == 1 else 2)
    assert await again.accept(to("r.example", 2))
    assert len(await again.sendings()) == (1 if layout == 1 else 3)
    await again.close()
    connection = keyed(tmp_path / "queue" / "queue.db", KEY)
    assert list(connection.execute("SELECT stranger FROM recipients ORDER BY item")) == [(1,), (0,), (0,)]
    connection.close()


@pytest.mark.parametrize("length", [0, 1, 100_000, 3_000_000, 4_000_000])
def test_the_beginning_of_a_body_is_read_alone(tmp_path: Path, length: int) -> None:
    """A report needs no more of fifty megabytes; a body that is cut short before that is damaged."""
    content = bytes(range(250)) * 12_000
    sealed = seal(content)
    assert isinstance(sealed.source, bytes)
    path = tmp_path / "body"
    path.write_bytes(sealed.source)
    filed = SealedContent(sealed.session_key, sealed.digest, sealed.sealed_size, sealed.content_size, path)
    assert open_beginning(sealed, length) == open_beginning(filed, length) == content[:length]
    path.write_bytes(sealed.source[:100])
    if length:
        with pytest.raises(Tampered):
            open_beginning(filed, length)
