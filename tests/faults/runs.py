"""One run: a message on its way through the domain, with a fault or none, and what became of it."""

import asyncio
import gc
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from p2pcore import params
from p2pcore.endpoint import Endpoint
from tests.faults.around import seeded
from tests.faults.domain import FIRST_PORT, NODES, Domain
from tests.faults.loop import FaultLoop
from tests.faults.machines import AgentMachine, Machine, NodeMachine
from tests.faults.process import Process
from tests.faults.steps import INJECTED, Fault, Point, Watcher
from tests.support.identities import START

RESTART = 30.0  # seconds after which a machine that was killed is back
DISK_FREED = 240.0  # seconds after which a full disk has room again
SETTLING = 5.0  # seconds in which a network that has just started becomes quiet
PATIENCE = 4 * 3600.0  # seconds in which an accepted message must be in the mailbox: an hourly reading, and more
_LOOK = 2.0  # seconds between looks into the mailbox
_TURNS = 10  # of the loop, in which connections end that were cut off

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent, and the kind of run that sends it."""

    name: str
    identified: bool
    octets: int
    journey: "type[Run]"

    def content(self, author: str) -> bytes:
        """Return it whole, with lines that begin with a dot."""
        identifier = "Message-ID: <1@sender.example>\r\n" if self.identified else ""
        date = "Date: Mon, 21 Sep 2026 14:00:00 +0000\r\n"
        header = f"From: <{author}>\r\nTo: <friends@remote.example>\r\nSubject: {self.name}\r\n{date}{identifier}\r\n"
        line = b"." + b"x" * 76 + b"\r\n"
        return header.encode() + line * max(1, self.octets // len(line))


REFUSED, LOST, ALTERED, TWICE = "never taken", "acknowledged and lost", "shown altered", "shown twice"
WRONG = (REFUSED, LOST, ALTERED, TWICE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """`shown`: how often each recipient has the message, octet for octet; `most`: how often she may.

    `others`: messages that nobody sent. `owed`: something is still to be done after PATIENCE; `left`: on nodes.
    `troubles`: as the loop's.
    """

    message: Message
    fault: Fault | None
    struck: bool
    acknowledged: bool
    shown: tuple[int, ...]
    most: tuple[int, ...]
    others: int
    owed: bool
    left: int
    replies: tuple[str, ...]
    reached: tuple[Point, ...]
    troubles: tuple[str, ...] = ()

    @property
    def again(self) -> int:
        """Return how many copies there are beyond the first."""
        return sum(max(0, each - 1) for each in self.shown)

    @property
    def uncaught(self) -> list[str]:
        """Return the troubles that were not put in, each once."""
        return sorted({trouble for trouble in self.troubles if INJECTED not in trouble})

    @property
    def remains(self) -> str:
        """Return what there is after the run that should not be, "" where all is tidy."""
        owed, left = "still owed" if self.owed else "", f"{self.left} left on nodes" if self.left else ""
        uncaught = [f"nobody caught: {trouble}" for trouble in self.uncaught]
        return "; ".join(filter(None, [owed, left, *uncaught]))

    @property
    def wrong(self) -> str:
        """Return what must not be, "" where all is well."""
        if not self.acknowledged:
            return REFUSED
        if not all(self.shown):
            return LOST
        if self.others:
            return ALTERED
        if any(each > most for each, most in zip(self.shown, self.most, strict=True)):
            return TWICE
        return ""


class Run(ABC):
    """The machines of one run on a copy of the domain's disks; the loop's watcher says what is done to them.

    `ports` gives each listener besides the nodes' its own.
    """

    def __init__(self, domain: Domain, directory: Path, loop: FaultLoop, host: str) -> None:
        self._loop = loop
        self._host = host
        self._ports = count(FIRST_PORT + NODES)
        self.domain = domain
        self.directory = directory
        self.watcher = loop.watcher
        self.surroundings = domain.surroundings(self._clock, host)
        self.nodes = [
            NodeMachine(
                f"node{number}",
                directory / f"node{number}",
                member,
                self.surroundings,
                Endpoint(host, FIRST_PORT + number),
            )
            for number, member in enumerate(domain.nodes)
        ]
        self._restarts: set[asyncio.Task[None]] = set()
        loop.watcher.world = self

    @property
    @abstractmethod
    def clients(self) -> Sequence[Machine]:
        """The machines that are no nodes."""

    @abstractmethod
    async def journey(self, message: Message) -> Outcome:
        """Start the machines, send `message` while points count, and say what became of it."""

    @property
    def machines(self) -> list[Machine]:
        return [*self.nodes, *self.clients]

    def endpoint(self) -> Endpoint:
        """Return a place to listen that nobody else has."""
        return Endpoint(self._host, next(self._ports))

    def _clock(self) -> int:
        return START + params.HOUR + int(self._loop.time() * 1_000)

    async def start(self) -> None:
        """Start every machine and wait until the network has become quiet."""
        for machine in self.machines:
            await machine.start()
        await asyncio.sleep(SETTLING)

    def kill(self, process: Process) -> None:
        """Kill a machine; it is back after RESTART."""
        (machine,) = (machine for machine in self.machines if machine.process is process)
        machine.kill()
        task = self._loop.create_task(self._restart(machine), context=Context())
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    def fill_disk(self, process: Process) -> None:
        """Leave a process no room on its disk for DISK_FREED."""
        process.disk_full = True
        self._loop.call_later(DISK_FREED, setattr, process, "disk_full", False, context=Context())

    async def _restart(self, machine: Machine) -> None:
        await asyncio.sleep(RESTART)
        await machine.start()

    async def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until `condition` holds, PATIENCE at most; return whether it does."""
        for _ in range(int(PATIENCE / _LOOK)):
            if condition():
                break
            await asyncio.sleep(_LOOK)
        return condition()

    async def read_again(self, agent: AgentMachine) -> None:
        """Have an agent begin anew and read its inbox from the start."""
        for machine in self.machines:
            machine.process.disk_full = False
        if agent.process.alive:  # else it is on its way back already
            agent.kill()
            await agent.start()
        await asyncio.sleep(RESTART + SETTLING)

    async def free(self) -> None:
        """End everything and close every file."""
        for task in self._restarts:
            task.cancel()
        for machine in self.machines:
            for process in machine.lives:
                process.kill()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        for machine in self.machines:
            for process in machine.lives:
                process.free()


def run_once(domain: Domain, directory: Path, message: Message, fault: Fault | None, host: str) -> Outcome:
    """Make one run in `directory`, which is gone afterwards, with listeners on `host`. The same each time."""
    domain.copy(directory)
    with seeded(message.name):
        loop = FaultLoop(Watcher(fault))
        run = message.journey(domain, directory, loop, host)
        outcome = on_loop(loop, run, run.journey(message))
    shutil.rmtree(directory)
    return replace(outcome, troubles=tuple(loop.troubles))


def on_loop(loop: FaultLoop, run: Run, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, with nothing of `run` left open."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            return runner.run(_collected(work))
        finally:
            loop.watcher.over = True
            runner.run(run.free())
            loop.free()


async def _collected(work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns, when all that was dropped on the way is gone: a failure nobody saw is told then."""
    result = await work
    gc.collect()
    return result
