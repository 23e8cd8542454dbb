"""A user's store and her ingest on bodies as a test decides, in virtual time."""

import asyncio
from collections.abc import Awaitable, Callable, Set
from contextlib import suppress
from pathlib import Path
from typing import cast

from gateway.mailbox.store import MailStore
from gateway.sync.ingest import Ingest
from p2pcore.mail.retrieve import Retriever
from p2pcore.records import CleanupTask, decode
from p2pcore.sim.virtual_time import run_virtually
from tests.gateway.sync.support import Replicas, Sending

LONG = 3_600.0  # seconds: everything that will happen has


class Scene(Sending):
    """Alice's store, her ingest, and what came of it."""

    store: MailStore
    ingest: Ingest
    replicas: Replicas

    keep = 0

    async def open(self, directory: Path) -> None:
        self.store = await MailStore.open(directory / "mailbox", bytes(32), clock=lambda: self.world.clock() / 1_000)
        self.replicas = Replicas(self, directory)
        self.given_up: list[bytes] = []
        self.filed = 0
        self.ingest = self.fresh()

    def fresh(self, compromised: Set[bytes] = frozenset()) -> Ingest:
        """An ingest as the next run of the agent makes it."""
        made = Ingest(
            self.store,
            cast(Retriever, self.replicas),
            [self.alice.hpke_key],
            "example.org",
            give_up=self.given_up.append,
            compromised=lambda certificate: certificate.serial in compromised,
            clock=self.world.clock,
            keep=self.keep,
        )
        made.on_filed = self._count
        return made

    def _count(self) -> None:
        self.filed += 1

    async def work(self, seconds: float = LONG) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ingest.run()

    async def messages(self, mailbox: str = "INBOX") -> list[bytes]:
        snapshot = await self.store.snapshot(mailbox)
        return [await self.store.read(snapshot.mailbox.id, row.uid) for row in snapshot.messages]

    async def flags(self) -> list[frozenset[str]]:
        return [frozenset(row.flags) for row in (await self.store.snapshot("INBOX")).messages]

    async def owed(self) -> list[CleanupTask]:
        return [decode(CleanupTask, blob) for _, blob in await self.store.pending_cleanup(1_000)]


def scene(tmp_path: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        made = Scene()
        await made.open(tmp_path)
        try:
            await test(made)
        finally:
            await made.store.close()

    run_virtually(whole())
