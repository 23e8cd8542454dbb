"""Programs that break their promises, to see that a run notices; prints what each came to."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from unittest import mock

from gateway.mailbox import incoming
from gateway.mailbox.database import Transaction
from gateway.mailbox.model import Incoming
from p2pcore.mail.injection import Injection
from p2pcore.mail.send import Sender, Stored
from tests.faults.around import a_directory, silent, spared
from tests.faults.campaign import Bench, Task
from tests.faults.inbound import MESSAGES
from tests.faults.steps import Fault, Moment, Point


async def promise(self: Sender, injection: Injection) -> Stored:
    """Say that it is stored, and begin to store it a second later."""
    asyncio.get_running_loop().call_later(1.0, lambda: asyncio.ensure_future(self.inject_each(injection)))
    return Stored(2, 3)


def forget(transaction: Transaction, item: Incoming, now: int) -> bool:
    """Know entries again, but not messages."""
    transaction.connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (item.entry_id, now))
    return transaction.connection.changes() > 0


def came_to(
    bench: Bench, breaking: AbstractContextManager[object], chosen: Callable[[Point], bool], moment: Moment
) -> str:
    """Return what is wrong where the first gateway is killed at the last of the `chosen` points."""
    message = MESSAGES[0]
    with breaking:
        reached = bench.run(Task(message, None)).reached
        point = [point for point in reached if point.machine == "gateway0" and chosen(point)][-1]
        return bench.run(Task(message, Fault(point, "kill", moment))).wrong


def main() -> None:
    with silent(), spared(), a_directory() as directory:
        bench = Bench(directory)
        early = mock.patch.object(Sender, "inject", promise)
        storing = came_to(bench, early, lambda point: "client/writes.py" in point.site, "before")
        print(f"250 too early: {storing}")
        forgetful = mock.patch.object(incoming, "_remember", forget)
        stored = came_to(bench, forgetful, lambda point: "client/writes.py" in point.site, "after")
        print(f"filed without memory: {stored}")


if __name__ == "__main__":
    main()
