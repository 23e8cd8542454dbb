"""One user's agent: reads her inbox from the network into her mailbox for as long as it runs."""

import asyncio
import secrets

import structlog

from gateway.mailbox.store import MailStore
from gateway.sync.cleanup import Cleanup
from gateway.sync.ingest import Ingest
from p2pcore.mail.read import InboxReader

_INSTANCE = "agent.instance"

log = structlog.get_logger("agent")


class Agent:
    """Watcher → ingest → clean-up of one account."""

    def __init__(self, reader: InboxReader, ingest: Ingest, cleanup: Cleanup) -> None:
        self._reader = reader
        self._ingest = ingest
        self._cleanup = cleanup
        ingest.on_filed = cleanup.wake

    async def run(self) -> None:
        """Work until cancelled; whatever was under way is taken up again by the next run."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._ingest.run(), name="ingest")
            tasks.create_task(self._cleanup.run(), name="clean-up")
            tasks.create_task(self._watch(), name="watch")

    async def _watch(self) -> None:
        await self._reader.start()
        try:
            while True:
                await self._ingest.take(await self._reader.next_batch())
                await self._ingest.tried()
        finally:
            await self._reader.stop()


async def instance_of(store: MailStore) -> bytes:
    """Return the random 16 octets that tell this agent from another of the same user, made the first time."""
    known = await store.setting(_INSTANCE)
    if known is None:
        known = secrets.token_bytes(16)
        await store.set_setting(_INSTANCE, known)
    return known
