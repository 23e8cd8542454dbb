"""The server under test in a process of its own: `python -m tests.stress.serving DIRECTORY [MUTATION]`.

One account, alice, in DIRECTORY. Prints the port and serves until it is killed, or its input ends.
"""

import asyncio
import sys
from pathlib import Path

from gateway.imap.params import ImapLimits
from gateway.imap.server import ImapServer
from gateway.mailbox.store import MailStore
from p2pcore.endpoint import Endpoint
from tests.stress.mutations import MUTATIONS, Put
from tests.stress.run import Plan, Run, ServerProcess
from tests.support.imap_accounts import PasswordsOnly

KEY = bytes(range(32))


class Alice(PasswordsOnly):
    def __init__(self, store: MailStore) -> None:
        self._store = store

    async def authenticate(self, user: str, password: str) -> MailStore | None:
        return self._store if (user, password) == ("alice", "secret") else None


class LocalServer:
    """The server in this process, for runs in lock-step: nothing waits for another process's turn."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._store: MailStore | None = None
        self._server: ImapServer | None = None
        self.alive = False

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        self._store = await MailStore.open(self._directory, KEY)
        limits = ImapLimits(connections_per_account=1_000)
        self._server = ImapServer(Alice(self._store), None, limits, spool_directory=self._directory)
        await self._server.start([Endpoint("127.0.0.1", 0)], [])
        self.alive = True

    async def kill(self) -> None:
        """End in order, for want of a process to kill."""
        if self.alive and self._server is not None and self._store is not None:
            self.alive = False
            await self._server.stop()
            await self._store.close()


def mutated(name: str, directory: Path, put: Put) -> Run:
    """A run against a broken server, bounded by its number of commands: it must end with a difference."""
    mutation = MUTATIONS[name]
    plan = Plan(seed=1, clients=5, rounds=8, commands=40, lock_step=True, patience=2.5)
    if mutation.dies:
        return Run(plan, ServerProcess(directory, name), may_die=True)
    mutation.apply(put)
    return Run(plan, LocalServer(directory))


async def serve(directory: Path) -> None:
    server = LocalServer(directory)
    await server.start()
    print(server.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.kill()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        MUTATIONS[sys.argv[2]].apply(setattr)
    asyncio.run(serve(Path(sys.argv[1])))
