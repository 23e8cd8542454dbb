"""A process of outgoing mail that the tests kill: `python -m tests.gateway.outbound.killed <mode> <directory> <port>`.

accept    keeps items for ever, and prints the submission ID of each when `accept` has returned
deliver   delivers what is queued to a smarthost on loopback; prints "recorded" after an outcome is durable
stall     the same, but prints "answered" when the outcome is known, and never records it
"""

import asyncio
import sys
from pathlib import Path

from gateway.outbound.courier import Courier
from gateway.outbound.destinations import Destinations
from gateway.outbound.model import Attempt, QueueItem
from gateway.outbound.mx import MailExchangers
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from gateway.outbound.service import Outbound
from gateway.resolver import Resolver
from p2pcore.clock import system_clock
from p2pcore.endpoint import Endpoint
from tests.gateway.outbound.test_session import TIMEOUTS
from tests.gateway.outbound.world import CONTENT, KEY, make_network, new_item


async def accept(queue: Queue) -> None:
    number = 0
    while True:
        item = new_item(submission_id=f"s-{number}", content=CONTENT + b"%d\r\n" % number)
        assert await queue.accept(item)
        print(item.submission_id, flush=True)
        number += 1


async def deliver(queue: Queue, port: int, *, stall: bool) -> None:
    record = queue.record

    async def recorded(item: QueueItem, attempts: list[Attempt]) -> None:
        if stall:
            print("answered", flush=True)
            await asyncio.Event().wait()
        await record(item, attempts)
        print("recorded", flush=True)

    queue.record = recorded  # type: ignore[method-assign, assignment]
    exchangers = MailExchangers(Resolver(), smarthost=Endpoint("127.0.0.1", port))
    network = make_network()
    courier = Courier(exchangers, "mx.example.org", TIMEOUTS, single=True)
    destinations = Destinations(courier, None, system_clock)
    way = NetworkDelivery(network, network, queue, "mx.example.org")
    reports = None
    outbound = Outbound(queue, destinations, way, reports, "example.org")  # type: ignore[arg-type]
    await outbound.start()
    await asyncio.Event().wait()


async def main(mode: str, directory: Path, port: int) -> None:
    queue = Queue(directory, KEY, system_clock)
    await queue.open()
    if mode == "accept":
        await accept(queue)
    else:
        await deliver(queue, port, stall=mode == "stall")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
