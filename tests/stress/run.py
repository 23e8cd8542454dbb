"""A run: a server process, clients, rounds of random commands, and an audit after each.

In lock-step one client asks at a time, and everything has one right answer; at once all ask as fast as they can.
A server that is killed in the middle of a round is started again on the same directory before the audit.
"""

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.stress.audit import audit
from tests.stress.changing import close, expunge, store
from tests.stress.client import ENABLING, PATIENCE, Client
from tests.stress.filing import append, copy, move
from tests.stress.history import Difference
from tests.stress.lingering import hang_up, idle, log_out, nonsense, pipeline, wake
from tests.stress.naming import rename_something
from tests.stress.reading import fetch, listing, noop, resolve, status
from tests.stress.searching import save, search
from tests.stress.selecting import select
from tests.stress.wire import Lost
from tests.stress.world import World

Action = Callable[[Client], Awaitable[None]]

_SELECTED: tuple[tuple[int, Action], ...] = (
    (12, store),
    (10, fetch),
    (6, search),
    (2, save),
    (5, append),
    (4, copy),
    (3, move),
    (4, expunge),
    (4, noop),
    (2, idle),
    (2, pipeline),
    (2, status),
    (3, select),
    (2, close),
    (1, listing),
    (1, rename_something),
    (1, nonsense),
)
_UNSELECTED: tuple[tuple[int, Action], ...] = (
    (12, select),
    (3, append),
    (2, status),
    (1, listing),
    (1, rename_something),
)
_LEAVING: tuple[Action, ...] = (hang_up, log_out)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is made of."""

    seed: int
    clients: int = 20
    rounds: int = 4
    commands: int = 30  # of every client in a round
    lock_step: bool = False
    kills: bool = True
    patience: float = PATIENCE  # for news in IDLE


class Server(Protocol):
    """What a run asks of the server under test; `port` is another after every start."""

    @property
    def port(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    async def start(self) -> None:
        """Serve what is in its directory."""

    async def kill(self) -> None:
        """Be gone, as suddenly as can be; nothing if it is not there."""


class ServerProcess:
    """A server that can be killed with SIGKILL."""

    def __init__(self, directory: Path, mutation: str | None = None) -> None:
        self._directory = directory
        self._mutation = [mutation] if mutation is not None else []
        self._process: asyncio.subprocess.Process | None = None
        self.port = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.stress.serving",
            str(self._directory),
            *self._mutation,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise Difference("the server did not start")
        self.port = int(line)

    async def kill(self) -> None:
        """SIGKILL: whatever is not durable by now never will be."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Run:
    """Rounds of one plan against one server."""

    def __init__(self, plan: Plan, server: Server, *, may_die: bool = False) -> None:
        self.plan = plan
        self.server = server
        self.world = World(plan.seed)
        self.world.restarting = may_die
        self._may_die = may_die
        self._chance = random.Random(f"run {plan.seed}")
        kinds = list(ENABLING)
        self.clients = [
            Client(f"c{place}", self.world, f"{plan.seed} {place}", kinds[place % len(kinds)], plan.patience)
            for place in range(plan.clients)
        ]
        self._auditor = Client("audit", self.world, "", "condstore", plan.patience)
        self._auditor.selecting = False

    async def run(self, enough: Callable[[], bool] = lambda: False) -> None:
        """All rounds, or those begun before it is enough.

        Raises Difference, with the transcript of the session that met it.
        """
        await self.server.start()
        try:
            for number in range(self.plan.rounds):
                if enough():
                    return
                await self.round(killed=self.plan.kills and number % 3 == 2)
        finally:
            for client in (*self.clients, self._auditor):
                client.drop()
            await self.server.kill()

    async def round(self, *, killed: bool) -> None:
        """One round and its audit."""
        if self.plan.lock_step:
            await self._in_turn(killed=killed)
        else:
            await self._at_once(killed=killed)
        if not self.server.alive:
            await self._restart()
        await self._audit()

    async def _in_turn(self, *, killed: bool) -> None:
        for left in range(self.plan.commands * self.plan.clients, 0, -1):
            await self._act(self._chance.choice(self.clients))
            if not self.server.alive:
                return
            if killed and left == 2:
                await self._kill()
                return

    async def _at_once(self, *, killed: bool) -> None:
        self.world.reached.clear()
        self.world.enough = self.world.commands + self._chance.randrange(1, self.plan.commands * self.plan.clients)
        async with asyncio.TaskGroup() as group:
            if killed:
                group.create_task(self._kill_in_the_middle())
            async with asyncio.TaskGroup() as clients:
                for client in self.clients:
                    clients.create_task(self._keep_acting(client))
            self.world.reached.set()

    async def _kill_in_the_middle(self) -> None:
        await self.world.reached.wait()
        await self._kill()

    async def _keep_acting(self, client: Client) -> None:
        for _ in range(self.plan.commands):
            if self.world.restarting and not self.server.alive:
                return
            await self._act(client)

    async def _act(self, client: Client) -> None:
        try:
            await self._one_action(client)
        except Lost:
            client.drop()
        except Difference as difference:
            raise _told(client, difference) from difference

    async def _one_action(self, client: Client) -> None:
        chance = client.chance
        if client.connection is None:
            await client.connect(self.server.port)
        elif client.idling is not None:
            if client.likely(0.3) or not self.plan.lock_step:
                await wake(client)
        elif client.likely(0.01):
            await chance.choice(_LEAVING)(client)
        else:
            table = _UNSELECTED if client.view is None else _SELECTED
            (action,) = chance.choices([each for _, each in table], [weight for weight, _ in table])
            await action(client)
            if client.view is not None and client.idling is None and (client.likely(0.8) or client.qresync):
                await resolve(client)

    async def _kill(self) -> None:
        self.world.restarting = True
        await self.server.kill()

    async def _restart(self) -> None:
        await self.server.kill()
        for client in (*self.clients, self._auditor):
            client.drop()
        await self.server.start()
        self.world.restarting = self._may_die

    async def _audit(self) -> None:
        for client in self.clients:
            if client.idling is not None:
                await self._awake(client)
        auditor = self._auditor
        try:
            await auditor.connect(self.server.port)
            await audit(auditor)
        except Difference as difference:
            raise _told(auditor, difference) from difference
        auditor.drop()

    async def _awake(self, client: Client) -> None:
        try:
            await wake(client)
        except Difference as difference:
            raise _told(client, difference) from difference


def _told(client: Client, difference: Difference) -> Difference:
    return Difference(f"{client.name} ({client.kind}): {difference}\n    {client.conversation()}")
