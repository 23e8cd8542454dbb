"""A full outbox, and a clock that is set: what is looked at stays bounded, and nothing waits for yesterday."""

from pathlib import Path

from gateway.outbox import params as numbers
from gateway.outbox import rows
from gateway.outbox.params import CONTENT_IN_ROW, OutboxLimits
from gateway.queues import Queues
from p2pcore import params
from p2pcore.errors import NoQuorum
from tests.gateway.outbox.world import OUTSIDE, bench, submission


async def test_only_what_there_is_room_for_is_looked_at(tmp_path: Path) -> None:
    """Of many due messages the longest due come first, large ones within their share, none twice."""
    async with bench(tmp_path) as it:
        it.outbox.held = True
        large = b"a: b\r\n" + b"x" * CONTENT_IN_ROW
        ids = []
        for content in (large, large, b"a: b\r\n", b"a: b\r\n", b"a: b\r\n"):
            ids.append(await it.outbox.accept(submission(OUTSIDE, "two@outside.example", content=content)))
            it.world.clock.advance(params.SECOND)
        at = it.world.clock() + params.HOUR
        read = it.outbox.store.read
        ready, _ = await read(rows.due, at, set(), 3, 1)
        assert list(ready) == [ids[0], ids[2], ids[3]]
        ready, _ = await read(rows.due, at, {ids[0], ids[2]}, 2, 0)
        assert list(ready) == [ids[3], ids[4]]
        assert (await read(rows.due, at, set(), 0, 2))[0] == {}
        await it.settled()


async def test_a_list_holds_no_contents(tmp_path: Path) -> None:
    """A thousand small messages are listed without their octets; one is shown by its ID alone, all are retried."""
    async with bench(tmp_path) as it:
        await it.gateways[0].stop()
        ids = [await it.outbox.accept(submission(OUTSIDE)) for _ in range(3)]
        await it.settled()
        assert [message.content.octets for message in await it.outbox.list()] == [None] * 3
        message = await it.outbox.message(ids[1])
        assert message is not None
        assert message.content.octets is not None
        assert await it.outbox.message("0" * 32) is None
        assert len(await it.outbox.store.read(rows.messages, 2)) == 2
        queues = Queues(None, lambda: {"alice@example.org": it.outbox})
        assert (await queues.commands["queue-show"]({"id": ids[2]}))["id"] == ids[2]
        assert await queues.commands["queue-retry"]({"id": ""}) == 3
        assert await queues.commands["queue-retry"]({"id": ids[0]}) == 1


async def test_a_clock_set_back_by_a_day_holds_no_mail_up(tmp_path: Path) -> None:
    """What the later clock put off is tried when the outbox next looks, and the copy for Sent is filed."""
    async with bench(tmp_path, limits=OutboxLimits(sent_grace=params.MINUTE)) as it:
        it.sender.body_failure = NoQuorum("0 of 2 nodes")
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        it.sender.body_failure = None
        await it.pass_time(-params.DAY)
        assert len(it.entries_of(it.bob)) == 1
        await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        assert len(it.mailbox.sent) == 1
        assert numbers.RETRY_LAST < params.DAY
