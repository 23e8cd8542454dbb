"""gateway.queues: what `p2pmail queue` may be asked for on a machine that has nothing of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from gateway.errors import OperatorError
from gateway.outbound.queue import Queue
from gateway.outbound.service import Outbound
from gateway.outbox.model import Message, OutboxStatus
from gateway.outbox.outbox import Outbox
from gateway.outbox.params import OutboxLimits
from gateway.queues import Queues
from gateway.relaying import Relaying
from gateway.smtp.relay import RelayServer
from p2pcore import params
from tests.gateway.outbound.world import new_item
from tests.gateway.outbox.world import OUTSIDE, bench, submission
from tests.support.identities import ManualClock


@pytest.fixture
async def relaying(tmp_path: Path) -> AsyncIterator[Relaying]:
    """A gateway's empty queue."""
    queue = Queue(tmp_path, bytes(32), ManualClock())
    await queue.open()
    # `retry` is the same, but for the pauses of destinations; the listener is not used
    yield Relaying(queue, cast(Outbound, queue), cast(RelayServer, None))
    await queue.close()


@pytest.mark.parametrize("command", ["queue-show", "queue-retry", "queue-hold", "queue-remove"])
@pytest.mark.parametrize("name", ["1", "0" * 32, "9" * 40, "²", "nonsense", "-1"])
async def test_what_is_not_there_is_said_in_words(command: str, name: str, relaying: Relaying) -> None:
    """Whatever somebody types as an ID: one line for her, and no failure of ours."""
    for queues in (Queues(relaying, dict), Queues(None, dict)):
        with pytest.raises(OperatorError, match=r"no such message|not in the queue of a gateway"):
            await queues.commands[command]({"id": name})


async def test_nothing_waits_where_there_is_no_queue() -> None:
    queues = Queues(None, dict)
    assert await queues.commands["queue-list"]({}) == []
    assert await queues.commands["queue-retry"]({"id": ""}) == 0
    assert await queues.counts() == {"queue": 0, "outboxes": 0}


async def test_what_waits_for_its_copy_in_sent_alone_does_not_wait(tmp_path: Path) -> None:
    """It is delivered: neither listed, counted nor tried; by its ID it can be shown until the copy is filed."""
    async with bench(tmp_path, limits=OutboxLimits(sent_grace=params.HOUR)) as it:
        done = await it.outbox.accept(submission("bob@example.org"))
        await it.settled()
        await it.gateways[0].stop()
        waits = await it.outbox.accept(submission("bob@example.org", OUTSIDE))
        await it.settled()
        queues = Queues(None, lambda: {"alice@example.org": it.outbox})
        (listed,) = await queues.commands["queue-list"]({})
        assert listed["id"] == waits
        assert await queues.counts() == {"queue": 0, "outboxes": 1}
        assert await queues.commands["queue-retry"]({"id": ""}) == 1
        with pytest.raises(OperatorError, match="no such message waits"):
            await queues.commands["queue-retry"]({"id": done})
        shown = await queues.commands["queue-show"]({"id": done})
        assert [each["state"] for each in shown["recipients"]] == ["delivered"]
        await it.pass_time(params.HOUR)
        assert len(it.mailbox.sent) == 2


class _Leaving:
    """An outbox out of which a mail goes to the gateway's queue while it is read."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    async def list(self) -> list[Message]:
        await self._queue.accept(new_item())
        return []

    async def status(self) -> OutboxStatus:
        await self._queue.accept(new_item())
        return OutboxStatus(0, 0, 0, 0, None)


async def test_mail_that_moves_meanwhile_is_not_missed(relaying: Relaying) -> None:
    """Whoever waits until nothing is on its way must not be told so between two places."""
    leaving = {"alice@example.org": cast(Outbox, _Leaving(relaying.queue))}
    assert (await Queues(relaying, lambda: leaving).counts())["queue"] == 1


async def test_mail_that_moves_meanwhile_is_listed(relaying: Relaying) -> None:
    leaving = {"alice@example.org": cast(Outbox, _Leaving(relaying.queue))}
    assert len(await Queues(relaying, lambda: leaving).commands["queue-list"]({})) == 1
