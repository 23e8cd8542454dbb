"""One gateway's outgoing side: real DNS, SMTP and queue on loopback, nodes in memory."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from gateway.outbound.bounce import Reporter
from gateway.outbound.courier import Courier
from gateway.outbound.destinations import Destinations
from gateway.outbound.dkim import DkimSigner
from gateway.outbound.mx import MailExchangers
from gateway.outbound.network import NetworkDelivery
from gateway.outbound.queue import Queue
from gateway.outbound.schedule import Schedule
from gateway.outbound.service import Outbound
from gateway.resolver import Resolver
from p2pcore.clock import system_clock
from p2pcore.crypto.dkim_keys import make_dkim_key
from p2pcore.endpoint import Endpoint
from tests.gateway.outbound.test_session import TIMEOUTS
from tests.gateway.outbound.world import KEY, FakeNetwork, make_network
from tests.support.fake_dns import FakeDns

DKIM_KEY = make_dkim_key()
SOON = Schedule(first=20, last=40)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what other tasks bring about."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for is in several tasks
            await asyncio.sleep(0.01)


class Machine:
    """One gateway's outgoing side."""

    def __init__(
        self,
        directory: Path,
        dns: FakeDns,
        port: int,
        schedule: Schedule,
        *,
        nodes_pause: int = 10_000,
        smarthost: Endpoint | None = None,
    ) -> None:
        self.network: FakeNetwork = make_network()
        self.queue = Queue(directory / "queue", KEY, system_clock, schedule=schedule)
        resolver = Resolver([dns.endpoint], timeout=2_000)
        exchangers = MailExchangers(
            resolver, port=port, own_names=["mx.example.org"], smarthost=smarthost, rng=random.Random(1)
        )
        signer = DkimSigner("example.org", {"s1": DKIM_KEY})
        courier = Courier(exchangers, "mx.example.org", TIMEOUTS, single=smarthost is not None)
        self.destinations = Destinations(courier, signer, system_clock, pause=10)
        network = NetworkDelivery(self.network, self.network, self.queue, "mx.example.org")
        reporter = Reporter(self.network, self.network, self.queue, "example.org", "mx.example.org", system_clock)
        self.outbound = Outbound(
            self.queue, self.destinations, network, reporter, "example.org", record_retry=10, nodes_pause=nodes_pause
        )

    async def start(self) -> None:
        await self.queue.open()
        await self.outbound.start()

    async def stop(self) -> None:
        await self.outbound.stop()
        await self.queue.close()

    async def emptied(self) -> None:
        """Wait until the queue holds nothing."""
        async with asyncio.timeout(20):
            while await self.queue.items():  # noqa: ASYNC110 - the queue tells its dispatcher only
                await asyncio.sleep(0.01)
