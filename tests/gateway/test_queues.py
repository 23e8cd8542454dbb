"""gateway.queues: what `p2pmail queue` may be asked for on a machine that has nothing of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from gateway.errors import OperatorError
from gateway.outbound.queue import Queue
from gateway.outbound.service import Outbound
from gateway.queues import Queues
from gateway.relaying import Relaying
from tests.support.identities import ManualClock


@pytest.fixture
async def relaying(tmp_path: Path) -> AsyncIterator[Relaying]:
    """A gateway's empty queue."""
    queue = Queue(tmp_path, bytes(32), ManualClock())
    await queue.open()
    yield Relaying(queue, cast(Outbound, queue))  # `retry` is the same, but for the pauses of destinations
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
