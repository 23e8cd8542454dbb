"""The disks that every run begins with: machines that have run once, with the domain's record published."""

import asyncio
from pathlib import Path

from tests.faults.domain import Domain
from tests.faults.loop import FaultLoop
from tests.faults.outbound import Outgoing
from tests.faults.runs import SETTLING, on_loop
from tests.faults.steps import Watcher


def prepare(directory: Path, host: str) -> Domain:
    """Return a domain whose disks are in `directory`: everybody there knows the record."""
    domain = Domain.new(directory)
    directory.mkdir()
    loop = FaultLoop(Watcher())
    run = Outgoing(domain, directory, loop, host)

    async def first_time() -> None:
        for node in run.nodes:
            await node.start()
        await domain.publish(run.agent)
        for machine in run.clients:
            await machine.start()
        await asyncio.sleep(SETTLING)

    on_loop(loop, run, first_time())
    return domain
