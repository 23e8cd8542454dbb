"""The newest directory heads this node knows: on every reply, so that a revocation is everywhere within minutes."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from p2pcore.errors import Failure
from p2pcore.node import versioned
from p2pcore.node.admission import Admission
from p2pcore.node.admitted import Admitted
from p2pcore.node.storage import Storage
from p2pcore.records import HeadStatement, SignedStatement

_log = logging.getLogger(__name__)


class Heads:
    """`newest` is in memory, what the database holds. `on_newer`: what is called with them whenever they change."""

    def __init__(self, storage: Storage, admission: Admission, threads: Executor) -> None:
        self._storage = storage
        self._admission = admission
        self._threads = threads
        self.newest: tuple[SignedStatement, ...] = ()
        self.on_newer: list[Callable[[Sequence[SignedStatement]], None]] = []

    async def load(self) -> None:
        """Read them again, as the database has changed."""
        newest = await self._storage.read(versioned.heads)
        if newest != self.newest:
            self.newest = newest
            for callback in self.on_newer:
                callback(newest)

    async def learn(self, heads: Sequence[SignedStatement]) -> None:
        """Take what other nodes' replies carried, where it is newer and verifies."""
        for signed in heads:
            head = signed.statement
            if not isinstance(head, HeadStatement) or any(_is_newer(known, head) for known in self.newest):
                continue
            try:
                await self._take(signed)
            except Failure as failure:
                _log.info("head of %s from a node is not believed: %s", head.domain, failure)

    async def _take(self, signed: SignedStatement) -> None:
        def verified() -> Admitted[HeadStatement]:
            return self._admission.verified(HeadStatement, signed, direct=False)

        admitted = await asyncio.get_running_loop().run_in_executor(self._threads, verified)
        await self._storage.write(lambda transaction: versioned.take_head(transaction, admitted))
        await self.load()


def _is_newer(known: SignedStatement, head: HeadStatement) -> bool:
    statement = known.statement
    return isinstance(statement, HeadStatement) and statement.domain == head.domain and statement.issued >= head.issued
